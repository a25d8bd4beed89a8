#include "common/msgpack.h"

#include <msgpack/pack.h>
#include <msgpack/unpack.h>
#include <msgpack/unpack_define.h>

#include <cassert>
#include <cstring>

// The parser of msgpack-c is a template to be completed with callbacks (unpack_template.h); ours
// put each field into the caller's array, so that decoding allocates nothing.
namespace litefs {
namespace {

struct Target {
  MessageField* fields;
  size_t capacity;
  size_t count;  // fields stored
  bool opened;   // the one array has begun
};

int Store(Target* target, const MessageField& field) {
  if (!target->opened || target->count == target->capacity) return -1;
  target->fields[target->count++] = field;
  return 0;
}

using Ignored = int;  // the template's object type; the values go to Target instead

Ignored TargetRoot(Target*) { return 0; }
int TargetUint(Target* t, uint64_t v) { return Store(t, {.number = v, .bytes = {}}); }
int TargetArray(Target* t, unsigned int, Ignored*) {
  if (t->opened) return -1;
  t->opened = true;
  return 0;
}
int TargetString(Target* t, const char* p, unsigned int n) {
  return Store(t, {.kind = MessageField::Kind::kText, .bytes = {p, n}});
}
int TargetBytes(Target* t, const char* p, unsigned int n) {
  return Store(t, {.kind = MessageField::Kind::kBytes, .bytes = {p, n}});
}

#define msgpack_unpack_struct(name) struct FlatParser##name
#define msgpack_unpack_func(ret, name) [[maybe_unused]] static inline ret FlatParser##name
#define msgpack_unpack_callback(name) FlatCallback##name
#define msgpack_unpack_object Ignored
#define msgpack_unpack_user Target

#define FLAT_UINT(name, type) \
  static inline int FlatCallback##name(Target* t, type v, Ignored*) { return TargetUint(t, v); }
#define FLAT_REFUSE(name, ...) \
  static inline int FlatCallback##name(Target*, __VA_ARGS__) { return -1; }
static inline Ignored FlatCallback_root(Target* t) { return TargetRoot(t); }
FLAT_UINT(_uint8, uint8_t)
FLAT_UINT(_uint16, uint16_t)
FLAT_UINT(_uint32, uint32_t)
FLAT_UINT(_uint64, uint64_t)
FLAT_REFUSE(_int8, int8_t, Ignored*)
FLAT_REFUSE(_int16, int16_t, Ignored*)
FLAT_REFUSE(_int32, int32_t, Ignored*)
FLAT_REFUSE(_int64, int64_t, Ignored*)
FLAT_REFUSE(_float, float, Ignored*)
FLAT_REFUSE(_double, double, Ignored*)
FLAT_REFUSE(_nil, Ignored*)
FLAT_REFUSE(_true, Ignored*)
FLAT_REFUSE(_false, Ignored*)
FLAT_REFUSE(_map, unsigned int, Ignored*)
FLAT_REFUSE(_map_item, Ignored*, Ignored, Ignored)
FLAT_REFUSE(_ext, const char*, const char*, unsigned int, Ignored*)
static inline int FlatCallback_array(Target* t, unsigned int n, Ignored* o) {
  return TargetArray(t, n, o);
}
static inline int FlatCallback_array_item(Target*, Ignored*, Ignored) { return 0; }
static inline int FlatCallback_str(Target* t, const char*, const char* p, unsigned int n,
                                   Ignored*) {
  return TargetString(t, p, n);
}
static inline int FlatCallback_bin(Target* t, const char*, const char* p, unsigned int n,
                                   Ignored*) {
  return TargetBytes(t, p, n);
}
#undef FLAT_UINT
#undef FLAT_REFUSE

// To the end of the file: the compiler reports on the template where it is inlined.
#pragma GCC diagnostic ignored "-Wpedantic"
#pragma GCC diagnostic ignored "-Wold-style-cast"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#undef assert
#define assert(condition) ((void)0)  // the template's; msgpack-c's own state, checked by its tests
#include <msgpack/unpack_template.h>

}  // namespace

MessageWriter::MessageWriter(std::span<char> out, uint32_t field_count)
    : out_(out), pending_(field_count) {
  msgpack_packer packer;
  msgpack_packer_init(&packer, this, Append);
  failed_ = msgpack_pack_array(&packer, field_count) != 0;
}

int MessageWriter::Append(void* self, const char* data, size_t n) {
  auto* writer = static_cast<MessageWriter*>(self);
  if (n > writer->out_.size() - writer->size_) return -1;
  if (n > 0)
    std::memcpy(writer->out_.data() + writer->size_, data, n);  // an empty text may be null
  writer->size_ += n;
  return 0;
}

void MessageWriter::Count() {
  if (pending_ == 0)
    failed_ = true;
  else
    --pending_;
}

void MessageWriter::Uint(uint64_t v) {
  Count();
  msgpack_packer packer;
  msgpack_packer_init(&packer, this, Append);
  failed_ |= msgpack_pack_uint64(&packer, v) != 0;
}

void MessageWriter::Text(std::string_view v) {
  Count();
  msgpack_packer packer;
  msgpack_packer_init(&packer, this, Append);
  failed_ |= msgpack_pack_str(&packer, v.size()) != 0 ||
             msgpack_pack_str_body(&packer, v.data(), v.size()) != 0;
}

void MessageWriter::Bytes(std::span<const char> v) {
  Count();
  msgpack_packer packer;
  msgpack_packer_init(&packer, this, Append);
  failed_ |= msgpack_pack_bin(&packer, v.size()) != 0 ||
             msgpack_pack_bin_body(&packer, v.data(), v.size()) != 0;
}

int DecodeMessage(std::string_view data, std::span<MessageField> fields) {
  FlatParser_context parser;
  FlatParser_init(&parser);
  parser.user = Target{fields.data(), fields.size(), 0, false};
  size_t offset = 0;
  const int rc = FlatParser_execute(&parser, data.data(), data.size(), &offset);
  if (rc <= 0 || offset != data.size() || !parser.user.opened) return -1;
  return static_cast<int>(parser.user.count);
}

}  // namespace litefs
