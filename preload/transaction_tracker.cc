#include "preload/transaction_tracker.h"

#include <algorithm>
#include <cerrno>

#include "common/endian.h"
#include "common/sqlite_format.h"

namespace litefs::preload {

bool IsCommitFrameHeader(const Write& write) {
  return write.length == sqlite::kWalFrameHeaderBytes && write.head.size() >= 8 &&
         LoadBig32(write.head.data() + 4) != 0;
}

// SQLite writes a WAL's header, frame headers and pages one by one.  Any other length may be a
// whole frame or several.
bool IsWholeFrame(const Write& write) {
  const bool page =
      write.length >= sqlite::kMinPageBytes && (write.length & (write.length - 1)) == 0;
  return !page && write.length > sqlite::kWalHeaderBytes;
}

namespace {

using sqlite::kShmReadLock0;
using sqlite::kShmReadLockCount;
using sqlite::kShmWriteLock;

// A restart that is refused is put off, and a WAL that is not unlinked stays: no app minds.  What
// else needs a drain would fail.
constexpr Plan Drain(ipc::DrainReason reason, int refusal) {
  const bool waits = refusal == EIO && reason != ipc::DrainReason::kUnlink;
  return {.before = Before::kDrain, .reason = reason, .refusal = refusal, .waits = waits};
}

bool CoversExclusive(const LockRequest& request) {
  return request.Covers(sqlite::kSharedFirst, sqlite::kSharedBytes);
}

// Changes of a database without EXCLUSIVE are a WAL's checkpoint.
bool WritesCount(const Locks& locks) { return locks.exclusive || !locks.any_seen; }

// SQLite begins a journal with zeros where the magic belongs as well, before it has written any
// page of the database; the caller tells the two apart by there being something to commit.
bool ZeroesJournal(const Write& write) {
  const size_t n = std::min(write.head.size(), sizeof(sqlite::kJournalMagic));
  return write.offset == 0 && n == sizeof(sqlite::kJournalMagic) &&
         std::string_view(write.head.data(), n).find_first_not_of('\0') == std::string_view::npos;
}

Plan PlanWalWrite(const Locks& locks, const Write& write) {
  if (!locks.shm_write && write.offset == 0) return Drain(ipc::DrainReason::kRestart, EIO);
  const bool page_of_commit = locks.frame_begun && write.length != sqlite::kWalFrameHeaderBytes;
  const bool ends_frame = page_of_commit || IsWholeFrame(write);
  // A commit frame counts when all of it is there: the page is the last chance to refuse it.
  const bool commits = ends_frame || IsCommitFrameHeader(write);
  return {.before = commits ? Before::kMayCommit : Before::kNothing,
          .after = ends_frame && !locks.shm_write ? After::kBell : After::kNothing};
}

}  // namespace

Plan PlanWrite(FileKind kind, const Locks& locks, const Write& write) {
  switch (kind) {
    case FileKind::kDatabase:
      return {.after = WritesCount(locks) ? After::kNoteRange : After::kNothing};
    case FileKind::kJournal:
      return {.before = ZeroesJournal(write) ? Before::kCommit : Before::kNothing};
    case FileKind::kWal:
      return PlanWalWrite(locks, write);
    case FileKind::kShm:
      return {};
  }
  return {};
}

void NoteWrite(FileKind kind, Locks* locks, const Write& write) {
  if (kind == FileKind::kWal) locks->frame_begun = IsCommitFrameHeader(write);
}

bool RefutesDatabase(const Write& write, bool empty_file) {
  if (write.offset != 0) return !empty_file;
  return !write.head.starts_with(sqlite::kMagic);
}

Plan PlanTruncate(FileKind kind, const Locks& locks, uint64_t old_size, uint64_t new_size) {
  switch (kind) {
    case FileKind::kDatabase:
      return {.after = WritesCount(locks) ? After::kNoteSize : After::kNothing};
    case FileKind::kJournal:
      // A longer rest is journal_size_limit, after the commit.
      return {.before =
                  new_size < sqlite::kJournalHeaderBytes ? Before::kCommit : Before::kNothing};
    case FileKind::kWal:
      if (new_size < old_size) return Drain(ipc::DrainReason::kTruncate, EIO);
      return {};
    case FileKind::kShm:
      return {};
  }
  return {};
}

// Without a journal (MEMORY, OFF) the sync is the last that is seen of a commit, if the lock is
// kept.
Plan PlanSync(FileKind kind, const Locks& locks) {
  if (kind != FileKind::kDatabase) return {};
  const bool last = WritesCount(locks) && !locks.journal_open;
  return {.before = Before::kPrepare, .after = last ? After::kRecheck : After::kNothing};
}

Plan PlanUnlink(FileKind kind) {
  switch (kind) {
    case FileKind::kJournal:
      return {.before = Before::kCommit};
    case FileKind::kWal:
    case FileKind::kShm:
      return Drain(ipc::DrainReason::kUnlink, EIO);
    case FileKind::kDatabase:
      return {};
  }
  return {};
}

Plan PlanLock(FileKind kind, const Locks& locks, const LockRequest& request) {
  const bool write = request.type == LockRequest::Type::kWrite;
  if (kind == FileKind::kDatabase) {
    if (write && request.Covers(sqlite::kReservedByte, 1)) return {.before = Before::kBecomeWriter};
    if (write) return {};
    const bool ends = locks.reserved && request.Covers(sqlite::kReservedByte, 1);
    const bool rechecks = locks.exclusive && CoversExclusive(request);
    return {.before = rechecks ? Before::kRecheck : Before::kNothing,
            .after = ends ? After::kUnlock : After::kNothing};
  } else if (kind == FileKind::kShm) {
    // A reader that finds no valid wal-index takes the write lock to recover it.  It holds no read
    // mark then, and a writer always does.
    if (write && request.Covers(kShmWriteLock, 1) && locks.shm_read != 0) {
      return {.before = Before::kBecomeWriter};
    }
    // One read mark alone is a reader or a checkpoint setting it; all four precede a restart.
    if (write && request.Covers(kShmReadLock0 + 1, kShmReadLockCount - 1)) {
      return Drain(ipc::DrainReason::kRestart, EAGAIN);
    }
    if (!write && locks.shm_write && request.Covers(kShmWriteLock, 1)) {
      return {.after = After::kBell};
    }
  }
  return {};
}

void NoteLock(FileKind kind, Locks* locks, const LockRequest& request) {
  const bool write = request.type == LockRequest::Type::kWrite;
  if (kind == FileKind::kDatabase) {
    locks->any_seen = true;
    if (request.Covers(sqlite::kReservedByte, 1)) locks->reserved = write;
    if (CoversExclusive(request)) {
      locks->exclusive = write;
      locks->rolls_back |= write && !locks->reserved;
    }
  } else if (kind == FileKind::kShm) {
    if (request.Covers(kShmWriteLock, 1)) locks->shm_write = write;
    for (int i = 0; i < kShmReadLockCount; ++i) {
      if (!request.Covers(kShmReadLock0 + static_cast<uint64_t>(i), 1)) continue;
      const auto bit = static_cast<uint8_t>(1 << i);
      const bool shared = request.type == LockRequest::Type::kRead;
      locks->shm_read =
          static_cast<uint8_t>(shared ? locks->shm_read | bit : locks->shm_read & ~bit);
    }
  }
}

}  // namespace litefs::preload
