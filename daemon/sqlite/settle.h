// Hot journals: finding one, and letting SQLite itself roll it back in a process of its own, so
// that SQLite's POSIX locks never meet the daemon's descriptors of the same file (closing any of
// them would drop SQLite's locks).

#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace litefs::sqlite {

// argv[1] of the child process; main() passes argv[2] to SettleMain.
inline constexpr char kSettleCommand[] = "internal-settle";

// Whether database_path has a journal that is neither empty nor zeroed: a transaction is under way,
// or died.
absl::StatusOr<bool> JournalHasContent(const std::string& database_path);

// Whether the database has a journal that its next reader would roll back: the journal exists and
// begins with a byte other than zero, the database is not empty, and nobody holds RESERVED.
absl::StatusOr<bool> HasHotJournal(const std::string& database_path);

// Whether a process has the database's journal open, as SQLite has it during a transaction.  By a
// write lease, which is given only on a file that nobody else has open; where no lease is to be had
// (another user's file, some file systems), false.
absl::StatusOr<bool> JournalIsOpen(const std::string& database_path);

// Milliseconds from the journal's last change to wall_ms (since 1970); negative: the clock went
// back, or there is none.
int64_t JournalAgeMs(const std::string& database_path, int64_t wall_ms);

// Opens the database with SQLite in a child process (/proc/self/exe internal-settle PATH [VFS],
// without LD_PRELOAD), reads from it and closes it: rolls back a hot journal, recovers and, if
// nobody else has the database open, checkpoints a WAL.  Blocks until the child ends, seconds at
// most when the database is busy.
//
// kUnavailable: the database is busy; kDataLoss: SQLite calls it corrupt or not a database;
// kInternal: anything else.  REQUIRES: the caller holds no lock on the database; with kHeld,
// EXCLUSIVE without RESERVED.
enum class Locks { kTake, kHeld };  // kHeld: the caller holds EXCLUSIVE, the child takes none
absl::Status Settle(const std::string& database_path, Locks locks = Locks::kTake);

// What the child runs, with the name of SQLite's VFS or null.  Returns its exit code.
int SettleMain(const char* path, const char* vfs);

}  // namespace litefs::sqlite
