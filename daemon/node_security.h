// Who this node is and whom it believes: the keys that the configuration names, read.

#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "daemon/config.h"
#include "daemon/replication/context.h"

namespace litefs {

// Nothing without security.key-file.  upstream: whom a replica follows, or "".  Errors name the
// file and the way out.
absl::StatusOr<replication::Security> ReadSecurity(const Config& config,
                                                   const std::string& upstream);

}  // namespace litefs
