// What replication needs of a node's databases: a source of LTX files, on the primary and on a
// replica that serves others, and a sink for them on a replica.  The store implements both;
// replication knows no file names, locks or SQLite.

#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/mutex.h"
#include "common/unique_fd.h"
#include "ltx/types.h"

namespace litefs::replication {

// How much is there of a file that is still being made, and who has read how much.  Any thread.
class FileProgress {
 public:
  void Grow(uint64_t ready_bytes) { ready_bytes_.store(ready_bytes, std::memory_order_release); }
  void Fail() { failed_.store(true, std::memory_order_release); }
  // Somebody has read up to there, the furthest of all.
  void NoteRead(uint64_t bytes) EXCLUDES(mu_);
  // Waits until no more than ahead_bytes are there that nobody has read, or until the deadline.
  void AwaitReader(uint64_t ahead_bytes, std::chrono::steady_clock::time_point deadline)
      EXCLUDES(mu_);
  // What is before this has been given back to the disk.
  void ForgetUpTo(uint64_t bytes) { forgotten_.store(bytes, std::memory_order_release); }

  uint64_t ready_bytes() const { return ready_bytes_.load(std::memory_order_acquire); }
  uint64_t forgotten_bytes() const { return forgotten_.load(std::memory_order_acquire); }
  bool failed() const { return failed_.load(std::memory_order_acquire); }

 private:
  std::atomic<uint64_t> ready_bytes_{0};
  std::atomic<uint64_t> forgotten_{0};
  std::atomic<bool> failed_{false};
  Mutex mu_;
  CondVar changed_;
  uint64_t read_bytes_ GUARDED_BY(mu_) = 0;
};

// One LTX file, open for reading.  Its bytes never change, and stay readable while fd is open
// although the file's name may be gone.
struct ChainFile {
  UniqueFd fd;
  uint64_t size_bytes = 0;
  ltx::TxId min_txid = 0;
  ltx::TxId max_txid = 0;
  ltx::Checksum pre_apply = 0;  // 0 for a snapshot (min_txid 1)
  ltx::Checksum post_apply = 0;
  uint64_t committed_ms = 0;  // when, by the primary's wall clock (LTX header: timestamp)
  uint64_t end_bytes = 0;     // as ChainTip's
  // Of a file that is being made, and described whole already.  Null: all of it is there.
  std::shared_ptr<FileProgress> progress{};

  uint64_t ready_bytes() const {
    return progress == nullptr ? size_bytes : progress->ready_bytes();
  }
  // It will never be whole.
  bool failed() const { return progress != nullptr && progress->failed(); }
  uint64_t forgotten_bytes() const { return progress == nullptr ? 0 : progress->forgotten_bytes(); }
};

// Gets a snapshot while it is made; of one thread.
class SnapshotReader {
 public:
  virtual ~SnapshotReader() = default;
  // A file begins, described whole; the reader sets file.progress.  A second one takes the place of
  // the first, which is not finished.
  virtual void Begin(ChainFile file) = 0;
  // So much of it is there.
  virtual void Grow(uint64_t ready_bytes) = 0;
};

// The end of a database's chain.
struct ChainTip {
  std::string name;
  ltx::Position position;
  uint64_t committed_ms = 0;  // of its last transaction
  // Size of all files of the chain up to here, counted by the source from where it likes: the
  // difference of two tells what lies between.
  uint64_t end_bytes = 0;

  friend bool operator==(const ChainTip&, const ChainTip&) = default;
};

struct DatabaseState {
  std::string name;
  ltx::Position position;

  friend bool operator==(const DatabaseState&, const DatabaseState&) = default;
};

// The checksum of every page of a database, from page 1 on (0 for the lock page).
struct PageSums {
  uint32_t page_bytes = 0;
  std::vector<ltx::Checksum> pages;
};

// The databases that a node serves.  Any thread.
class ChainSource {
 public:
  virtual ~ChainSource() = default;

  // Every database.  A database missing here is dropped on the replicas, so a primary's list must
  // be complete before a ReplicationServer is started; a replica's server says whether it is.
  virtual std::vector<ChainTip> States() = 0;
  // Whether States names all that there is; until then nothing is dropped on the replicas.
  virtual bool Complete() { return true; }

  // The file of the chain that follows position from.  Called from the server's socket thread: it
  // opens one file and does not wait.
  // kNotFound: from is the tip, or there is no such database (States tells which).
  // kOutOfRange: from is not in the chain (pruned, or of another branch): send a snapshot.
  virtual absl::StatusOr<ChainFile> FileAfter(const std::string& database,
                                              const ltx::Position& from) = 0;

  // Makes an LTX snapshot (min_txid 1) of the current state, which is whole when this returns OK.
  // May take seconds: called from a thread of its own, never the socket thread.
  // kNotFound: no such database.
  virtual absl::Status Snapshot(const std::string& database, SnapshotReader* reader) = 0;

  // A file that brings a database whose pages have these checksums to the current state: the pages
  // that differ, from base's checksum to the tip's position (min_txid is max_txid).  As slow as
  // Snapshot.  kFailedPrecondition: only a snapshot will do.
  virtual absl::StatusOr<ChainFile> Delta(const std::string& database, const PageSums& base) = 0;
};

// What a sink makes of a big file while it arrives.  Of the receiving thread; to be destroyed
// before the sink.
class Arrival {
 public:
  virtual ~Arrival() = default;
  // The file has so many bytes now.  kDataLoss: it is broken, and need not come any further.
  virtual absl::Status Arrived(uint64_t bytes) = 0;
  // It is complete: as ChainSink::Receive.
  virtual absl::StatusOr<ltx::Position> Receive() = 0;
};

// The replica's databases.  Called from the replica's receiving thread only.
class ChainSink {
 public:
  virtual ~ChainSink() = default;

  // Every database, at the position that is stored; one whose content is no position of any chain
  // is at transaction 0 and has that content's checksum.
  virtual std::vector<DatabaseState> States() = 0;

  // Takes a complete LTX file: verifies, stores and applies it (or queues that), and returns the
  // new stored position.  file_fd is positioned at 0 and stays the caller's.  A snapshot
  // (min_txid 1) may replace a database that is on another branch, and so may a file whose
  // pre_apply is the checksum of what is there.
  // kFailedPrecondition: does not follow our position.  kDataLoss: a broken file.
  // Any other error (disk full): try again later.
  virtual absl::StatusOr<ltx::Position> Receive(const std::string& database, int file_fd,
                                                uint64_t size_bytes) = 0;
  // A file of size_bytes is about to arrive in file_fd, a SpoolFile that is written from its start
  // to its end.  Null: there is nothing to do before it is complete; then Receive gets it.
  virtual std::unique_ptr<Arrival> Expect(const std::string& /*database*/, int /*file_fd*/,
                                          uint64_t /*size_bytes*/) {
    return nullptr;
  }
  // The checksums of the pages that the database has now.  None: nothing is there to build on, or
  // it has more than max_pages.  Reads the whole database.
  virtual absl::StatusOr<PageSums> Sums(const std::string& database, uint64_t max_pages) = 0;

  // As Receive, for a small file.
  virtual absl::StatusOr<ltx::Position> ReceiveBytes(const std::string& database,
                                                     std::span<const std::byte> ltx_file) = 0;

  // Makes durable what States says of this database.  An error stays: what was written may be lost.
  virtual absl::Status Sync(const std::string& database) = 0;

  // The primary no longer has this database.
  virtual absl::Status Drop(const std::string& database) = 0;

  // An unlinked temporary file, read and write, for a big transfer.
  virtual absl::StatusOr<UniqueFd> SpoolFile() = 0;
};

}  // namespace litefs::replication
