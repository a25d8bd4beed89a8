// What replication needs of a node's databases: a source of LTX files, on the primary and on a
// replica that serves others, and a sink for them on a replica.  The store implements both;
// replication knows no file names, locks or SQLite.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/unique_fd.h"
#include "ltx/types.h"

namespace litefs::replication {

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

  // An LTX snapshot (min_txid 1) of the current state.  May take seconds: called from a thread of
  // its own, never the socket thread.  kNotFound: no such database.
  virtual absl::StatusOr<ChainFile> Snapshot(const std::string& database) = 0;

  // A file that brings a database whose pages have these checksums to the current state: the pages
  // that differ, from base's checksum to the tip's position (min_txid is max_txid).  As slow as
  // Snapshot.  kFailedPrecondition: only a snapshot will do.
  virtual absl::StatusOr<ChainFile> Delta(const std::string& database, const PageSums& base) = 0;
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
