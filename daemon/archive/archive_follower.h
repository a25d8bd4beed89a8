// ArchiveFollower: keeps a database file current from an archive alone.  The file is written as a
// replica's is (replica_database.h): readers may have it open, writers find it locked, a death at
// any instant is harmless.  Its chain lies beside it, in FILE.litefs/.  Not thread-safe.

#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/archive/restorer.h"
#include "daemon/db/replica_database.h"

namespace litefs::archive {

class ArchiveFollower {
 public:
  struct Options {
    std::string database;  // in the archive
    std::string path;      // of the file
    RestoreOptions restore;
  };
  static absl::StatusOr<std::unique_ptr<ArchiveFollower>> Open(Options options);

  // Brings the file to what the archive holds now.  True if it has moved.  kUnavailable: the
  // archive does not answer, or a reader is in the way; the next call goes on from here.
  absl::StatusOr<bool> Advance();
  ltx::Position position() { return database_->position(); }

 private:
  explicit ArchiveFollower(Options options) : options_(std::move(options)) {}
  absl::Status StartOver(std::span<const ArchiveFile> files);
  absl::Status TakeIn(const ArchiveFile& file);
  absl::Status Apply();

  Options options_;
  std::unique_ptr<db::ReplicaDatabase> database_;
};

}  // namespace litefs::archive
