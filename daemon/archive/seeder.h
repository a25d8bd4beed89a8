// SeedDatabases: a new replica begins with the archive's newest state instead of asking the primary
// for a snapshot; the stream goes on from there.

#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "common/unique_fd.h"
#include "daemon/archive/archive_config.h"
#include "daemon/archive/restore_plan.h"
#include "daemon/archive/restorer.h"
#include "ltx/decoder.h"

namespace litefs::archive {

struct SeedOptions {
  ArchiveConfig config;
  std::string temporary_directory;
  std::function<bool(const std::string& database)> is_wanted;
  // Takes an LTX snapshot in.
  std::function<absl::Status(const std::string& database, int fd, uint64_t size)> receive;
};

// Blocks until all that is wanted is there.  The first error ends it; what came before stays.
absl::Status SeedDatabases(const SeedOptions& options);

// Writes the database in the file at path, which is restored, to sink as an LTX snapshot.
absl::StatusOr<ltx::FileInfo> EncodeSnapshot(const std::string& path, const Restored& restored,
                                             bool checksums, ltx::ByteSink* sink);

// Restores plan and writes it as an LTX snapshot to an unlinked file, positioned at 0.
absl::StatusOr<UniqueFd> RestoreAsSnapshot(const RestorePlan& plan, const RestoreOptions& options,
                                           const std::string& name, uint64_t* size);

}  // namespace litefs::archive
