// ArchiveConfig: one destination, as the configuration's `archive` list has it (README,
// "Configuration").

#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "daemon/archive/level_plan.h"
#include "daemon/archive/object_store.h"

namespace litefs::archive {

struct ArchiveConfig {
  std::string name;  // of the destination in status and on the command line
  StoreOptions store;
  std::vector<std::string> databases = {"*"};  // globs (fnmatch) of database names
  std::chrono::milliseconds interval = std::chrono::seconds(1);
  LevelPolicy levels;
  // How much of a database's chain is kept for this destination beyond retention.
  uint64_t backlog_bytes = uint64_t{1} << 30;
  std::vector<std::string> recipients;  // age1…; none: not encrypted
  std::string identity_file;            // to read back what was encrypted; may be empty
  bool litestream = false;              // dialect
  bool seed = false;                    // a replica without a database begins with the archive's
};

}  // namespace litefs::archive
