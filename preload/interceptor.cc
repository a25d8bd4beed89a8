#include "preload/interceptor.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstring>

#include "common/raw_syscall.h"
#include "common/sqlite_format.h"
#include "ipc/client.h"
#include "preload/errno_guard.h"
#include "preload/path_matcher.h"
#include "preload/reentry.h"
#include "preload/replica_gate.h"
#include "preload/session_channel.h"
#include "preload/shim_log.h"

namespace litefs::preload {
namespace {

constexpr size_t kMaxPath = 4096;
constexpr size_t kHeadBytes = 32;  // enough of a write to know it by
constexpr int64_t kFirstLockPauseNs = 100'000;
constexpr int64_t kLastLockPauseNs = 10'000'000;
constexpr int64_t kSyncPauseNs = 5'000'000;

// The process that the tables describe.
constinit std::atomic<long> owner_pid{0};

// False in a vfork child, which shares our memory but not our descriptors, and in the child of a
// raw clone: nothing there may change the tables.
bool InOwnProcess() {
  const long owner = owner_pid.load(std::memory_order_relaxed);
  return owner == 0 || owner == RawSyscall(SYS_getpid);
}

bool Stat(int fd, struct stat* info) { return RawSyscall(SYS_fstat, fd, info) == 0; }

uint64_t Position(int fd) {
  const long at = RawSyscall(SYS_lseek, fd, 0, SEEK_CUR);
  return at < 0 ? 0 : static_cast<uint64_t>(at);
}

// The database whose journal, WAL or wal-index this path names, or null.
Database* FindByCompanionPath(int dir, const char* path, FileKind* kind) {
  const size_t size = std::strlen(path);
  const NameMatch match = MatchName(Split({path, size}).name);
  if (!match.matches || match.kind == FileKind::kDatabase) return nullptr;
  *kind = match.kind;
  char main_path[kMaxPath];
  const size_t main_size =
      static_cast<size_t>(match.database.data() - path) + match.database.size();
  if (main_size >= sizeof(main_path)) return nullptr;
  std::memcpy(main_path, path, main_size);
  main_path[main_size] = '\0';
  struct stat info {};
  if (RawSyscall(SYS_newfstatat, dir, main_path, &info, 0) < 0) return nullptr;
  return databases.Find(info.st_dev, info.st_ino);
}

void Forget(int fd) {
  const FdEntry entry = fd_table.Exchange(fd, FdEntry());
  if (entry.file()) databases.Release(entry.database());
}

bool Writes(int command) {
  return command == F_SETLK || command == F_SETLKW || command == F_OFD_SETLK ||
         command == F_OFD_SETLKW;
}

LockRequest RequestOf(const struct flock& lock) {
  LockRequest request;
  request.type = lock.l_type == F_WRLCK   ? LockRequest::Type::kWrite
                 : lock.l_type == F_RDLCK ? LockRequest::Type::kRead
                                          : LockRequest::Type::kUnlock;
  const auto start = static_cast<uint64_t>(lock.l_start);
  const auto length = static_cast<uint64_t>(lock.l_len);
  request.start = lock.l_len < 0 ? start + length : start;
  request.end = lock.l_len == 0 ? ~uint64_t{0} : lock.l_len < 0 ? start : start + length;
  return request;
}

}  // namespace

// ---- Finding out what a descriptor is
// ------------------------------------------------------------

namespace {

// Enters a file that may be a database; its index, or -1.
int EnterDatabase(Content content, const struct stat& info, std::string_view directory,
                  std::string_view name) {
  if (const int known = databases.Acquire(info.st_dev, info.st_ino); known >= 0) return known;
  if (content == Content::kOther || !IsManaged(directory)) return -1;
  bool entered = false;
  const int index = databases.AcquireOrEnter(info.st_dev, info.st_ino, directory, name, &entered);
  if (index < 0) {
    ShimLog("cannot watch", name);
  } else if (entered && content != Content::kDatabase) {
    databases[static_cast<uint32_t>(index)].was_empty.store(content == Content::kEmpty);
    databases[static_cast<uint32_t>(index)].provisional.store(true);
  }
  return index;
}

int EnterCompanion(std::string_view path, size_t suffix_bytes, char* text) {
  if (databases.unused()) return -1;
  text[path.size() - suffix_bytes] = '\0';  // the database's path
  struct stat info {};
  if (RawSyscall(SYS_newfstatat, AT_FDCWD, text, &info, 0) < 0) return -1;
  return databases.Acquire(info.st_dev, info.st_ino);
}

}  // namespace

bool Interceptor::Refuses(int dir, const char* path, int flags) {
  {
    ErrnoGuard keep_errno;
    Reentry reentry;
    if (reentry.nested() || !ReplicaRefusesOpen(dir, path, flags)) return false;
  }
  errno = EROFS;
  return true;
}

void Interceptor::Track(int fd, int flags) {
  ErrnoGuard keep_errno;
  Reentry reentry;
  if (reentry.nested() || static_cast<uint32_t>(fd) >= FdTable::kCapacity) return;
  if (Watched(fd)) {  // closed by a way we do not see, like fclose
    if (!InOwnProcess()) return;
    Forget(fd);
  }
  struct stat info {};
  if ((flags & O_ACCMODE) == O_RDONLY || !Stat(fd, &info) || !S_ISREG(info.st_mode) ||
      info.st_nlink == 0) {
    return;
  }
  // Most files end here, before the dearer question of where the file lies.
  const Content content = ReadContent(fd, static_cast<uint64_t>(info.st_size));
  if (content == Content::kOther && databases.unused()) return;
  char text[kMaxPath];
  const std::string_view path = DescriptorPath(fd, text);
  const SplitPath split = Split(path);
  const NameMatch match = MatchName(split.name);
  if (!match.matches || split.directory.empty()) return;
  const int index = match.kind == FileKind::kDatabase
                        ? EnterDatabase(content, info, split.directory, split.name)
                        : EnterCompanion(path, split.name.size() - match.database.size(), text);
  if (index < 0) return;
  if (!InOwnProcess()) {
    databases.Release(static_cast<uint32_t>(index));
    return;
  }
  fd_table.Exchange(fd, FdEntry(match.kind, static_cast<uint32_t>(index)));
  if (match.kind == FileKind::kJournal) {
    databases[static_cast<uint32_t>(index)].ChangeLocks(
        [](Locks* locks) { locks->journal_open = true; });
  }
}

// ---- Before and after the real call
// --------------------------------------------------------------

void Interceptor::RunBefore(Call* call) {
  Database& db = *call->db_;
  const Plan& plan = call->plan_;
  const bool noted = db.noted.load(std::memory_order_acquire);
  if (plan.before == Before::kNothing || db.foreign.load()) return;
  const bool always = plan.before == Before::kBecomeWriter || plan.before == Before::kDrain ||
                      plan.before == Before::kMayCommit;
  if (!noted && !always) return;
  FutexLockHolder hold(db.lock);
  SessionChannel channel(db);
  int rc = 0;
  if (db.CurrentLocks().rolls_back &&
      (plan.before == Before::kRecheck || plan.before == Before::kCommit)) {
    db.ChangeLocks([](Locks* locks) { locks->rolls_back = false; });
    // With RESERVED this is a transaction of its own: the hot journal had gone before it was
    // opened.
    if (!db.CurrentLocks().reserved && channel.ForgetOnReplica()) return;
    if (!db.forwards.load()) channel.NoteUnknown();
  }
  switch (plan.before) {
    case Before::kBecomeWriter:
      rc = channel.BecomeWriter();
      if (rc == 0 && call->kind_ == FileKind::kDatabase) channel.AskForRing();
      break;
    case Before::kPrepare:
      if (db.forwards.load() && plan.after == After::kRecheck) {
        // Without a journal this is where SQLite can still be refused.
        rc = channel.Commit(ipc::kFlagSynced, true);
        call->committing_ = rc == 0;
      } else if (channel.HasAllPages()) {
        channel.NoteSync();
      } else {
        channel.Prepare(true);
      }
      break;
    case Before::kMayCommit:
      rc = channel.MayCommit();
      break;
    case Before::kCommit:
      rc = channel.MayHandOver() ? 0 : channel.Commit(0, true);
      call->committing_ = rc == 0;
      break;
    case Before::kRecheck:
      call->committing_ = channel.Commit(ipc::kFlagRecheck, true) == 0;
      break;
    case Before::kDrain:
      if (channel.Drain(plan.reason, plan.waits) < 0) rc = -plan.refusal;
      break;
    case Before::kNothing:
      break;
  }
  call->refusal_ = -rc;
}

Call Interceptor::Begin(int fd, FdEntry entry, const Plan& plan) {
  Call call;
  call.fd_ = fd;
  call.db_ = &databases[entry.database()];
  call.kind_ = entry.kind();
  call.plan_ = plan;
  RunBefore(&call);
  const bool changes = plan.after == After::kNoteRange || plan.after == After::kNoteSize;
  if (changes && !call.db_->noted.load(std::memory_order_acquire) && !call.db_->foreign.load()) {
    FutexLockHolder hold(call.db_->lock);
    SessionChannel(*call.db_).BeginNoting(fd);
  }
  return call;
}

bool Call::LockIsDaemons(int result) {
  if (result == 0 || lock_ == nullptr || (errno != EAGAIN && errno != EACCES)) return false;
  ErrnoGuard keep_errno;
  Reentry reentry;
  if (reentry.nested()) return false;
  {
    FutexLockHolder hold(db_->lock);
    SessionChannel channel(*db_);
    if (!channel.DaemonHolds(fd_, *lock_)) return false;
    if (give_up_ns_ == 0) give_up_ns_ = channel.LockDeadline();
  }
  const int64_t left = give_up_ns_ - ipc::MonotonicNow();
  if (left <= 0) return false;
  pause_ns_ = std::clamp(2 * pause_ns_, kFirstLockPauseNs, kLastLockPauseNs);
  ipc::Pause(std::min(pause_ns_, left));
  return true;
}

void Call::Finished(int64_t result, int error) {
  if (db_ == nullptr && closed_.empty() && duplicated_.empty()) return;
  ErrnoGuard keep_errno;
  Reentry reentry;
  if (reentry.nested()) return;
  if (duplicated_.file() && result >= 0 && result < FdTable::kCapacity) {
    databases.AddReference(duplicated_.database());
    const FdEntry stale = fd_table.Exchange(static_cast<int>(result), duplicated_);
    if (stale.file()) databases.Release(stale.database());
  }
  if (closed_.file() && fd_ >= 0 && result < 0) {
    fd_table.Exchange(fd_, closed_);  // dup2 failed: the descriptor lives
  } else if (closed_.file()) {
    databases.Release(closed_.database());
  }
  if (db_ == nullptr) return;
  if (locking_ && result >= 0) {
    db_->ChangeLocks([this](Locks* locks) { NoteLock(kind_, locks, request_); });
  }
  if (locking_ && result < 0 && plan_.before == Before::kBecomeWriter && !db_->foreign.load()) {
    FutexLockHolder hold(db_->lock);
    SessionChannel(*db_).LockRefused();
    return;
  }
  const bool effect = result > 0 || (result == 0 && plan_.after != After::kNoteRange);
  if (!committing_ && (plan_.after == After::kNothing || !effect)) return;
  if (db_->foreign.load()) return;
  const bool forwards = db_->forwards.load(std::memory_order_relaxed);
  if (plan_.after == After::kUnlock && !forwards && !committing_) return;
  bool waits;
  {
    FutexLockHolder hold(db_->lock);
    SessionChannel channel(*db_);
    // What was forwarded waits for no further replica (docs/FORWARDING.md).
    waits = Tell(channel, effect ? result : -1, error) && channel.synchronous() && !forwards;
  }
  if (waits) AwaitReplicas();
}

// Whether the call has ended a transaction.  result: -1 if the call had no effect.
bool Call::Tell(SessionChannel& channel, int64_t result, int error) {
  const bool forwards = db_->forwards.load(std::memory_order_relaxed);
  bool commits = committing_ && error == 0;
  if (committing_) channel.Done(error);
  if (result < 0) return commits;
  if (plan_.after == After::kNoteRange) {
    const auto length = static_cast<uint64_t>(result);
    channel.Note({positional_ ? range_.offset : Position(fd_) - length, length},
                 length == range_.length ? data_ : nullptr);
  } else if (plan_.after == After::kNoteSize) {
    struct stat info {};
    if (Stat(fd_, &info)) channel.NoteSize(static_cast<uint64_t>(info.st_size));
  } else if ((plan_.after == After::kBell && locking_ && forwards) ||
             (plan_.after == After::kUnlock && forwards)) {
    channel.Unlock();
  } else if (plan_.after == After::kBell) {
    commits = true;
    if (!channel.synchronous()) channel.Bell();
  } else if (plan_.after == After::kRecheck && db_->noted.load()) {
    commits = channel.Commit(ipc::kFlagRecheck, true) == 0;
    if (commits) channel.Done(0);
  }
  return commits;
}

// The lock is free between the questions: other threads have their turns, and fork.
void Call::AwaitReplicas() {
  const bool exclusive = plan_.before == Before::kCommit;
  const int64_t started = ipc::MonotonicNow();
  for (;;) {
    int rc;
    {
      FutexLockHolder hold(db_->lock);
      rc = SessionChannel(*db_).Sync(started, exclusive);
    }
    if (exclusive && rc != -EAGAIN) late_error_ = -rc;
    if (rc != -EAGAIN) return;
    ipc::Pause(kSyncPauseNs);
  }
}

// ---- Writes
// --------------------------------------------------------------------------------------

Call Interceptor::BeginPlannedWrite(int fd, FdEntry entry, Write write, bool positional) {
  Database& db = databases[entry.database()];
  if (entry.kind() == FileKind::kDatabase && db.provisional.load()) {
    if (RefutesDatabase(write, db.was_empty.load())) {
      if (InOwnProcess()) Forget(fd);
      return {};
    }
    if (write.offset == 0) db.provisional.store(false);
  }
  const Locks locks = db.CurrentLocks();
  Call call;
  call.fd_ = fd;
  call.db_ = &db;
  call.kind_ = entry.kind();
  if (!ForwardFrame(&call, entry, write)) {
    call = Begin(fd, entry, PlanWrite(entry.kind(), locks, write));
  }
  call.range_ = {.offset = write.offset, .length = write.length};
  call.positional_ = positional;
  if (entry.kind() == FileKind::kWal && (locks.frame_begun || IsCommitFrameHeader(write))) {
    db.ChangeLocks([&write](Locks* now) { NoteWrite(FileKind::kWal, now, write); });
  }
  return call;
}

Call Interceptor::BeginWrite(int fd, const void* data, size_t n, int64_t at) {
  ErrnoGuard keep_errno;
  Reentry reentry;
  const FdEntry entry = fd_table.Get(fd);
  if (reentry.nested() || !entry.file()) return {};
  const Write write{.offset = at < 0 ? Position(fd) : static_cast<uint64_t>(at),
                    .length = n,
                    .head = {static_cast<const char*>(data), std::min(n, kHeadBytes)}};
  Call call = BeginPlannedWrite(fd, entry, write, at >= 0);
  call.data_ = data;
  return call;
}

Call Interceptor::BeginWriteV(int fd, const iovec* parts, int n, int64_t at) {
  ErrnoGuard keep_errno;
  Reentry reentry;
  const FdEntry entry = fd_table.Get(fd);
  if (reentry.nested() || !entry.file()) return {};
  char head[kHeadBytes] = {};
  size_t gathered = 0;
  uint64_t length = 0;
  for (int i = 0; i < n; ++i) {
    const size_t piece = std::min(parts[i].iov_len, kHeadBytes - gathered);
    if (piece > 0) std::memcpy(head + gathered, parts[i].iov_base, piece);
    gathered += piece;
    length += parts[i].iov_len;
  }
  const Write write{.offset = at < 0 ? Position(fd) : static_cast<uint64_t>(at),
                    .length = length,
                    .head = {head, gathered}};
  return BeginPlannedWrite(fd, entry, write, at >= 0);
}

Call Interceptor::BeginTruncate(int fd, int64_t size) {
  ErrnoGuard keep_errno;
  Reentry reentry;
  const FdEntry entry = fd_table.Get(fd);
  struct stat info {};
  if (reentry.nested() || !entry.file() || size < 0 || !Stat(fd, &info)) return {};
  return Begin(fd, entry,
               PlanTruncate(entry.kind(), databases[entry.database()].CurrentLocks(),
                            static_cast<uint64_t>(info.st_size), static_cast<uint64_t>(size)));
}

Call Interceptor::BeginAllocate(int fd) {
  ErrnoGuard keep_errno;
  Reentry reentry;
  const FdEntry entry = fd_table.Get(fd);
  if (reentry.nested() || !entry.file() || entry.kind() != FileKind::kDatabase) return {};
  return Begin(fd, entry,
               PlanTruncate(entry.kind(), databases[entry.database()].CurrentLocks(), 0, 0));
}

Call Interceptor::BeginSync(int fd) {
  ErrnoGuard keep_errno;
  Reentry reentry;
  const FdEntry entry = fd_table.Get(fd);
  if (reentry.nested() || !entry.file()) return {};
  if (entry.kind() == FileKind::kWal) databases[entry.database()].log_sync_seen.store(true);
  return Begin(fd, entry, PlanSync(entry.kind(), databases[entry.database()].CurrentLocks()));
}

Call Interceptor::BeginUnlink(int dir, const char* path) {
  if (databases.unused() || path == nullptr) return {};
  ErrnoGuard keep_errno;
  Reentry reentry;
  FileKind kind = FileKind::kDatabase;
  Call call;
  if (reentry.nested()) return call;
  Database* db = FindByCompanionPath(dir, path, &kind);
  if (db == nullptr || !InOwnProcess()) return call;
  call.db_ = db;
  call.kind_ = kind;
  call.plan_ = PlanUnlink(kind);
  RunBefore(&call);
  return call;
}

// ---- Locks and descriptors
// -----------------------------------------------------------------------

Call Interceptor::BeginLock(int fd, FdEntry entry, int command, const struct flock& lock) {
  Database& db = databases[entry.database()];
  const LockRequest request = RequestOf(lock);
  if (entry.kind() == FileKind::kDatabase) {
    db.ChangeLocks([](Locks* locks) { locks->any_seen = true; });
  }
  Call call = Begin(fd, entry, PlanLock(entry.kind(), db.CurrentLocks(), request));
  call.locking_ = true;
  call.request_ = request;
  const bool once = request.type == LockRequest::Type::kUnlock || command != F_SETLK;
  if (entry.kind() == FileKind::kDatabase && !once) call.lock_ = &lock;
  return call;
}

Call Interceptor::BeginControl(int fd, int command, void* argument) {
  const FdEntry entry = fd_table.Get(fd);
  if (command == F_DUPFD || command == F_DUPFD_CLOEXEC) return BeginDuplicate(fd);
  if (!entry.file() || !Writes(command) || argument == nullptr) return {};
  ErrnoGuard keep_errno;
  Reentry reentry;
  const auto* lock = static_cast<const struct flock*>(argument);
  if (reentry.nested() || lock->l_whence != SEEK_SET) return {};
  return BeginLock(fd, entry, command, *lock);
}

namespace {

bool IsReadersLock(FdEntry entry, int command, const void* argument) {
  if (command != F_SETLK || !entry.file() || argument == nullptr) return false;
  const auto& lock = *static_cast<const struct flock*>(argument);
  return lock.l_whence == SEEK_SET &&
         IsReadersLock(entry.kind(), databases[entry.database()].CurrentLocks(), RequestOf(lock));
}

void NoteReadersLock(FdEntry entry, const void* argument) {
  const LockRequest request = RequestOf(*static_cast<const struct flock*>(argument));
  databases[entry.database()].ChangeLocks(
      [&request](Locks* locks) { NoteLock(FileKind::kShm, locks, request); });
}

}  // namespace

int Interceptor::Control(RealControl control, int fd, int command, void* argument) {
  const FdEntry entry = fd_table.Get(fd);
  if (!IsReadersLock(entry, command, argument)) {
    return ControlInFull(control, fd, command, argument, nullptr);
  }
  int result = control(fd, command, argument);
  if (result < 0) return ControlInFull(control, fd, command, argument, &result);
  if (entry.kind() == FileKind::kShm) NoteReadersLock(entry, argument);
  return result;
}

// Out of line, so that its frame is not the short way's.  *done: what the real call has returned.
[[gnu::noinline]] int Interceptor::ControlInFull(RealControl control, int fd, int command,
                                                 void* argument, const int* done) {
  Call call = BeginControl(fd, command, argument);
  if (call.refused()) return call.Refuse();
  int result = done != nullptr ? *done : control(fd, command, argument);
  while (call.LockIsDaemons(result)) result = control(fd, command, argument);
  return call.Finish(result);
}

// Takes a descriptor that is about to be closed out of the table.
void Interceptor::TakeOut(Call* call, int fd) {
  const FdEntry entry = fd_table.Get(fd);
  if (entry.own()) {
    bool ours = false;
    for (uint32_t i = 0; i < databases.end() && !ours; ++i)
      ours = SessionChannel(databases[i]).Owns(fd);
    if (!ours) fd_table.Exchange(fd, FdEntry());
    call->refusal_ = ours ? EBADF : 0;
    return;
  }
  Database& db = databases[entry.database()];
  if (db.refs.load() == 1 && db.noted.load()) {
    FutexLockHolder hold(db.lock);
    SessionChannel channel(db);
    if (channel.Commit(ipc::kFlagRecheck, false) == 0) channel.Done(0);
  }
  call->closed_ = fd_table.Exchange(fd, FdEntry());
  // POSIX drops the process's locks on a file when any descriptor of it is closed.
  if (entry.kind() == FileKind::kShm) {
    db.ChangeLocks([](Locks* locks) {
      locks->shm_write = false;
      locks->shm_read = 0;
    });
  } else if (entry.kind() == FileKind::kDatabase) {
    db.ChangeLocks([](Locks* locks) { locks->exclusive = locks->reserved = false; });
  } else if (entry.kind() == FileKind::kJournal) {
    db.ChangeLocks([](Locks* locks) { locks->journal_open = false; });
  }
}

Call Interceptor::BeginClose(int fd) {
  ErrnoGuard keep_errno;
  Reentry reentry;
  Call call;
  if (!reentry.nested() && InOwnProcess()) TakeOut(&call, fd);
  return call;
}

Call Interceptor::BeginDuplicate(int from) {
  Call call;
  if (InOwnProcess()) call.duplicated_ = fd_table.Get(from);
  return call;
}

Call Interceptor::BeginReplace(int from, int to) {
  ErrnoGuard keep_errno;
  Reentry reentry;
  Call call;
  if (from == to || reentry.nested() || !InOwnProcess()) return call;
  if (Watched(to)) TakeOut(&call, to);
  call.refusal_ = 0;  // the app may have the number of a descriptor of ours
  call.fd_ = to;
  call.duplicated_ = fd_table.Get(from);
  return call;
}

void Interceptor::Closed(unsigned first, unsigned last) {
  ErrnoGuard keep_errno;
  Reentry reentry;
  const auto end = static_cast<unsigned>(fd_table.end());
  if (reentry.nested() || first >= end || !InOwnProcess()) return;
  for (unsigned fd = first; fd < end && fd <= last; ++fd) {
    if (fd_table.Get(static_cast<int>(fd)).file()) Forget(static_cast<int>(fd));
  }
}

// ---- The process
// ---------------------------------------------------------------------------------

namespace {
// False if a signal handler forks in the middle of a hook's own work, which may hold the lock.
constinit thread_local bool locked_for_fork = false;
}  // namespace

void Interceptor::BeforeFork() {
  Reentry reentry;
  locked_for_fork = !reentry.nested();
  if (locked_for_fork) databases.BeforeFork();
}
void Interceptor::AfterForkInParent() {
  if (locked_for_fork) databases.AfterForkInParent();
}
void Interceptor::AfterForkInChild() {
  ErrnoGuard keep_errno;
  owner_pid.store(RawSyscall(SYS_getpid), std::memory_order_relaxed);
  databases.AfterForkInChild();
}
void Interceptor::Load() {
  owner_pid.store(RawSyscall(SYS_getpid), std::memory_order_relaxed);
  OpenShimLog();
}

}  // namespace litefs::preload
