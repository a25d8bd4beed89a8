// The branches of a replica's database: what it had and the primary does not, or no longer has
// (I2). Each is a directory .litefs/dbs/NAME/branches/TXID-CHECKSUM, named for where it ended, with
// LTX files: the chain's, and a snapshot of the content where the chain did not begin with one.
// Works on the directory alone, with or without a daemon.  Any thread.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ltx/types.h"

namespace litefs::db {

struct Branch {
  std::string name;
  ltx::Position end;
  uint64_t files = 0;
  uint64_t size_bytes = 0;
  int64_t timestamp_ms = 0;  // of its last transaction
  bool whole = false;  // can be exported: begins with a snapshot, or where another branch ended
};

// The branches under control_directory (.litefs/dbs/NAME), the oldest first.
absl::StatusOr<std::vector<Branch>> ListBranches(const std::string& control_directory);

// Writes the database as it was at the end of the branch to path, which must not exist.
// kNotFound: no such branch; kFailedPrecondition: it is not whole.  Leaves nothing on failure.
absl::Status ExportBranch(const std::string& control_directory, const std::string& name,
                          const std::string& path);

// Deletes the branch for good.  kNotFound: no such branch.  kFailedPrecondition, unless force: the
// files of another begin where this one ended.
absl::Status DiscardBranch(const std::string& control_directory, const std::string& name,
                           bool force);

}  // namespace litefs::db
