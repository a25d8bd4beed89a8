// One database's session with the daemon: connecting, waiting for an absent daemon, the requests of
// docs/IPC.md, and telling everything again when a session dies in mid-transaction.  All functions
// return 0 or -errno and never outlast their deadline.  REQUIRES: the caller holds Database::lock
// (End: the last reference, or the only thread).  Shim-safe.

#pragma once

#include <fcntl.h>

#include <cstdint>
#include <span>

#include "preload/database.h"

namespace litefs::preload {

// How long a write waits for an absent daemon, and for an answer, while no status page says so.
inline constexpr int64_t kAbsentTimeoutNs = 5'000'000'000;
inline constexpr int64_t kReplyTimeoutNs = 30'000'000'000;
// Going on without a daemon: how often one is looked for, and how long it has to answer.
inline constexpr int64_t kProbeEveryNs = 1'000'000'000;
inline constexpr int64_t kProbeTimeoutNs = 10'000'000;

class SessionChannel {
 public:
  explicit SessionChannel(Database& db) : db_(db), session_(db.session) {}

  // A living session with a primary whose lease is good, waiting for an absent daemon, or the leave
  // to go on without one; else -EAGAIN.
  int BecomeWriter();
  // A write lock that was asked for was refused, or (forwards) has been given back.
  void LockRefused();
  void Unlock();
  // A commit frame but for its header is written: the primary's word on it, 0 or -errno.  -EAGAIN:
  // not known yet; ask again, without the lock in between.
  int ForwardFrame();
  // Whether a lock that was refused is the daemon's for a moment, so that asking again will help.
  bool DaemonHolds(int fd, const struct flock& lock);
  int64_t LockDeadline() const { return ReplyDeadline(); }
  // The first write of a transaction is about to be made: should the app die in it, the daemon
  // knows.
  void BeginNoting(int fd);
  // A ring is wanted, for a database whose write lock is about to be taken.
  void AskForRing();
  // Notes a write; flushes the ranges to the daemon when the list is full.  page: what was written,
  // if that is known.
  void Note(ipc::DirtyRange range, const void* page);
  void NoteSize(uint64_t size);
  // The next commit is to compare all pages.
  void NoteUnknown() { db_.unknown = true; }
  // On a replica, by the daemon or else the last one: forgets what was noted, and returns true.  A
  // reader that rolls the daemon's hot journal back there has nobody to tell, and must not wait for
  // anybody with EXCLUSIVE in its hand.
  bool ForgetOnReplica();
  // All pages of the transaction are at hand for the daemon: it need not be told before the commit.
  bool HasAllPages() const { return session_.stage.complete(); }
  void NoteSync() { db_.synced = true; }
  // Whether the transaction can be handed over once it is committed, without asking; Done does it.
  bool MayHandOver();
  // Tells the daemon that a sync runs, if there is a session; an absent daemon learns it at the
  // commit.
  void Prepare(bool synced);
  // Waits until the daemon has prepared the transaction, with wait also through its restarts.  -EIO
  // if it stays away, or the daemon's error: past the lease, EIO for what is no rollback.
  int Commit(uint64_t flags, bool wait);
  // At a commit point that the daemon is not asked about: -EIO past the lease.
  int MayCommit();
  // Ends the transaction: the commit point's call returned error.
  void Done(int error);
  // Frames are about to vanish: returns when the daemon has them.  Waits for an absent daemon only
  // if told so.
  int Drain(ipc::DrainReason reason, bool wait);
  void Bell();
  // Whether a commit waits for replicas, as the newest daemon has said.
  bool synchronous() const { return (session_.flags & ipc::kWelcomeSync) != 0; }
  // A commit was done at the time started (MonotonicNow), and SQLite has not gone on yet: 0 when
  // enough replicas have stored it, or need not; -EAGAIN: ask again after a pause without the lock;
  // -EIO: it may be known here only.  exclusive: the app holds EXCLUSIVE, and can be told of -EIO.
  int Sync(int64_t started, bool exclusive);

  // Closes the session.  In a forked child this closes the child's copy; the parent's lives on.
  void End();
  // True if the descriptor is this session's socket and was not replaced by the app.
  bool Owns(int fd) const;

 private:
  bool Living();
  bool LivesAsSeen() const;
  int Connect();
  int TryConnect(int64_t deadline);
  bool MayContinue();
  bool IsReplica() const;
  int LockByDaemon();
  void YieldToDaemon();
  int MapStatusFile();
  bool RefusedForGood() const;
  void AnnounceLockless();
  int ConnectBy(int64_t deadline);
  int Greet(int fd, int64_t deadline);
  int MapStatus(int status_fd);
  void Adopt(int fd);
  void Drop();
  void CloseSocket();
  int CheckLease() const;
  int64_t Timeout(int64_t otherwise) const;
  int64_t ReplyDeadline() const;

  template <typename Message>
  int Send(const Message& message, int64_t deadline);
  int Await(uint64_t id, int64_t deadline, int* passed_fd = nullptr);
  int SyncWithoutDaemon(int64_t waited, bool exclusive);
  int MapRing(int ring_fd);
  void CloseRing();
  void HandOver(int error);
  int CommitOnce(uint64_t flags, int64_t deadline, int* answer);
  void MoveToSent();
  void ReturnToPending();
  void ForgetRanges();

  Database& db_;
  Session& session_;
};

}  // namespace litefs::preload
