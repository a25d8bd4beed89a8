#include "ipc/codec.h"

#include "common/msgpack.h"

namespace litefs::ipc {
namespace {

// ---- Encoding: the type, then the fields in the order of protocol.h ----------------------------

void Put(MessageWriter& writer, uint64_t v) { writer.Uint(v); }
void Put(MessageWriter& writer, std::string_view v) { writer.Text(v); }
void Put(MessageWriter& writer, RangesView v) {
  writer.Bytes({v.bytes().data(), v.bytes().size()});
}

template <typename... Fields>
size_t Write(std::span<char> out, MessageType type, Fields... fields) {
  MessageWriter writer(out, 1 + sizeof...(fields));
  writer.Uint(static_cast<uint64_t>(type));
  (Put(writer, fields), ...);
  return writer.size();
}

// ---- Decoding
// ------------------------------------------------------------------------------------

// A message taken apart; every getter checks its limit, and Ok() tells at the end.
class Parser {
 public:
  Parser(std::string_view data, MessageType type)
      : count_(data.size() <= kMaxMessageBytes ? DecodeMessage(data, fields_) : -1),
        reader_(std::span(fields_, count_ > 0 ? static_cast<size_t>(count_) : 0)) {
    ok_ = reader_.Uint() == static_cast<uint64_t>(type) && reader_.ok();
  }

  uint64_t Number() { return reader_.Uint(); }
  uint32_t Word() { return Limited(UINT32_MAX); }
  std::string_view Text() { return reader_.Text(); }
  std::string_view Name() {
    const std::string_view name = reader_.Text();
    ok_ = ok_ && !name.empty() && name.size() <= kMaxDatabaseNameBytes &&
          name.find('/') == name.npos && name.find('\0') == name.npos && name != "." &&
          name != "..";
    return name;
  }
  RangesView Ranges() {
    const std::string_view bytes = reader_.Bytes();
    ok_ = ok_ && bytes.size() % sizeof(DirtyRange) == 0;
    return ok_ ? RangesView(bytes) : RangesView();
  }
  template <typename E>
  E Enum(E last) {  // enumerators start at 1
    const uint32_t v = Limited(static_cast<uint32_t>(last));
    ok_ = ok_ && v != 0;
    return static_cast<E>(v);
  }
  bool Ok() const { return ok_ && reader_.AtEnd(); }

 private:
  uint32_t Limited(uint32_t limit) {
    const uint64_t v = reader_.Uint();
    ok_ = ok_ && v <= limit;
    return static_cast<uint32_t>(v);
  }

  MessageField fields_[kMaxMessageFields];
  int count_;
  MessageReader reader_;
  bool ok_ = true;
};

}  // namespace

size_t Encode(const Hello& m, std::span<char> out) {
  return Write(out, MessageType::kHello, uint64_t{m.version}, uint64_t{m.pid}, m.name, m.device,
               m.inode, m.program, m.flags);
}
size_t Encode(const Welcome& m, std::span<char> out) {
  return Write(out, MessageType::kWelcome, uint64_t{m.version}, uint64_t{m.error},
               static_cast<uint64_t>(m.role), uint64_t{m.bell_slot}, m.text, m.flags);
}
size_t Encode(const Dirty& m, std::span<char> out) {
  return Write(out, MessageType::kDirty, m.ranges);
}
size_t Encode(const Prepare& m, std::span<char> out) {
  return Write(out, MessageType::kPrepare, m.flags, m.ranges);
}
size_t Encode(const Commit& m, std::span<char> out) {
  return Write(out, MessageType::kCommit, m.id, m.flags, m.ranges);
}
size_t Encode(const Done& m, std::span<char> out) {
  return Write(out, MessageType::kDone, uint64_t{m.error});
}
size_t Encode(const Bell&, std::span<char> out) { return Write(out, MessageType::kBell); }
size_t Encode(const Drain& m, std::span<char> out) {
  return Write(out, MessageType::kDrain, m.id, static_cast<uint64_t>(m.reason));
}
size_t Encode(const Sync& m, std::span<char> out) {
  return Write(out, MessageType::kSync, m.id, m.waited_ms);
}
size_t Encode(const Lock& m, std::span<char> out) { return Write(out, MessageType::kLock, m.id); }
size_t Encode(const Unlock&, std::span<char> out) { return Write(out, MessageType::kUnlock); }
size_t Encode(const Ring& m, std::span<char> out) { return Write(out, MessageType::kRing, m.id); }
size_t Encode(const Forward& m, std::span<char> out) {
  return Write(out, MessageType::kForward, m.id, m.flags, m.offset, uint64_t{m.pgno},
               uint64_t{m.size_pages});
}
size_t Encode(const Reply& m, std::span<char> out) {
  return Write(out, MessageType::kReply, m.id, uint64_t{m.error});
}
size_t Encode(const Control& m, std::span<char> out) {
  return Write(out, MessageType::kControl, m.id, m.json);
}
size_t Encode(const ControlReply& m, std::span<char> out) {
  return Write(out, MessageType::kControlReply, m.id, uint64_t{m.error}, m.json);
}

uint32_t TypeOf(std::string_view data) {
  MessageField fields[kMaxMessageFields];
  if (data.size() > kMaxMessageBytes) return 0;
  const int count = DecodeMessage(data, fields);
  if (count < 1 || fields[0].kind != MessageField::Kind::kUint) return 0;
  return fields[0].number <= UINT32_MAX ? static_cast<uint32_t>(fields[0].number) : 0;
}

bool Decode(std::string_view data, Hello* m) {
  Parser p(data, MessageType::kHello);
  m->version = p.Word();
  m->pid = p.Word();
  m->name = p.Name();
  m->device = p.Number();
  m->inode = p.Number();
  m->program = p.Text();
  m->flags = p.Number();
  return p.Ok();
}
bool Decode(std::string_view data, Welcome* m) {
  Parser p(data, MessageType::kWelcome);
  m->version = p.Word();
  m->error = p.Word();
  m->role = p.Enum(Role::kReplica);
  m->bell_slot = p.Word();
  m->text = p.Text();
  m->flags = p.Number();
  return p.Ok();
}
bool Decode(std::string_view data, Dirty* m) {
  Parser p(data, MessageType::kDirty);
  m->ranges = p.Ranges();
  return p.Ok();
}
bool Decode(std::string_view data, Prepare* m) {
  Parser p(data, MessageType::kPrepare);
  m->flags = p.Number();
  m->ranges = p.Ranges();
  return p.Ok();
}
bool Decode(std::string_view data, Commit* m) {
  Parser p(data, MessageType::kCommit);
  m->id = p.Number();
  m->flags = p.Number();
  m->ranges = p.Ranges();
  return p.Ok();
}
bool Decode(std::string_view data, Done* m) {
  Parser p(data, MessageType::kDone);
  m->error = p.Word();
  return p.Ok();
}
bool Decode(std::string_view data, Bell*) { return Parser(data, MessageType::kBell).Ok(); }
bool Decode(std::string_view data, Drain* m) {
  Parser p(data, MessageType::kDrain);
  m->id = p.Number();
  m->reason = p.Enum(DrainReason::kUnlink);
  return p.Ok();
}
bool Decode(std::string_view data, Sync* m) {
  Parser p(data, MessageType::kSync);
  m->id = p.Number();
  m->waited_ms = p.Number();
  return p.Ok();
}
bool Decode(std::string_view data, Lock* m) {
  Parser p(data, MessageType::kLock);
  m->id = p.Number();
  return p.Ok();
}
bool Decode(std::string_view data, Unlock*) { return Parser(data, MessageType::kUnlock).Ok(); }
bool Decode(std::string_view data, Ring* m) {
  Parser p(data, MessageType::kRing);
  m->id = p.Number();
  return p.Ok();
}
bool Decode(std::string_view data, Forward* m) {
  Parser p(data, MessageType::kForward);
  m->id = p.Number();
  m->flags = p.Number();
  m->offset = p.Number();
  m->pgno = p.Word();
  m->size_pages = p.Word();
  return p.Ok();
}
bool Decode(std::string_view data, Reply* m) {
  Parser p(data, MessageType::kReply);
  m->id = p.Number();
  m->error = p.Word();
  return p.Ok();
}
bool Decode(std::string_view data, Control* m) {
  Parser p(data, MessageType::kControl);
  m->id = p.Number();
  m->json = p.Text();
  return p.Ok();
}
bool Decode(std::string_view data, ControlReply* m) {
  Parser p(data, MessageType::kControlReply);
  m->id = p.Number();
  m->error = p.Word();
  m->json = p.Text();
  return p.Ok();
}

}  // namespace litefs::ipc
