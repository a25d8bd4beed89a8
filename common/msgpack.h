// One message = one msgpack array of unsigned integers, strings and byte strings, nothing nested.
// Encoded with msgpack-c's packer into the caller's buffer and decoded with its parser template,
// without a heap: the same code serves the shim and the daemon.  Shim-safe; no state.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace litefs {

// Writes one message.  After the last field, size() is the encoded size, or 0 if it did not fit
// or the number of fields differs from the number announced.
class MessageWriter {
 public:
  // field_count fields follow.  out must outlive the writer.
  MessageWriter(std::span<char> out, uint32_t field_count);

  void Uint(uint64_t v);
  void Text(std::string_view v);
  void Bytes(std::span<const char> v);

  size_t size() const { return failed_ || pending_ != 0 ? 0 : size_; }

 private:
  static int Append(void* self, const char* data, size_t n);
  void Count();

  std::span<char> out_;
  size_t size_ = 0;
  uint32_t pending_;
  bool failed_ = false;
};

// A decoded field.  bytes points into the message.
struct MessageField {
  enum class Kind : uint8_t { kUint, kText, kBytes };
  Kind kind = Kind::kUint;
  uint64_t number = 0;
  std::string_view bytes;
};

// Decodes a whole message into fields.  Returns the number of fields, or -1 if data is not exactly
// one array of uint, str and bin, or has more than fields.size() of them.
int DecodeMessage(std::string_view data, std::span<MessageField> fields);

// Reads the decoded fields one after the other; ok() turns false, and stays so, at the first field
// that is absent or of another kind.
class MessageReader {
 public:
  explicit MessageReader(std::span<const MessageField> fields) : fields_(fields) {}
  uint64_t Uint() { return Next(MessageField::Kind::kUint).number; }
  std::string_view Text() { return Next(MessageField::Kind::kText).bytes; }
  std::string_view Bytes() { return Next(MessageField::Kind::kBytes).bytes; }
  bool ok() const { return ok_; }
  bool AtEnd() const { return ok_ && next_ == fields_.size(); }

 private:
  MessageField Next(MessageField::Kind kind) {
    if (!ok_ || next_ == fields_.size() || fields_[next_].kind != kind) {
      ok_ = false;
      return {};
    }
    return fields_[next_++];
  }

  std::span<const MessageField> fields_;
  size_t next_ = 0;
  bool ok_ = true;
};

}  // namespace litefs
