// ReplicaFile: the live database file of a replica, written as a correct SQLite writer would write
// it, while stock SQLite readers in other processes have it open.
//
// From Open to its destruction it holds SQLite's own write locks, as OFD locks: RESERVED on the
// database, and while a WAL is in use also SHARED there and, on the -shm, WRITE, CHECKPOINT and a
// share of the dead-man lock.  Other processes read; their writes find "database is locked".
//
//   absent ──Apply──► rollback ◄──────page 1 says rollback, and nobody has it open────── WAL
//                        │  ▲                                                             ▲
//                        │  └──settled or recovered at the next call── closed (an error)  │
//                        └──────────────────────page 1 says WAL───────────────────────────┘
//
// The process must not use the same files by SQLite or by POSIX locks.

#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/unique_fd.h"
#include "daemon/db/database_paths.h"
#include "daemon/db/page_source.h"
#include "daemon/db/replica_wal.h"
#include "daemon/db/rollback_journal.h"
#include "ltx/types.h"

namespace litefs {

// Used by one thread at a time.  Blocks on the disk, never on a lock.
class ReplicaFile {
 public:
  struct Options {
    std::string path;
    std::string temporary_directory;  // exists, and is on the database's file system
    // Apply copies a long log into the database file.  False: whoever follows the log from outside
    // calls Checkpoint when IsCheckpointDue, once it has what was applied.
    bool checkpoints = true;
  };

  // Opens the database, if it exists: rolls back a hot journal, recovers a WAL that nobody has
  // open, and takes the locks.  An absent file is an empty database.
  // kUnavailable: a local process writes, or is at a lock for the moment; try again.
  // kDataLoss: the file is not a database.
  static absl::StatusOr<std::unique_ptr<ReplicaFile>> Open(Options options);
  ~ReplicaFile();
  ReplicaFile(const ReplicaFile&) = delete;
  ReplicaFile& operator=(const ReplicaFile&) = delete;

  // Replaces the pages of source and sets the size to commit pages of page_bytes; commit 0 deletes
  // the database.  Atomic for readers and for a death of the process at any instant.  Durable on
  // return in rollback mode; in WAL mode a power failure may take the last transactions.
  //
  // kUnavailable: readers are in the way; nothing has changed.  Try again soon: in rollback mode
  // PENDING stays held meanwhile, so that no new reader begins and this one's turn comes.
  // kInvalidArgument, kDataLoss: source does not make a database, or cannot be read.
  // After any error but kUnavailable the database may have been closed; the next call reopens it,
  // and finds the old content or the new one.
  //
  // A change of page_bytes needs a source with every page, and that nobody has the database open.
  absl::Status Apply(PageSource& source, uint32_t page_bytes, ltx::PageNo commit);

  // As Apply with every page of a database that does not exist: what has been written to fd, a file
  // without a name on the same file system, becomes the database.
  // kAlreadyExists: there is one.  After any error nothing has changed; Apply may do.
  absl::Status Adopt(UniqueFd fd, uint32_t page_bytes, ltx::PageNo commit);

  // For how long the last Apply kept new readers from beginning; 0 in WAL mode.
  std::chrono::steady_clock::duration kept_readers_out() const { return held_; }

  // Reads the committed content of a page; zeros for the lock page.
  // kOutOfRange beyond the end.  REQUIRES: page.size() == shape().page_bytes.
  absl::Status ReadPage(ltx::PageNo pgno, std::span<std::byte> page) {
    return ReadPages(pgno, page);
  }
  // Several that follow each other, from first on.
  // REQUIRES: pages.size() is a multiple of shape().page_bytes.
  absl::Status ReadPages(ltx::PageNo first, std::span<std::byte> pages);

  struct Shape {
    uint32_t page_bytes = 0;
    ltx::PageNo size_pages = 0;
    bool wal = false;  // a WAL is in use; after a change to rollback mode perhaps for a while yet
  };
  Shape shape() const { return shape_; }

  // Lets local apps write, until TakeBack: gives up RESERVED, or the WAL's write lock; what else is
  // held in WAL mode stays.  Meanwhile nothing but these two, ReadPage and shape may be called, and
  // the latter tell of before.  After an error nothing is lent.
  absl::Status Lend();
  // kUnavailable: an app is in a write transaction; it is still lent.  After any other error it is
  // closed, as after Apply's.
  absl::Status TakeBack();
  // In WAL mode: the log.
  ReplicaWal* wal() { return wal_.get(); }

  // Housekeeping when idle: copies from the WAL what no reader needs, and leaves WAL mode if page 1
  // says so and nobody has the database open.  Readers in the way are not an error.
  absl::Status Checkpoint();
  // Whether the log is long enough for one though readers come and go.
  bool IsCheckpointDue() const;
  // Whether Checkpoint would find nothing to do.
  bool tidy() const { return wal_ == nullptr || (page1_wal_ && wal_->FullyBackfilled()); }

 private:
  explicit ReplicaFile(Options options)
      : paths_(options.path),
        temporary_directory_(std::move(options.temporary_directory)),
        checkpoints_(options.checkpoints),
        journal_(&paths_, &temporary_directory_) {}

  absl::Status OpenExisting();
  absl::Status TakeReserved();
  absl::Status RollBack();
  absl::Status LoadShape();
  void Close();

  absl::Status TakeExclusive();
  void ReleaseExclusive();
  void ReleasePending();

  absl::Status ApplyOpen(PageSource& source, uint32_t page_bytes, ltx::PageNo commit, bool wal);
  absl::Status ApplyRollback(PageSource& source, uint32_t page_bytes, ltx::PageNo commit, bool wal);
  absl::Status EnterWal();
  absl::Status Create(PageSource& source, uint32_t page_bytes, ltx::PageNo commit, bool wal);
  absl::Status Appear(UniqueFd fd, const std::string& temporary, const Shape& shape);
  absl::Status Delete();
  absl::Status LeaveWal();
  absl::Status LeaveWalIfDue();

  const DatabasePaths paths_;
  const std::string temporary_directory_;
  const bool checkpoints_;
  RollbackJournal journal_;
  UniqueFd database_;                // the locks are on this open file
  std::unique_ptr<ReplicaWal> wal_;  // while a WAL is in use
  bool page1_wal_ = false;           // what page 1 of the committed content says
  bool pending_ = false;             // PENDING is held
  bool exclusive_ = false;           // and EXCLUSIVE
  std::chrono::steady_clock::time_point pending_since_;
  std::chrono::steady_clock::duration held_{};
  Shape shape_;
};

}  // namespace litefs
