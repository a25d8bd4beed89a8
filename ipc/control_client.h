// One request of the command line to a daemon: JSON there, JSON back.  Hosted; blocking; any
// thread.

#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "common/unique_fd.h"

namespace litefs::ipc {

struct ControlResult {
  int error = 0;  // errno of the request; 0 is success
  std::string json;
  UniqueFd fd;  // a descriptor that came with the answer, or none
};

// Sends json (with the message around it at most kMaxMessageBytes) to the daemon at socket_path and
// waits for its answer.
// kUnavailable: no daemon, or it went away; kDeadlineExceeded; kInternal: not an answer.
absl::StatusOr<ControlResult> ControlRequest(const std::string& socket_path, std::string_view json,
                                             std::chrono::milliseconds timeout);

}  // namespace litefs::ipc
