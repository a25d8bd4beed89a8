// Creating and removing the files beside a database as SQLite does.  Blocking; any thread.

#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/unique_fd.h"

namespace litefs {

// Opens path for reading and writing.  If it does not exist it is created with the permission bits
// and, for root, the owner of the file behind database_fd (os_unix.c, findCreateFileMode): every
// process that can use the database must be able to use it.
absl::StatusOr<UniqueFd> OpenSideFile(const std::string& path, int database_fd);

// Removes path; absent is OK.
absl::Status RemoveFile(const std::string& path);

}  // namespace litefs
