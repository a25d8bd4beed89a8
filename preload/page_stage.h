// PageStage: the shim's end of a page ring (common/page_ring.h).  Holds the pages of the
// transaction under way behind the ring's head, and hands them to the daemon once SQLite has
// committed.  What does not fit, or is no whole page, makes the transaction incomplete: the daemon
// then reads the file, as without a ring.  REQUIRES: the caller holds Database::lock.  All zeros is
// a stage without a ring. Shim-safe.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "common/page_ring.h"

namespace litefs::preload {

class PageStage {
 public:
  // A mapped ring of kRingFileBytes, which stays the caller's; null: none any more.
  void SetRing(RingHeader* ring);
  RingHeader* ring() const { return ring_; }

  // A transaction begins; wanted: its pages are to be kept.  base: the change counter in page 1.
  void Begin(bool wanted, uint32_t base);
  // One write to the database.
  void Add(uint64_t offset, std::span<const char> data);
  // Something else has changed the file.
  void Spoil() { complete_ = false; }
  // Nothing is noted any more.
  void Forget();

  // All that was written is held, and page 1 with it, which says that the database is in a rollback
  // mode.
  bool complete() const { return complete_ && has_header_; }
  // Hands the transaction over.  REQUIRES: complete()
  void Publish();

 private:
  std::span<char> Data() const;
  void CopyIn(uint64_t position, std::span<const char> data);

  RingHeader* ring_;
  uint64_t start_;      // of the transaction's record
  uint64_t free_from_;  // what lies before it is taken, whatever the ring says
  uint64_t end_;        // of what is held of it
  uint32_t base_;
  uint32_t page_bytes_;
  uint32_t pages_;
  bool complete_;
  bool has_header_;
};

}  // namespace litefs::preload
