// The write-ahead log of a replica's database, held open as its only writer and checkpointer.
//
// While a ReplicaWal lives it holds, by OFD locks on the -shm file, SQLite's WRITE and CHECKPOINT
// locks and a share of the dead-man lock.  So no other process writes, checkpoints or recovers, and
// the wal-index is not reset; readers read, and choose and release their snapshots as ever.
//
// Not thread-safe.  Everything blocks on the disk at most, never on a lock.

#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/unique_fd.h"
#include "daemon/db/database_paths.h"
#include "daemon/db/page_source.h"
#include "daemon/sqlite/wal_index.h"
#include "daemon/sqlite/wal_index_map.h"

namespace litefs {

class ReplicaWal {
 public:
  // Opens or creates the -wal and -shm files and takes the locks.  A wal-index that somebody has
  // open is trusted if its header is valid; otherwise the log is recovered as walIndexRecover does.
  // kUnavailable: somebody holds a lock for the moment; kDataLoss: the log cannot be this
  // database's.
  //
  // database_fd and paths must outlive the object.  REQUIRES: the caller holds at least SHARED on
  // the database file, and keeps it: the last process to close would unlink the log.
  static absl::StatusOr<std::unique_ptr<ReplicaWal>> Open(int database_fd,
                                                          const DatabasePaths& paths);

  // Appends one transaction and makes it visible to readers.  Not synced: like synchronous=NORMAL,
  // a power failure may take the last transactions, whole ones.  After an error nothing has changed
  // for readers.  REQUIRES: page_bytes is that of the database; source has pages of 1..commit.
  absl::Status Append(PageSource& source, uint32_t page_bytes, ltx::PageNo commit);

  // Copies what no reader's snapshot forbids into the database file, and if that is everything and
  // no reader uses the log, restarts it.  Readers in the way are not an error.
  absl::Status Checkpoint();
  // Makes what was appended durable.
  absl::Status Sync();
  // Whether all of the log is in the database file.
  bool FullyBackfilled() const { return index_->backfilled() == header_.max_frame; }
  // Frames that are not in the database file yet.
  uint32_t FramesToBackfill() const { return header_.max_frame - index_->backfilled(); }

  // Gives up the write lock, so that local apps append to the log; takes it back and learns what
  // they have made of it.  TakeBack: kUnavailable while one writes.
  absl::Status Lend();
  absl::Status TakeBack();
  // The pages of a transaction that an app is about to commit: those of the frames behind the last
  // committed one up to last_frame, which must be written.  Of a page, its newest frame.
  // REQUIRES: lent, and the app holds the write lock.
  using Frames = absl::flat_hash_map<uint32_t, uint32_t>;  // page to frame
  absl::StatusOr<Frames> Uncommitted(uint32_t last_frame, uint32_t page_bytes);
  absl::Status ReadFrame(uint32_t frame, std::span<std::byte> page);
  // The last committed frame, as last known.
  uint32_t max_frame() const { return header_.max_frame; }

  // Reads the committed content of a page from the log; false if the log does not have it.
  absl::StatusOr<bool> ReadPage(ltx::PageNo pgno, std::span<std::byte> page);

  // Both are 0 while the log is empty and unborn: the database file tells.
  ltx::PageNo size_pages() const { return header_.page_count; }
  uint32_t page_bytes() const { return header_.max_frame != 0 ? header_.page_bytes : 0; }

 private:
  ReplicaWal(int database_fd, const DatabasePaths& paths)
      : database_fd_(database_fd), paths_(paths) {}
  absl::Status TakeLocks(bool* fresh);
  absl::Status Load(bool fresh);
  absl::Status Recover();
  absl::Status ScanLog(std::vector<uint32_t>* pages);
  absl::Status StartLog(uint32_t page_bytes);
  absl::Status WriteFrames(PageSource& source, const std::vector<size_t>& chosen,
                           ltx::PageNo commit, sqlite::WalIndexHeader* next);
  absl::StatusOr<uint32_t> FindSafeFrame();
  absl::Status Backfill(uint32_t safe_frame);
  absl::Status CopyPages(uint32_t safe_frame);
  absl::Status CopyRun(uint32_t pgno, uint32_t frame, uint32_t count);
  absl::Status TryRestart();

  const int database_fd_;
  const DatabasePaths& paths_;
  UniqueFd wal_;
  UniqueFd shm_;                                // the locks are on this open file
  std::unique_ptr<sqlite::WalIndexMap> index_;  // over shm_
  sqlite::WalIndexHeader header_;               // as published
  uint32_t sequence_ = 0;                       // that the log's header has, or will get
  std::vector<std::byte> buffer_;
};

}  // namespace litefs
