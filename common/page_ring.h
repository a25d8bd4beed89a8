// What the shim and the daemon share of a page ring.  Shim-safe.

#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace litefs {

// Pages on their way from one session's app to the daemon, so that a small transaction of a
// rollback mode waits for nobody (docs/CAPTURE.md, "The ring").  A file without a name: this page,
// then kRingBytes that are written round and round.  A position is the count of bytes since the
// start. At a multiple of 8 lies a RingTransaction, then for each of its pages a RingPage and the
// page.
//
// The shim writes behind head and moves it once SQLite has committed; the daemon reads up to head
// and moves tail.  Nothing that the shim writes is trusted.
struct RingHeader {
  std::atomic<uint64_t> head;  // by the shim: what lies before it is committed
  // By the shim, before head: what lies before it was taken already, or is nothing.  So a ring that
  // is empty is used from its beginning, and little of its memory is ever touched.
  std::atomic<uint64_t> start;
  std::atomic<uint32_t> noted;  // by the shim: it has written what is not committed, or not told
  uint32_t reserved[11];
  std::atomic<uint64_t> tail;  // by the daemon: what lies before it is taken
  // By the daemon: the next commit is to be a kCommit, at which what is doubtful is decided.
  std::atomic<uint32_t> held;
};
inline constexpr size_t kRingPageBytes = 4096;
inline constexpr size_t kRingBytes = 1 << 20;
inline constexpr size_t kRingFileBytes = kRingPageBytes + kRingBytes;
struct RingTransaction {
  uint32_t page_bytes;  // 512 to 65536
  uint32_t pages;
  uint32_t base;  // the change counter in page 1 before the first write
  uint32_t reserved;
};
struct RingPage {
  uint32_t pgno;
  uint32_t reserved;
};
static_assert(sizeof(RingHeader) <= kRingPageBytes);
static_assert(sizeof(RingTransaction) == 16 && sizeof(RingPage) == 8);

}  // namespace litefs
