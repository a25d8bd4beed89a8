// Spool: local copies of what was archived last, not encrypted, so that compaction neither fetches
// nor decrypts.  A cache: the archive is right without it.  One directory for one destination,
// .litefs/archive/<destination>.  Any thread.

#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "common/unique_fd.h"
#include "daemon/archive/archive_file.h"

namespace litefs::archive {

class Spool {
 public:
  // Makes the directory, and removes unfinished files in it.
  static absl::StatusOr<Spool> Open(const std::string& directory);

  // A path for a file being written for database; kind tells the writers apart.
  absl::StatusOr<std::string> TemporaryPath(const std::string& database, const char* kind) const;
  // Makes the finished file at temporary the copy of file.
  absl::Status Keep(const std::string& temporary, const ArchiveFile& file) const;
  // kNotFound: there is no copy.
  absl::StatusOr<UniqueFd> Open(const ArchiveFile& file) const;
  void Drop(const ArchiveFile& file) const;
  // Drops what is of database and not in keep (names as in the archive).
  void DropOthers(const std::string& database, const std::vector<ArchiveFile>& keep) const;

  const std::string& directory() const { return directory_; }

 private:
  explicit Spool(std::string directory) : directory_(std::move(directory)) {}
  std::string PathOf(const ArchiveFile& file) const;

  std::string directory_;
};

}  // namespace litefs::archive
