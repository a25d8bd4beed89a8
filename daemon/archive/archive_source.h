// ArchiveSource: the databases as the archive sees them.  Every method may be called from any
// thread.

#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/unique_fd.h"
#include "daemon/db/ltx_log.h"

namespace litefs::archive {

class ArchiveSource {
 public:
  virtual ~ArchiveSource() = default;
  virtual std::vector<std::string> Databases() = 0;
  // Null if there is none of that name; else good for ever.
  virtual const db::LtxLog* Log(const std::string& database) = 0;
  // The whole content at its position, as an LTX snapshot in an unlinked file.
  virtual absl::StatusOr<UniqueFd> Snapshot(const std::string& database, db::LtxFileRef* file) = 0;
};

}  // namespace litefs::archive
