// Every message of protocol.h as a struct, with its encoding (common/msgpack.h) in both directions.
// Encoders write into the caller's buffer, decoders point into the caller's message: no heap, no
// state.  Shim-safe.

#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "ipc/protocol.h"

namespace litefs::ipc {

// Ranges inside a message, which need not be aligned.
class RangesView {
 public:
  RangesView() = default;
  explicit RangesView(std::span<const DirtyRange> ranges)
      : bytes_(reinterpret_cast<const char*>(ranges.data()), ranges.size_bytes()) {}
  // REQUIRES: bytes.size() is a multiple of sizeof(DirtyRange).
  explicit RangesView(std::string_view bytes) : bytes_(bytes) {}

  size_t size() const { return bytes_.size() / sizeof(DirtyRange); }
  bool empty() const { return bytes_.empty(); }
  std::string_view bytes() const { return bytes_; }
  DirtyRange operator[](size_t i) const {
    DirtyRange range;
    std::memcpy(&range, bytes_.data() + i * sizeof(range), sizeof(range));
    return range;
  }

 private:
  std::string_view bytes_;
};

struct Hello {
  uint32_t version = kProtocolVersion;
  uint32_t pid = 0;
  std::string_view name;  // the database's file name, 1 to kMaxDatabaseNameBytes, no '/'
  uint64_t device = 0;
  uint64_t inode = 0;
  std::string_view program;
  uint64_t flags = 0;
};
struct Welcome {
  uint32_t version = kProtocolVersion;
  uint32_t error = 0;  // errno; if not 0, text says why and the session ends
  Role role = Role::kPrimary;
  uint32_t bell_slot = 0;
  std::string_view text;
  uint64_t flags = 0;
};
struct Dirty {
  RangesView ranges;
};
struct Prepare {
  uint64_t flags = 0;
  RangesView ranges;
};
struct Commit {
  uint64_t id = 0;
  uint64_t flags = 0;
  RangesView ranges;
};
struct Done {
  uint32_t error = 0;
};
struct Bell {};
struct Drain {
  uint64_t id = 0;
  DrainReason reason = DrainReason::kRestart;
};
struct Sync {
  uint64_t id = 0;
  uint64_t waited_ms = 0;
};
struct Lock {
  uint64_t id = 0;
};
struct Unlock {};

struct Ring {
  uint64_t id = 0;
};
struct Forward {
  uint64_t id = 0;
  uint64_t flags = 0;
  uint64_t offset = 0;
  uint32_t pgno = 0;
  uint32_t size_pages = 0;
};
struct Reply {
  uint64_t id = 0;
  uint32_t error = 0;
};
struct Control {
  uint64_t id = 0;
  std::string_view json;
};
struct ControlReply {
  uint64_t id = 0;
  uint32_t error = 0;
  std::string_view json;
};

// Writes the message to out and returns its size; 0 if it does not fit.
size_t Encode(const Hello& message, std::span<char> out);
size_t Encode(const Welcome& message, std::span<char> out);
size_t Encode(const Dirty& message, std::span<char> out);
size_t Encode(const Prepare& message, std::span<char> out);
size_t Encode(const Commit& message, std::span<char> out);
size_t Encode(const Done& message, std::span<char> out);
size_t Encode(const Bell& message, std::span<char> out);
size_t Encode(const Drain& message, std::span<char> out);
size_t Encode(const Sync& message, std::span<char> out);
size_t Encode(const Lock& message, std::span<char> out);
size_t Encode(const Unlock& message, std::span<char> out);
size_t Encode(const Ring& message, std::span<char> out);
size_t Encode(const Forward& message, std::span<char> out);
size_t Encode(const Reply& message, std::span<char> out);
size_t Encode(const Control& message, std::span<char> out);
size_t Encode(const ControlReply& message, std::span<char> out);

// The type of a well-formed message, also one that this version does not know; 0 if data is not
// one.
uint32_t TypeOf(std::string_view data);

// False, and *message unspecified, unless data is exactly one message of that type with every field
// within its limits.  The decoded text and ranges point into data.  A Hello or Welcome of another
// version decodes as long as its fields are those of this one: the receiver compares versions.
bool Decode(std::string_view data, Hello* message);
bool Decode(std::string_view data, Welcome* message);
bool Decode(std::string_view data, Dirty* message);
bool Decode(std::string_view data, Prepare* message);
bool Decode(std::string_view data, Commit* message);
bool Decode(std::string_view data, Done* message);
bool Decode(std::string_view data, Bell* message);
bool Decode(std::string_view data, Drain* message);
bool Decode(std::string_view data, Sync* message);
bool Decode(std::string_view data, Lock* message);
bool Decode(std::string_view data, Unlock* message);
bool Decode(std::string_view data, Ring* message);
bool Decode(std::string_view data, Forward* message);
bool Decode(std::string_view data, Reply* message);
bool Decode(std::string_view data, Control* message);
bool Decode(std::string_view data, ControlReply* message);

}  // namespace litefs::ipc
