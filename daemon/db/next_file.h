// MakeNextFile: makes the file that the next transaction of a chain will be written to, empty, when
// nobody waits.  To make a file costs more than all else on a transaction's way (0.2 ms on an ext4
// without a journal whose files come and go), to open one that is there next to nothing.
// Any thread; what it leaves is LtxLog::TemporaryPath, which the next opening of the log removes.

#pragma once

#include <fcntl.h>

#include "common/posix_io.h"
#include "daemon/db/ltx_log.h"

namespace litefs::db {

// An error is the next writer's to meet, and to report.
inline void MakeNextFile(const LtxLog& log) {
  OpenFile(log.TemporaryPath(), O_WRONLY | O_CREAT).status().IgnoreError();
}

}  // namespace litefs::db
