// Every key of the configuration, in one table.  No state; any thread.

#pragma once

#include <string>
#include <string_view>

#include "daemon/archive_settings.h"
#include "daemon/config_values.h"

namespace litefs {

struct Setting {
  std::string_view key;
  Problem (*set)(const Values& values, Config* config);
  enum class Shape { kValue, kList, kNames } shape = Shape::kValue;  // kNames: of keys to values
  const ArchiveSetting* of_archive = nullptr;  // instead of set, for the last of the list
};

// Null: there is no such key.
const Setting* FindSetting(std::string_view key);
// True if there are keys `key`.SOMETHING.
bool IsSection(std::string_view key);
// " (did you mean X?)", or the keys there are.
std::string Suggest(const std::string& key);

}  // namespace litefs
