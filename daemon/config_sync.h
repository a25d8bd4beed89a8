// The settings of synchronous commit: sync, sync-timeout, on-timeout, sync-databases.  A setter
// returns what is wrong with the value, or "".  No state; any thread.

#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "daemon/config.h"
#include "daemon/config_values.h"

namespace litefs {

Problem SetSyncReplicas(const std::string& value, uint32_t* out);
Problem SetSyncTimeout(const std::string& value, std::chrono::milliseconds* out);
Problem SetOnTimeout(const std::string& value, bool* degrade);
// A glob, its setting, the next glob, …
Problem SetSyncDatabases(const Values& globs_and_settings, Config* config);

// Gives databases the defaults for what they do not say themselves.
void FinishSync(Config* config);

}  // namespace litefs
