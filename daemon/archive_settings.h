// The keys of one destination of the configuration's `archive` list (README, "Configuration").
// Any thread.

#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/archive/archive_config.h"

namespace litefs {

struct ArchiveSetting {
  std::string_view key;  // "archive.url"
  // Returns what is wrong with the values, or "".  One value, unless is_list.
  std::string (*set)(const std::vector<std::string>& values, archive::ArchiveConfig* archive);
  bool is_list = false;
};

// All of them; good for ever.
std::span<const ArchiveSetting> ArchiveSettings();

// What no key can see by itself, for the last of the list, which also gets a name if it has none.
// Returns what is wrong, or "".
std::string FinishArchives(std::vector<archive::ArchiveConfig>* archives);

}  // namespace litefs
