// SftpListing: the lines that SFTP servers describe a directory with, which are those of `ls -l`:
//
//   -rw-r-----    1 litefs   litefs       1234 Nov 28 10:46 name
//
// Version 3 of the protocol leaves the form open, and all known servers have this one.  No state;
// any thread.

#pragma once

#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "daemon/archive/directory_walk.h"

namespace litefs::archive {

// The files and directories of text, temporary ones and all, without "." and "..", and without
// what is neither file nor directory.  Times are unknown: the lines say minutes, or no year.
// kDataLoss for a line that is of another form.
absl::StatusOr<std::vector<DirectoryEntry>> ParseSftpListing(std::string_view text);

}  // namespace litefs::archive
