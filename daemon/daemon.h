// The daemon: everything a node does, from its start to its end.

#pragma once

#include <functional>

#include "absl/status/statusor.h"
#include "daemon/config.h"

namespace litefs {

struct DaemonOptions {
  Config config;
  // Reads the configuration again: SIGHUP, litefs reload.
  std::function<absl::StatusOr<Config>()> reload = {};
  // Exit when the last control connection and session has gone (`litefs run` starts it so).
  bool while_used = false;
  // Where to write one byte when apps and commands can connect, and then to close; -1: nowhere.
  int ready_fd = -1;
};

// The exit status when another daemon has the directory.
inline constexpr int kExitAnotherDaemon = 3;

// Runs until SIGTERM or SIGINT (or disuse).  Returns the exit status; what went wrong is in the
// log.
int RunDaemon(const DaemonOptions& options);

}  // namespace litefs
