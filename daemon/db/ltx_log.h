// LtxLog: the directory of LTX files that make up one database's chain.  A file enters by a rename
// and never changes; the oldest leave by retention.  Thread-safe: the capturing thread appends
// while replication threads look files up.
//
// Invariant (I1): file i's post-apply position is file i+1's pre-apply position.

#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/mutex.h"
#include "common/unique_fd.h"
#include "daemon/db/ltx_file_list.h"
#include "daemon/db/spare_files.h"
#include "ltx/types.h"

namespace litefs::db {

class LtxLog {
 public:
  // Reads the chain in directory, which exists.  Every file is decoded; one that is broken, and
  // what lies before it, is moved to directory/set-aside (I2: nothing is deleted because it looks
  // wrong) and reported in *report, one line each.
  static absl::StatusOr<std::unique_ptr<LtxLog>> Open(const std::string& directory,
                                                      std::string* report);

  // The end of the chain; {0, empty} when there is none.
  ltx::Position tip() const;
  size_t file_count() const;
  uint64_t size_bytes() const;  // disk space, in 4 KiB blocks

  // A name in the directory for a file being written.  It becomes part of the chain by Append and
  // is removed by the next Open otherwise.
  const std::string& TemporaryPath() const { return temporary_path_; }
  // Makes the file there, empty, when nobody waits for it: that costs more than to fill it.  An
  // error is the next writer's to meet, and to report.
  void MakeTemporary() EXCLUDES(mu_);
  std::string PathOf(const LtxFileRef& file) const;

  // Renames the complete file at temporary into the chain.
  // REQUIRES: file follows tip(), or is a snapshot and the chain is empty.
  absl::Status Append(const std::string& temporary, const LtxFileRef& file);

  // Makes durable every file of the chain.  An error stays, since the system may have dropped what
  // it could not write: what is in the chain then counts only after a restart has read it.
  absl::Status Sync() EXCLUDES(mu_);

  // The file that begins where from ends.  kNotFound: from is the tip.  kOutOfRange: from is not
  // in the chain (pruned, or another branch).
  absl::StatusOr<LtxFileRef> FileAfter(const ltx::Position& from) const;
  absl::StatusOr<UniqueFd> OpenForReading(const LtxFileRef& file) const;
  // The last file.  kNotFound if there is none.
  absl::StatusOr<LtxFileRef> Last() const;

  // The newest position of the chain, its beginning included, whose checksum is the given one.
  std::optional<ltx::Position> FindChecksum(ltx::Checksum checksum) const;
  // Every position of the chain, its beginning (unless that is nothing) included, ascending.
  std::vector<ltx::Position> Positions() const;
  // What comes after transaction txid.
  struct Backlog {
    uint64_t files = 0;
    uint64_t bytes = 0;
    int64_t oldest_ms = 0;  // of the first of them
  };
  Backlog After(ltx::TxId txid) const;
  // The time of the transaction that ends at that position, in ms since 1970.
  std::optional<int64_t> TimeOf(const ltx::Position& position) const;
  // True if the chain begins with a snapshot.
  bool BeginsWithSnapshot() const;

  // Removes the oldest files while they are older than oldest_ms, or all together take more than
  // max_bytes; never the last one, nor one that ends after keep_after.  Whether there were any.
  bool Prune(int64_t oldest_ms, uint64_t max_bytes, ltx::TxId keep_after);

  // Moves the whole chain to destination, a new directory, and starts empty.
  absl::Status MoveAway(const std::string& destination);

 private:
  explicit LtxLog(std::string directory)
      : directory_(std::move(directory)),
        temporary_path_(directory_ + "/pending.tmp"),
        spares_(directory_) {}
  absl::Status Load(std::string* report);

  const std::string directory_;
  const std::string temporary_path_;
  mutable Mutex mu_;
  LtxFileList files_ GUARDED_BY(mu_);
  SpareFiles spares_ GUARDED_BY(mu_);
  size_t appended_ GUARDED_BY(mu_) = 0;  // since the last Prune
  std::string path_ GUARDED_BY(mu_);     // of Append, so that it allocates nothing
  uint64_t size_bytes_ GUARDED_BY(mu_) = 0;
  uint64_t end_bytes_ GUARDED_BY(mu_) = 0;
  ltx::TxId synced_ GUARDED_BY(mu_) = 0;  // by Sync
  absl::Status sync_error_ GUARDED_BY(mu_);
};

}  // namespace litefs::db
