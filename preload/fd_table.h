// Which of the process's descriptors are ours to watch: one 16-bit entry a descriptor, in BSS.
// Get() is the whole cost of a call that is none of our business.  Any thread; no locks. Shim-safe.

#pragma once

#include <atomic>
#include <cstdint>

namespace litefs::preload {

enum class FileKind : uint8_t { kDatabase = 0, kJournal = 1, kWal = 2, kShm = 3 };

// What a descriptor refers to.
class FdEntry {
 public:
  constexpr FdEntry() = default;
  constexpr explicit FdEntry(uint16_t value) : value_(value) {}
  constexpr FdEntry(FileKind kind, uint32_t database)
      : value_(static_cast<uint16_t>((database + 1) << 2 | static_cast<uint32_t>(kind))) {}
  static constexpr FdEntry Own() { return FdEntry(kOwn); }

  constexpr bool empty() const { return value_ == 0; }
  constexpr bool own() const { return value_ == kOwn; }  // a session's socket
  constexpr bool file() const { return !empty() && !own(); }
  constexpr FileKind kind() const { return static_cast<FileKind>(value_ & 3); }
  constexpr uint32_t database() const { return (value_ >> 2) - 1U; }
  constexpr uint16_t value() const { return value_; }

 private:
  static constexpr uint16_t kOwn = 0xffff;
  uint16_t value_ = 0;
};
inline constexpr uint32_t kMaxDatabases = 2048;  // open at once in one process
static_assert(kMaxDatabases + 1 < 0xffff >> 2);

class FdTable {
 public:
  // Descriptors from here on are never tracked (the kernel's default fs.nr_open).
  static constexpr uint32_t kCapacity = 1U << 20;

  FdEntry Get(int fd) const {
    if (static_cast<uint32_t>(fd) >= kCapacity) return FdEntry();
    return FdEntry(__atomic_load_n(&entries_[fd], __ATOMIC_RELAXED));
  }
  // Returns the entry before.  REQUIRES: 0 <= fd < kCapacity
  FdEntry Exchange(int fd, FdEntry entry) {
    if (entry.file()) RaiseEnd(fd + 1);
    return FdEntry(__atomic_exchange_n(&entries_[fd], entry.value(), __ATOMIC_ACQ_REL));
  }
  // No file is entered at or past this descriptor.
  int end() const { return end_.load(std::memory_order_acquire); }

 private:
  void RaiseEnd(int end) {
    int seen = end_.load(std::memory_order_relaxed);
    while (seen < end && !end_.compare_exchange_weak(seen, end, std::memory_order_acq_rel)) {
    }
  }

  // Not std::atomic: clang gives up on a constant initialiser of a million constructors.
  uint16_t entries_[kCapacity]{};
  std::atomic<int> end_{0};
};

// The process's table.
extern FdTable fd_table;

}  // namespace litefs::preload
