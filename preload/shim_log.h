// A line to the file named by LITEFS_PRELOAD_LOG at load; nothing without it.  Shim-safe.

#pragma once

#include <string_view>

namespace litefs::preload {

// Takes the file's name from the environment.  Called once, by the constructor.
void OpenShimLog();
// One write(2) of "litefs[PID] event: detail".
void ShimLog(std::string_view event, std::string_view detail);

}  // namespace litefs::preload
