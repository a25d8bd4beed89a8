// The wal-index mapped into memory, for the one process that holds the write lock: what wal.c does
// with it under that lock, and the look-up that readers do.  The layout is in wal_index.h.
//
// Other processes read the mapping at any time: entries are stored before the header that makes
// them visible, and the header in two copies with barriers.

#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/sqlite/wal_index.h"

namespace litefs::sqlite {

// Not thread-safe.
class WalIndexMap {
 public:
  // Maps the first block; a shorter file is extended by zeros, never cut.  shm_fd must outlive the
  // map.  REQUIRES: the caller holds a share of the dead-man lock, and the write lock.
  static absl::StatusOr<std::unique_ptr<WalIndexMap>> Map(int shm_fd, const std::string& name);
  ~WalIndexMap();
  WalIndexMap(const WalIndexMap&) = delete;
  WalIndexMap& operator=(const WalIndexMap&) = delete;

  // kUnavailable if the header is not valid.
  absl::StatusOr<WalIndexHeader> header() const;
  // Makes everything stored before visible to readers: second copy, barrier, first copy.
  void Publish(const WalIndexHeader& header);

  // Extends the file and maps blocks, so that frames up to max_frame have their places.
  absl::Status Reserve(uint32_t max_frame);
  // Enters a frame beyond the committed ones.  Remnants of a writer that died are cleaned up, as
  // walIndexAppend does.  kDataLoss if the hash table is full, which only corruption can do.
  // REQUIRES: Reserve(frame), and frames are appended in order from committed_frame + 1 on.
  absl::Status Append(uint32_t frame, uint32_t pgno, uint32_t committed_frame);
  // Replaces all entries by pages, the page numbers of frames 1 to pages.size().  Entries that were
  // right stay as they are at every instant, so that readers' snapshots go on.
  absl::Status Rebuild(std::span<const uint32_t> pages);

  // The last frame of pgno up to max_frame, or 0.
  uint32_t FindFrame(uint32_t pgno, uint32_t max_frame);
  // REQUIRES: 1 <= frame <= the published max_frame.
  absl::StatusOr<uint32_t> PageOfFrame(uint32_t frame);

  uint32_t backfilled() const { return Load(kWalBackfilledOffset); }
  void set_backfilled(uint32_t frame) { Store(kWalBackfilledOffset, frame); }
  void set_backfill_attempted(uint32_t frame) { Store(kWalBackfillAttemptedOffset, frame); }
  // REQUIRES for setting mark i: the exclusive lock READ(i).
  uint32_t read_mark(int i) const { return Load(kWalReadMarksOffset + 4 * static_cast<size_t>(i)); }
  void set_read_mark(int i, uint32_t frame) {
    Store(kWalReadMarksOffset + 4 * static_cast<size_t>(i), frame);
  }

 private:
  // A block's parts.  zero is the number of the frame before its first one.
  struct Block {
    uint32_t* pages;
    uint16_t* slots;
    uint32_t capacity;  // frames
    uint32_t zero;
  };

  WalIndexMap(int shm_fd, std::string name) : shm_fd_(shm_fd), name_(std::move(name)) {}
  absl::Status ReserveBlocks(size_t count);
  Block BlockAt(uint32_t index) const;
  void CleanUp(uint32_t committed_frame);
  uint32_t Load(size_t offset) const;
  void Store(size_t offset, uint32_t value);

  const int shm_fd_;
  const std::string name_;
  std::vector<std::byte*> blocks_;
};

}  // namespace litefs::sqlite
