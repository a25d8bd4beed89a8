// What a call on a tracked file means: the table of docs/CAPTURE.md as pure functions.  No I/O, no
// state but the locks that were granted.  Shim-safe.

#pragma once

#include <cstdint>
#include <string_view>

#include "common/sqlite_format.h"
#include "ipc/protocol.h"
#include "preload/fd_table.h"

namespace litefs::preload {

// The locks of SQLite that this process holds on one database, as fcntl granted them.  One word, so
// that it can be an atomic.
struct alignas(8) Locks {
  bool any_seen = false;      // a lock was ever asked for; false for ever with nolock VFSes
  bool exclusive = false;     // EXCLUSIVE on the database file
  bool shm_write = false;     // WAL_WRITE_LOCK
  uint8_t shm_read = 0;       // WAL_READ_LOCK(0..4), shared, one bit each
  bool frame_begun = false;   // WAL: a commit frame's header is written
  bool journal_open = false;  // a rollback journal is open for writing
  bool reserved = false;      // RESERVED on the database file
  // EXCLUSIVE was taken without RESERVED: to roll back a hot journal, whose writer may have died
  // with ranges that it has told nobody.
  bool rolls_back = false;
};
static_assert(sizeof(Locks) == 8);

enum class Before : uint8_t {
  kNothing,
  kBecomeWriter,  // a session, the right to write; else EAGAIN
  kPrepare,       // one-way
  kCommit,        // the app can be refused
  kRecheck,       // it cannot
  kDrain,
  kMayCommit,  // past the lease the call is refused
};
enum class After : uint8_t { kNothing, kNoteRange, kNoteSize, kBell, kRecheck, kUnlock };

struct Plan {
  Before before = Before::kNothing;
  After after = After::kNothing;
  ipc::DrainReason reason = ipc::DrainReason::kRestart;  // of kDrain
  int refusal = 0;                                       // errno for a drain that cannot be had
  bool waits = false;  // a drain that an app would see fail waits for an absent daemon
};

// A write of length bytes at offset; head holds the first of them, at least min(length, 32).
struct Write {
  uint64_t offset = 0;
  uint64_t length = 0;
  std::string_view head;
};
Plan PlanWrite(FileKind kind, const Locks& locks, const Write& write);
// True for the header of a WAL frame that ends a transaction.
bool IsCommitFrameHeader(const Write& write);
// True for a write to a WAL that may hold a whole frame or several: SQLite writes the log's header,
// frame headers and pages one by one.
bool IsWholeFrame(const Write& write);
// Remembers a frame's header written to a WAL.
void NoteWrite(FileKind kind, Locks* locks, const Write& write);
// True if the write shows that an empty or unreadable file is no database after all.
bool RefutesDatabase(const Write& write, bool empty_file);

Plan PlanTruncate(FileKind kind, const Locks& locks, uint64_t old_size, uint64_t new_size);
Plan PlanSync(FileKind kind, const Locks& locks);
Plan PlanUnlink(FileKind kind);

// A lock request on [start, end).
struct LockRequest {
  enum class Type : uint8_t { kRead, kWrite, kUnlock };
  Type type = Type::kUnlock;
  uint64_t start = 0;
  uint64_t end = 0;

  bool Covers(uint64_t first, uint64_t bytes) const {
    return start <= first && first + bytes <= end;
  }
};
Plan PlanLock(FileKind kind, const Locks& locks, const LockRequest& request);
// The request was granted.
void NoteLock(FileKind kind, Locks* locks, const LockRequest& request);

// True for what readers lock and unlock all the time.  PlanLock then plans nothing, and NoteLock
// changes at most the read mark.  Inline: it is most of what a read transaction costs here.
inline bool IsReadersLock(FileKind kind, const Locks& locks, const LockRequest& request) {
  if (request.type == LockRequest::Type::kWrite) return false;
  if (kind == FileKind::kDatabase) return locks.any_seen && !locks.exclusive && !locks.reserved;
  return kind == FileKind::kShm && request.end == request.start + 1 &&
         request.start - sqlite::kShmReadLock0 < uint64_t{sqlite::kShmReadLockCount};
}

}  // namespace litefs::preload
