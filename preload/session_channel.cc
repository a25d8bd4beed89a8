#include "preload/session_channel.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "common/endian.h"
#include "common/raw_syscall.h"
#include "common/sqlite_format.h"
#include "ipc/client.h"
#include "ipc/codec.h"
#include "ipc/wanted.h"
#include "preload/shim_log.h"

namespace litefs::preload {
namespace {

constexpr int64_t kNanosPerMilli = 1'000'000;
constexpr int64_t kFirstRetryNs = 1 * kNanosPerMilli;
constexpr int64_t kYieldNs = 30 * kNanosPerMilli;
constexpr int64_t kLastRetryNs = 50 * kNanosPerMilli;
// Our sockets lie this far below the limit, out of the way of apps that count on low numbers.
constexpr uint64_t kDescriptorsFromTop = 800;
// A message with a full list of ranges, and what else it holds.
constexpr size_t kMessageBytes = (RangeList::kCapacity + 1) * sizeof(ipc::DirtyRange) + 512;

bool Identify(int fd, uint64_t* device, uint64_t* inode) {
  struct stat info {};
  if (RawSyscall(SYS_fstat, fd, &info) < 0 || !S_ISSOCK(info.st_mode)) return false;
  *device = info.st_dev;
  *inode = info.st_ino;
  return true;
}

// The same descriptor with a high number, if there is room.
int MoveHigh(int fd) {
  rlimit limit{};
  RawSyscall(SYS_prlimit64, 0, RLIMIT_NOFILE, nullptr, &limit);
  const uint64_t top = std::min<uint64_t>(limit.rlim_cur, FdTable::kCapacity);
  const uint64_t base = top > 2 * kDescriptorsFromTop ? top - kDescriptorsFromTop : top / 2;
  long high = RawSyscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, base);
  if (high < 0 && fd > 0) return fd;
  if (high < 0) high = RawSyscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 1);
  RawSyscall(SYS_close, fd);
  return static_cast<int>(high < 0 ? 0 : high);
}

void Unmap(Session& session) {
  if (session.status == nullptr) return;
  RawSyscall(SYS_munmap, session.status, ipc::kStatusPageBytes);
  RawSyscall(SYS_munmap, session.bells, ipc::kStatusFileBytes - ipc::kStatusPageBytes);
  session.status = nullptr;
  session.bells = nullptr;
}

bool MapFailed(long rc) { return rc < 0 && rc > -4096; }

}  // namespace

// ---- The connection
// ------------------------------------------------------------------------------

bool SessionChannel::Owns(int fd) const {
  uint64_t device;
  uint64_t inode;
  return fd > 0 && fd == session_.fd && Identify(fd, &device, &inode) &&
         device == session_.socket_device && inode == session_.socket_inode;
}

// The same daemon serves as when the session was last looked at, and has ended none since.
bool SessionChannel::LivesAsSeen() const {
  const ipc::StatusPage* const page = session_.status;
  return session_.fd > 0 && session_.seen_generation != 0 && page != nullptr &&
         ipc::IsServing(*page) && page->generation.load() == session_.seen_generation &&
         page->ended_sessions.load() == session_.seen_ended;
}

// Its numbers are read first: a socket that is good afterwards is of the daemon that they are of.
bool SessionChannel::Living() {
  const ipc::StatusPage* const page = session_.status;
  const uint64_t generation = page == nullptr ? 0 : page->generation.load();
  const uint32_t ended = page == nullptr ? 0 : page->ended_sessions.load();
  if (!Owns(session_.fd) || !ipc::IsIdle(session_.fd)) return false;
  session_.seen_generation = generation;
  session_.seen_ended = ended;
  return true;
}

void SessionChannel::Adopt(int fd) {
  session_.fd = MoveHigh(fd);
  session_.seen_generation = 0;
  session_.ring_refused = session_.told = false;
  if (session_.fd == 0) return;
  Identify(session_.fd, &session_.socket_device, &session_.socket_inode);
  if (static_cast<uint32_t>(session_.fd) < FdTable::kCapacity) {
    fd_table.Exchange(session_.fd, FdEntry::Own());
  }
}

// Everything that the dead session was told must be told to the next one.
void SessionChannel::Drop() {
  if (session_.fd > 0) ShimLog("session lost", db_.NameText());
  CloseSocket();
  ReturnToPending();
}

void SessionChannel::CloseSocket() {
  CloseRing();
  const int fd = session_.fd;
  if (Owns(fd)) {
    if (static_cast<uint32_t>(fd) < FdTable::kCapacity) fd_table.Exchange(fd, FdEntry());
    RawSyscall(SYS_close, fd);
  }
  session_.fd = 0;
}

void SessionChannel::End() {
  CloseSocket();
  Unmap(session_);
}

int SessionChannel::MapStatus(int status_fd) {
  const long page =
      RawSyscall(SYS_mmap, nullptr, ipc::kStatusPageBytes, PROT_READ, MAP_SHARED, status_fd, 0);
  if (MapFailed(page)) return static_cast<int>(page);
  constexpr size_t kBellBytes = ipc::kStatusFileBytes - ipc::kStatusPageBytes;
  const long rest = RawSyscall(SYS_mmap, nullptr, kBellBytes, PROT_READ | PROT_WRITE, MAP_SHARED,
                               status_fd, ipc::kStatusPageBytes);
  // NOLINTNEXTLINE(performance-no-int-to-ptr): what mmap returned
  const auto* status = reinterpret_cast<const ipc::StatusPage*>(page);
  int error = MapFailed(rest) ? static_cast<int>(rest) : 0;
  struct stat info {};
  if (error == 0 &&
      (RawSyscall(SYS_fstat, status_fd, &info) < 0 ||
       static_cast<size_t>(info.st_size) < ipc::kStatusFileBytes ||
       status->magic != ipc::kStatusMagic || status->version != ipc::kProtocolVersion)) {
    RawSyscall(SYS_munmap, rest, kBellBytes);
    error = -EPROTO;
  }
  if (error != 0) {
    RawSyscall(SYS_munmap, page, ipc::kStatusPageBytes);
    return error;
  }
  Unmap(session_);
  session_.status = status;
  session_.bells = reinterpret_cast<ipc::BellPage*>(rest);  // NOLINT(performance-no-int-to-ptr)
  return 0;
}

int SessionChannel::MapStatusFile() {
  const int fd = ipc::OpenStatus(db_.DirectoryText());
  if (fd < 0) return fd;
  const int rc = MapStatus(fd);
  RawSyscall(SYS_close, fd);
  return rc;
}

int SessionChannel::Greet(int fd, int64_t deadline) {
  char program[16] = {};
  RawSyscall(SYS_prctl, PR_GET_NAME, program, 0, 0, 0);
  char buffer[1024];
  const ipc::Hello hello{.pid = static_cast<uint32_t>(RawSyscall(SYS_getpid)),
                         .name = db_.NameText(),
                         .device = db_.device,
                         .inode = db_.inode,
                         .program = program,
                         .flags = db_.CurrentLocks().any_seen ? 0 : ipc::kHelloLockless};
  const size_t size = ipc::Encode(hello, buffer);
  if (const int rc = ipc::SendMessage(fd, {buffer, size}, deadline); rc < 0) return rc;
  int status_fd = -1;
  const int received = ipc::ReceiveMessage(fd, buffer, deadline, &status_fd);
  if (received < 0) return received;
  ipc::Welcome welcome;
  int error = -EPROTO;
  if (ipc::Decode({buffer, static_cast<size_t>(received)}, &welcome)) {
    if (welcome.error != 0) {
      ShimLog("refused by the daemon", welcome.text);
      if (welcome.error == ipc::kErrorForeign) {
        db_.foreign.store(true);
        ForgetRanges();
      }
      session_.refusal = welcome.error;
      error = -static_cast<int>(welcome.error);
    } else if (welcome.version == ipc::kProtocolVersion && status_fd < 0) {
      session_.refusal = EMFILE;  // there was no descriptor left for the one that came along
      error = -EMFILE;
    } else if (welcome.version == ipc::kProtocolVersion) {
      error = MapStatus(status_fd);
      session_.bell_slot = welcome.bell_slot % ipc::kBellCount;
      session_.flags = welcome.flags;
    }
  }
  if (error == -EPROTO && session_.refusal == 0) {
    ShimLog("the daemon speaks another protocol version, use both from one release",
            db_.NameText());
  }
  if (status_fd >= 0) RawSyscall(SYS_close, status_fd);
  return error;
}

// One attempt; the daemon's answer to the greeting may take until the deadline.
int SessionChannel::ConnectBy(int64_t deadline) {
  if (Living()) return 0;
  Drop();
  session_.refusal = 0;
  const int fd = ipc::ConnectTo(db_.DirectoryText());
  if (fd == -EACCES || fd == -EPERM) ShimLog("may not connect to the daemon of", db_.NameText());
  if (fd == -EMFILE || fd == -ENFILE) session_.refusal = static_cast<uint32_t>(-fd);
  if (fd < 0) return fd;
  if (const int rc = Greet(fd, deadline); rc < 0) {
    RawSyscall(SYS_close, fd);
    return rc;
  }
  Adopt(fd);
  session_.next_probe_ns = 0;
  ShimLog("session", db_.NameText());
  return 0;
}

// The daemon is there and cannot take the database, or this process has no descriptor left: waiting
// will not help, SQLite must say so.
bool SessionChannel::RefusedForGood() const {
  return session_.refusal == EIO || session_.refusal == ENOSPC || session_.refusal == EMFILE ||
         session_.refusal == ENFILE;
}

// One attempt; while the app goes on without a daemon, a short one now and then.
int SessionChannel::TryConnect(int64_t deadline) {
  if (session_.next_probe_ns == 0) return ConnectBy(deadline);
  const int64_t now = ipc::MonotonicNow();
  return now < session_.next_probe_ns ? -ECONNREFUSED : ConnectBy(now + kProbeTimeoutNs);
}

// By the last daemon's configuration.  A replica and a node without the lease never do.
bool SessionChannel::MayContinue() {
  const int64_t now = ipc::MonotonicNow();
  const int64_t probe = std::exchange(session_.next_probe_ns, 0);
  if (MapStatusFile() < 0 || CheckLease() < 0 ||
      session_.status->role.load() != static_cast<uint32_t>(ipc::Role::kPrimary) ||
      session_.status->when_away.load() != static_cast<uint32_t>(ipc::WhenAway::kContinue)) {
    return false;
  }
  if (probe == 0) ShimLog("goes on without the daemon", db_.NameText());
  session_.next_probe_ns = probe > now ? probe : now + kProbeEveryNs;
  return true;
}

// Attempts until the time-out for an absent daemon.
int SessionChannel::Connect() {
  if (LivesAsSeen()) return 0;
  if (session_.next_probe_ns != 0) return TryConnect(0);
  const int64_t started = ipc::MonotonicNow();
  for (int64_t pause = kFirstRetryNs;; pause = std::min(pause * 2, kLastRetryNs)) {
    const int rc = ConnectBy(started + Timeout(kAbsentTimeoutNs));
    if (rc == 0 || db_.foreign.load() || RefusedForGood()) return rc;
    if (session_.status == nullptr) MapStatusFile();  // the last daemon's time-out
    const int64_t left = started + Timeout(kAbsentTimeoutNs) - ipc::MonotonicNow();
    if (left <= 0) return rc;
    ipc::Pause(std::min(pause, left));
  }
}

int64_t SessionChannel::Timeout(int64_t otherwise) const {
  const uint32_t ms = session_.status == nullptr
                          ? 0
                          : session_.status->write_timeout_ms.load(std::memory_order_relaxed);
  return ms == 0 ? otherwise : ms * kNanosPerMilli;
}

int64_t SessionChannel::ReplyDeadline() const {
  return ipc::MonotonicNow() + Timeout(kReplyTimeoutNs);
}

int SessionChannel::CheckLease() const {
  if (db_.forwards.load(std::memory_order_relaxed)) return 0;  // the primary has one, or refuses
  const uint64_t deadline = session_.status->lease_deadline_ns.load(std::memory_order_acquire);
  return deadline != ipc::kNoDeadline && ipc::BootTimeNow() >= deadline ? -EAGAIN : 0;
}

// ---- Messages
// ------------------------------------------------------------------------------------

template <typename Message>
int SessionChannel::Send(const Message& message, int64_t deadline) {
  char buffer[kMessageBytes];
  const size_t size = ipc::Encode(message, buffer);
  if (size == 0) return -EMSGSIZE;
  if (!Owns(session_.fd)) return -ENOTCONN;
  return ipc::SendMessage(session_.fd, {buffer, size}, deadline);
}

// Waits for the answer to a request: its errno as a positive number, or -errno if there is none.
int SessionChannel::Await(uint64_t id, int64_t deadline, int* passed_fd) {
  char buffer[256];
  const int received = ipc::ReceiveMessage(session_.fd, buffer, deadline, passed_fd);
  if (received < 0) return received;
  ipc::Reply reply;
  if (!ipc::Decode({buffer, static_cast<size_t>(received)}, &reply) || reply.id != id ||
      reply.error > 4095) {
    return -EPROTO;
  }
  return static_cast<int>(reply.error);
}

int SessionChannel::BecomeWriter() {
  if (Connect() < 0) {
    if (db_.foreign.load()) return 0;
    if (RefusedForGood()) return -EIO;
    return MayContinue() ? 0 : -EAGAIN;
  }
  db_.forwards.store(false);
  if (!IsReplica()) {
    YieldToDaemon();
    return CheckLease();
  }
  if (session_.status->on_replica_write.load() !=
      static_cast<uint32_t>(ipc::OnReplicaWrite::kForward)) {
    return -EAGAIN;
  }
  return LockByDaemon();
}

// The daemon wants the write lock for a replica: it gets a gap, but a bounded one.
void SessionChannel::YieldToDaemon() {
  std::atomic<uint32_t>& wanted = session_.bells->wanted[session_.bell_slot];
  if ((wanted.load(std::memory_order_relaxed) & ipc::kWantedByDaemon) == 0) return;
  const int64_t end = ipc::MonotonicNow() + kYieldNs;
  while ((wanted.load(std::memory_order_relaxed) & ipc::kWantedByDaemon) != 0) {
    const int64_t left = end - ipc::MonotonicNow();
    if (left <= 0) {
      wanted.fetch_and(~ipc::kWantedByDaemon);
      return;
    }
    ipc::Pause(std::min<int64_t>(left, kFirstRetryNs));
  }
}

bool SessionChannel::IsReplica() const {
  return session_.status->role.load(std::memory_order_acquire) !=
         static_cast<uint32_t>(ipc::Role::kPrimary);
}

// The daemon gets the right to write from the primary, which may take a while.
int SessionChannel::LockByDaemon() {
  const int64_t deadline = ipc::MonotonicNow() + kReplyTimeoutNs;
  const uint64_t id = ++session_.last_request;
  int rc = Send(ipc::Lock{id}, deadline);
  if (rc == 0) rc = Await(id, deadline);
  if (rc < 0) Drop();
  if (rc != 0) return -EAGAIN;
  if (!IsReplica()) return CheckLease();  // it has just become the primary
  db_.frame_held = db_.frame_accepted = false;
  db_.forwards.store(true);
  return 0;
}

void SessionChannel::LockRefused() {
  if (db_.forwards.load()) return Unlock();
  if (session_.bells != nullptr)
    session_.bells->wanted[session_.bell_slot].fetch_or(ipc::kWantedByApp);
}

void SessionChannel::Unlock() {
  db_.forwards.store(false);
  if (std::exchange(db_.frame_accepted, false)) {
    db_.log_unsynced.store(!db_.log_sync_seen.exchange(false));
    Done(0);
  }
  db_.frame_held = false;
  if (Living() && Send(ipc::Unlock{}, ReplyDeadline()) < 0) Drop();
}

int SessionChannel::ForwardFrame() {
  const int64_t deadline = ipc::MonotonicNow() + kReplyTimeoutNs;
  const uint64_t id = ++session_.last_request;
  const ipc::Forward message{
      .id = id,
      .flags = ipc::kFlagAsksAgain | (db_.log_unsynced.load() ? 0 : ipc::kFlagSynced),
      .offset = db_.frame_offset,
      .pgno = LoadBig32(db_.frame_header),
      .size_pages = LoadBig32(db_.frame_header + 4)};
  int rc = Living() ? Send(message, deadline) : -ENOTCONN;
  if (rc == 0) rc = Await(id, deadline);
  if (rc < 0) Drop();
  return rc < 0 ? -EIO : -rc;  // -EAGAIN: not known yet
}

// The daemon takes its locks as open-file-description locks (l_pid -1), on a primary only while it
// compares or copies; on a replica for good, but those that readers meet only while it applies.
bool SessionChannel::DaemonHolds(int fd, const struct flock& lock) {
  if (session_.status == nullptr && MapStatusFile() < 0) return false;
  const bool primary = session_.status->role.load() == static_cast<uint32_t>(ipc::Role::kPrimary);
  if (!primary && lock.l_type == F_WRLCK) return false;
  // A replica's transaction, which needs that the app lets go of SHARED: SQLite says busy.
  if (lock.l_start == static_cast<off_t>(sqlite::kReservedByte)) return false;
  struct flock holder = lock;
  return RawSyscall(SYS_fcntl, fd, F_GETLK, &holder) == 0 && holder.l_type != F_UNLCK &&
         holder.l_pid == -1;
}

// An app that takes no locks is announced by its first write, while its journal is open: at its
// commit the journal is closed already and would look like a dead app's.
void SessionChannel::AnnounceLockless() {
  if (!db_.CurrentLocks().any_seen && !Living()) ConnectBy(ReplyDeadline());
}

void SessionChannel::BeginNoting(int fd) {
  const Locks locks = db_.CurrentLocks();
  bool wanted = session_.stage.ring() != nullptr && locks.exclusive && locks.journal_open &&
                !db_.forwards.load();
  char counter[sizeof(uint32_t)] = {};
  wanted = wanted && RawSyscall(SYS_pread64, fd, counter, sizeof(counter),
                                sqlite::kChangeCounterOffset) == long{sizeof(counter)};
  session_.stage.Begin(wanted, LoadBig32(counter));
}

void SessionChannel::Note(ipc::DirtyRange range, const void* page) {
  AnnounceLockless();
  if (page != nullptr) {
    session_.stage.Add(range.offset, {static_cast<const char*>(page), range.length});
  } else {
    session_.stage.Spoil();
  }
  if (!db_.pending.Add(range)) {
    if (Living() && Send(ipc::Dirty{ipc::RangesView(db_.pending.ranges())}, ReplyDeadline()) == 0) {
      MoveToSent();
    } else {
      db_.pending.Clear();
      db_.unknown = true;
    }
    db_.pending.Add(range);
  }
  db_.noted.store(true, std::memory_order_release);
}

void SessionChannel::NoteSize(uint64_t size) {
  session_.stage.Spoil();
  db_.pending.AddSize(size);
  db_.noted.store(true, std::memory_order_release);
}

void SessionChannel::MoveToSent() {
  db_.sent_overflowed |= !db_.sent.AddAll(db_.pending);
  db_.pending.Clear();
}

void SessionChannel::ReturnToPending() {
  db_.unknown |= db_.sent_overflowed;
  db_.unknown |= !db_.pending.AddAll(db_.sent);
  db_.sent.Clear();
  db_.sent_overflowed = false;
}

void SessionChannel::ForgetRanges() {
  db_.pending.Clear();
  db_.sent.Clear();
  session_.stage.Forget();
  db_.sent_overflowed = db_.unknown = db_.synced = false;
  db_.noted.store(false, std::memory_order_release);
}

bool SessionChannel::ForgetOnReplica() {
  if (!Living() && MapStatusFile() < 0) return false;
  if (session_.status->role.load() != static_cast<uint32_t>(ipc::Role::kReplica)) return false;
  ForgetRanges();
  return true;
}

void SessionChannel::Prepare(bool synced) {
  db_.synced |= synced;
  if (!Living()) return;
  const ipc::Prepare message{.flags = db_.synced ? ipc::kFlagSynced : 0,
                             .ranges = ipc::RangesView(db_.pending.ranges())};
  if (Send(message, ReplyDeadline()) == 0) MoveToSent();
}

// One try: -errno if the session failed on the way, else 0 and the daemon's answer.
int SessionChannel::CommitOnce(uint64_t flags, int64_t deadline, int* answer) {
  const uint64_t id = ++session_.last_request;
  flags |= ipc::kFlagAsksAgain | (db_.synced ? ipc::kFlagSynced : 0) |
           (db_.unknown ? ipc::kFlagUnknown : 0);
  const ipc::Commit message{
      .id = id, .flags = flags, .ranges = ipc::RangesView(db_.pending.ranges())};
  int rc = Send(message, deadline);
  if (rc == 0) {
    MoveToSent();
    rc = Await(id, deadline);
  }
  if (rc < 0) {
    Drop();
    return rc;
  }
  *answer = rc;
  return 0;
}

int SessionChannel::Commit(uint64_t flags, bool wait) {
  const int64_t give_up = ReplyDeadline() + Timeout(kAbsentTimeoutNs);
  for (;;) {
    if ((wait ? Connect() : TryConnect(ReplyDeadline())) < 0) {
      return db_.foreign.load() || (!RefusedForGood() && MayContinue()) ? 0 : -EIO;
    }
    const bool in_time = CheckLease() == 0;
    int answer = 0;
    const int64_t deadline =
        db_.forwards.load() ? ipc::MonotonicNow() + kReplyTimeoutNs : ReplyDeadline();
    const int rc = CommitOnce(flags, deadline, &answer);
    if (rc == 0 && answer == 0 && in_time && CheckLease() < 0) {
      Done(EIO);  // it took too long: now the daemon says whether this is a commit or a rollback
      continue;
    }
    if (rc == 0 && answer == EAGAIN && db_.forwards.load()) continue;  // not known yet
    if (rc == 0 && answer != 0) ReturnToPending();
    if (rc == 0) return -answer;
    if (rc == -ETIMEDOUT || RefusedForGood() || ipc::MonotonicNow() >= give_up) {
      ShimLog("a commit was not answered in time", db_.NameText());
      return !RefusedForGood() && MayContinue() ? 0 : -EIO;
    }
  }
}

int SessionChannel::MayCommit() {
  if (session_.status == nullptr) {
    const int rc = MapStatusFile();
    if (rc < 0) return rc == -ENOENT ? 0 : -EIO;  // no daemon has ever been here
  }
  if (CheckLease() == 0) return 0;
  ConnectBy(ReplyDeadline());  // only the daemon knows whether the database is its own
  return db_.foreign.load() ? 0 : -EIO;
}

// ---- The ring
// ------------------------------------------------------------------------------------

void SessionChannel::AskForRing() {
  if (session_.stage.ring() != nullptr || session_.ring_refused || db_.forwards.load()) return;
  if (!LivesAsSeen() || IsReplica()) return;
  session_.ring_refused = true;
  const int64_t deadline = ReplyDeadline();
  const uint64_t id = ++session_.last_request;
  int rc = Send(ipc::Ring{id}, deadline);
  int ring_fd = -1;
  if (rc == 0) rc = Await(id, deadline, &ring_fd);
  if (rc < 0 && ring_fd >= 0) RawSyscall(SYS_close, ring_fd);
  if (rc < 0) return Drop();
  if (ring_fd >= 0 && rc == 0) session_.ring_refused = MapRing(ring_fd) < 0;
  if (ring_fd >= 0) RawSyscall(SYS_close, ring_fd);
}

int SessionChannel::MapRing(int ring_fd) {
  struct stat info {};
  if (RawSyscall(SYS_fstat, ring_fd, &info) < 0 ||
      static_cast<size_t>(info.st_size) != kRingFileBytes) {
    return -EPROTO;
  }
  const long map =
      RawSyscall(SYS_mmap, nullptr, kRingFileBytes, PROT_READ | PROT_WRITE, MAP_SHARED, ring_fd, 0);
  if (MapFailed(map)) return static_cast<int>(map);
  // NOLINTNEXTLINE(performance-no-int-to-ptr): what mmap returned
  session_.stage.SetRing(reinterpret_cast<RingHeader*>(map));
  return 0;
}

void SessionChannel::CloseRing() {
  if (session_.stage.ring() == nullptr) return;
  RawSyscall(SYS_munmap, session_.stage.ring(), kRingFileBytes);
  session_.stage.SetRing(nullptr);
}

bool SessionChannel::MayHandOver() {
  db_.hands_over = session_.stage.complete() && session_.told && !db_.unknown && db_.sent.empty() &&
                   !db_.sent_overflowed && !synchronous() && !db_.forwards.load() &&
                   session_.next_probe_ns == 0 && LivesAsSeen() && !IsReplica() &&
                   CheckLease() == 0 &&
                   session_.stage.ring()->held.load(std::memory_order_acquire) == 0;
  return db_.hands_over;
}

// A daemon that has ended the session meanwhile may have looked into the ring before: it is told
// again, by another session.  One that died finds the transaction by comparing.
void SessionChannel::HandOver(int error) {
  if (error != 0) return session_.stage.Spoil();
  session_.stage.Publish();
  if (!LivesAsSeen()) {
    if (Commit(ipc::kFlagRecheck, false) == 0) Done(0);
    return;
  }
  ForgetRanges();
  Bell();
}

void SessionChannel::Done(int error) {
  if (std::exchange(db_.hands_over, false)) return HandOver(error);
  // A daemon that died after its answer finds the transaction by comparing, as after any crash.
  if (Send(ipc::Done{static_cast<uint32_t>(error)}, ReplyDeadline()) < 0) Drop();
  if (error != 0) return ReturnToPending();
  session_.told = true;
  ForgetRanges();
  // What was committed without the daemon it finds by comparing.
  db_.unknown = session_.next_probe_ns != 0;
}

int SessionChannel::Drain(ipc::DrainReason reason, bool wait) {
  const int64_t give_up = ReplyDeadline() + Timeout(kAbsentTimeoutNs);
  for (;;) {
    if (const int rc = wait ? Connect() : TryConnect(ReplyDeadline()); rc < 0) {
      const bool away = (wait && !RefusedForGood()) || session_.next_probe_ns != 0;
      return db_.foreign.load() || (away && MayContinue()) ? 0 : rc;
    }
    const int64_t deadline = ReplyDeadline();
    const uint64_t id = ++session_.last_request;
    int rc = Send(ipc::Drain{id, reason}, deadline);
    if (rc == 0) rc = Await(id, deadline);
    if (rc >= 0) return -rc;
    Drop();
    if (!wait || rc == -ETIMEDOUT || ipc::MonotonicNow() >= give_up) return rc;
  }
}

void SessionChannel::Bell() {
  if (session_.bells == nullptr) return;
  session_.bells->bells[session_.bell_slot].fetch_add(1);
  if (session_.bells->sleeping.load() == 0) return;
  // Where there is no room for the message, those before it wake the daemon.
  const int rc = Send(ipc::Bell{}, 0);
  if (rc < 0 && rc != -ETIMEDOUT) Drop();
}

int SessionChannel::SyncWithoutDaemon(int64_t waited, bool exclusive) {
  if (db_.foreign.load()) return 0;
  if (waited < Timeout(kAbsentTimeoutNs) && !RefusedForGood()) return -EAGAIN;
  if (MayContinue() || (session_.flags & ipc::kWelcomeSyncWait) == 0) return 0;
  return exclusive ? -EIO : -EAGAIN;
}

int SessionChannel::Sync(int64_t started, bool exclusive) {
  if (session_.next_probe_ns != 0 && MayContinue()) return 0;
  const int64_t waited = ipc::MonotonicNow() - started;
  if (ConnectBy(ReplyDeadline()) < 0) return SyncWithoutDaemon(waited, exclusive);
  if (!synchronous()) return 0;  // a new daemon
  const uint64_t id = ++session_.last_request;
  int rc = Send(ipc::Sync{id, static_cast<uint64_t>(waited / kNanosPerMilli)}, ReplyDeadline());
  if (rc == 0) rc = Await(id, ReplyDeadline());
  if (rc < 0) {
    Drop();
    return -EAGAIN;
  }
  if (rc == EBUSY && exclusive && Commit(ipc::kFlagRecheck, false) == 0) Done(0);
  if (rc == EBUSY || rc == EAGAIN) return -EAGAIN;
  if (rc != 0) ShimLog("a commit is not known to be replicated", db_.NameText());
  return rc == 0 ? 0 : -EIO;
}

}  // namespace litefs::preload
