// What no key of a configuration can see by itself.  No state; any thread.

#pragma once

#include <functional>
#include <optional>
#include <string>

#include "daemon/config.h"

namespace litefs {

struct ConfigConflict {
  std::string line_of;  // the key whose line is to be shown
  std::string key;
  std::string problem;
};
// Is the key in the file?
using IsGiven = std::function<bool(const char* key)>;

// The first conflict; none: the configuration can be run.
std::optional<ConfigConflict> CheckTogether(const Config& config, const IsGiven& is_given);

}  // namespace litefs
