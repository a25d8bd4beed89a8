// PrimaryDatabase: a database that local apps write.  Turns what the sessions report into
// transactions of the chain; orchestrates JournalCapture's ranges, WalCapture and reconciliation.
//
// A session is one connected process (daemon/session).  What it reports:
//   Dirty* [Prepare] Commit Done      a rollback-mode transaction, or something that looks like one
//   Bell, Drain                       the WAL has grown, or is about to be reset
//   SessionEnded                      the process closed the database, or died
// docs/CAPTURE.md explains why content, not the order of calls, decides what a transaction is.

#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "daemon/db/database.h"
#include "daemon/db/database_file.h"
#include "daemon/db/dirty_ranges.h"
#include "daemon/db/ltx_page_source.h"
#include "daemon/db/page_ring.h"
#include "daemon/db/replica_file.h"
#include "daemon/db/wal_capture.h"

namespace litefs::db {

using SessionId = uint64_t;

class PrimaryDatabase final : public Database {
 public:
  // Opens the chain and brings it to the state of the database file, if there is one.
  // *report gets a line for each thing a human should know.
  // in_use: on behalf of a session, which may be in the middle of a transaction.
  static absl::StatusOr<std::unique_ptr<PrimaryDatabase>> Open(DatabaseOptions options, bool in_use,
                                                               std::string* report);

  DatabaseInfo Info() override EXCLUDES(mu_);

  // A session begins, on the file with this inode (0: unknown).
  // lockless: its app takes no locks, so that only its own word tells when it is between
  // transactions.
  void SessionStarted(SessionId session, uint64_t inode, bool lockless) EXCLUDES(mu_);
  void AddDirty(SessionId session, uint64_t offset, uint64_t length) EXCLUDES(mu_);
  void AddEverything(SessionId session) EXCLUDES(mu_);
  // The app is syncing: build the transaction now.  Errors are told by Commit.
  void Prepare(SessionId session) EXCLUDES(mu_);
  // The app is at its commit point.  On success what it wrote is prepared, and Done must follow.
  // With recheck set it is only letting go of its lock: what is committed is published at once.
  absl::Status Commit(SessionId session, bool recheck) EXCLUDES(mu_);
  void Done(SessionId session, int error) EXCLUDES(mu_);
  // The descriptor of a new ring, for the session's app.
  absl::StatusOr<UniqueFd> AddRing(SessionId session) EXCLUDES(mu_);
  void SessionEnded(SessionId session) EXCLUDES(mu_);
  // Whether what was prepared changes anything: a rollback does not.
  bool HasPreparedChange() EXCLUDES(mu_);
  // The session whose Done is awaited.
  std::optional<SessionId> pending_session() EXCLUDES(mu_);

  // Whether a process is in a write transaction, by SQLite's write lock; also if that cannot be
  // known.
  bool HasWriter() EXCLUDES(mu_);

  // For a replica that writes (docs/FORWARDING.md, primary_database_halt.cc): takes SQLite's write
  // lock, until EndHalt, and returns where the database stands.  kUnavailable: an app writes.
  absl::StatusOr<ltx::Position> Halt() EXCLUDES(mu_);
  void EndHalt() EXCLUDES(mu_);
  // Writes the transaction in the LTX file behind fd, which must be the chain's next, and captures
  // it.  kDeadlineExceeded: whether it is there will be found by comparing; any other error: it is
  // not.  REQUIRES: halted.
  absl::StatusOr<ltx::Position> AcceptForwarded(UniqueFd fd, bool sync) EXCLUDES(mu_);

  // Captures what the WAL holds.
  absl::Status CaptureWal() EXCLUDES(mu_);
  // As CaptureWal, before the log is reset, or (is_last) unlinked with its wal-index: by the last
  // app that has the database, which holds it exclusively.
  absl::Status Drain(SessionId session, bool is_last) EXCLUDES(mu_);

  // Looks whether a program without the shim has changed the database; then all pages are suspects.
  // A database that stays away is captured as deleted.
  // serve takes in what sessions have sent so far.
  struct Look {
    int locked_by = 0;   // the process whose lock keeps us from knowing; 0: none
    bool again = false;  // the database changes too fast
  };
  Look LookForStrangers(bool has_sessions, const std::function<void()>& serve) EXCLUDES(mu_);
  // Whether there is nothing to look for: the files are as they were when LookForStrangers last
  // found all of them captured.  Two calls of stat.
  bool IsAsLastSeen() EXCLUDES(mu_);

  // True while something waits for a lock or a retry; then Attend should be called every few ms.
  bool NeedsAttention() EXCLUDES(mu_);
  void Attend() EXCLUDES(mu_);

 protected:
  absl::Status ReadCommitted(ltx::PageNo pgno, std::span<std::byte> page) override REQUIRES(mu_);

 private:
  explicit PrimaryDatabase(DatabaseOptions options);
  absl::Status Recover(bool in_use) REQUIRES(mu_);
  absl::Status SettleHotJournal(int64_t grace_ms) REQUIRES(mu_);
  absl::Status CaptureLocked() REQUIRES(mu_);
  absl::Status CaptureWalLocked() REQUIRES(mu_);
  absl::Status CaptureRings() REQUIRES(mu_);
  absl::StatusOr<PageRing*> NextRing(std::optional<uint32_t> counter) REQUIRES(mu_);
  uint64_t CollectFromRings(bool* in_order) REQUIRES(mu_);
  absl::StatusOr<PageRing*> FindRing(std::optional<uint32_t> counter, bool* any) REQUIRES(mu_);
  bool Fits(const sqlite::DbHeader& header) const REQUIRES(mu_);
  bool HasGrowth(const sqlite::DbHeader& header) const REQUIRES(mu_);
  void SuspectCollected(const sqlite::DbHeader& header) REQUIRES(mu_);
  absl::StatusOr<bool> CaptureCollected(uint64_t transactions) REQUIRES(mu_);
  void HoldRings() REQUIRES(mu_);
  std::optional<bool> EndRing(SessionId session) REQUIRES(mu_);
  absl::StatusOr<bool> PrepareRanges(const DirtyRanges& ranges, std::string_view why) REQUIRES(mu_);
  absl::Status PublishPrepared() REQUIRES(mu_);
  void NotePublished() REQUIRES(mu_);
  absl::Status CompareSuspects() REQUIRES(mu_);
  void NoteCaptured() REQUIRES(mu_);
  absl::StatusOr<ltx::Checksum> FileChecksumOfPage1() EXCLUDES(mu_);
  absl::StatusOr<ltx::Checksum> FileChecksumOfPage1Locked() REQUIRES(mu_);
  bool MatchesPage1() REQUIRES(mu_);
  bool MissedCommit(const sqlite::DbHeader& header) const REQUIRES(mu_);
  void Suspect(SessionId session) REQUIRES(mu_);
  absl::Status ResolveSuspects(int64_t journal_grace_ms) REQUIRES(mu_);
  absl::StatusOr<bool> RefreshFile() REQUIRES(mu_);
  absl::StatusOr<bool> OpenCurrentFile() REQUIRES(mu_);
  // The database's file, whose inode is file_'s, and its log.
  struct Sight {
    uint64_t size = 0;
    int64_t file_changed_ns = 0;
    WalCapture::LogStamp log;
    int64_t changed_ns = 0;  // the later of both
    friend bool operator==(const Sight&, const Sight&) = default;
  };
  std::optional<Sight> See() REQUIRES(mu_);
  Look LookAtAbsentFile() REQUIRES(mu_);
  absl::Status CaptureDeletion() REQUIRES(mu_);
  bool IsOfOtherFile(SessionId session) REQUIRES(mu_);
  bool HasLostItsName(SessionId session) REQUIRES(mu_);
  bool HasLocklessSession() REQUIRES(mu_);
  absl::Status NoDatabase() const;
  void ClearSuspects() REQUIRES(mu_);
  const DirtyRanges& Claimed(SessionId session) REQUIRES(mu_);
  absl::Status CheckCaptured(bool present) REQUIRES(mu_);
  absl::Status Write(LtxPageSource& source) REQUIRES(mu_);
  absl::Status CaptureForwarded(const LtxPageSource& source, const ltx::Position& end, bool sync)
      REQUIRES(mu_);
  void CheckpointHalted() REQUIRES(mu_);
  void SetError(const absl::Status& status) REQUIRES(mu_);

  DatabaseFile file_ GUARDED_BY(mu_);
  std::unique_ptr<WalCapture> wal_ GUARDED_BY(mu_);
  std::unique_ptr<ReplicaFile> halted_file_ GUARDED_BY(mu_);  // holds the locks of a halt
  absl::flat_hash_map<SessionId, DirtyRanges> sessions_ GUARDED_BY(mu_);
  absl::flat_hash_set<SessionId> lockless_ GUARDED_BY(mu_);
  // The file that each has open: it may have lost its name to another one since.
  absl::flat_hash_map<SessionId, uint64_t> inodes_ GUARDED_BY(mu_);
  absl::flat_hash_map<SessionId, std::unique_ptr<PageRing>> rings_ GUARDED_BY(mu_);
  PageCollection collected_ GUARDED_BY(mu_);
  // What may have changed without a known outcome; compared as soon as that can be done.
  DirtyRanges suspects_ GUARDED_BY(mu_);
  // Of Claimed and PrepareRanges, so that they allocate nothing.
  DirtyRanges claimed_ GUARDED_BY(mu_);
  DirtyRanges compared_ GUARDED_BY(mu_);
  // The file is another one than the chain is of: nothing counts but a comparison of all pages.
  bool replaced_ GUARDED_BY(mu_) = false;
  // Since when there is no file, or an empty one (Clock::Boot); 0: there is one.
  std::chrono::nanoseconds absent_since_ GUARDED_BY(mu_){0};
  // Whose Prepare is still all there is to prepare, and whose Done is awaited.
  std::optional<SessionId> prepared_for_ GUARDED_BY(mu_);
  std::optional<SessionId> pending_ GUARDED_BY(mu_);
  SessionId leaving_ GUARDED_BY(mu_) =
      0;  // the last app that unlinks the log; 0: none (ids are larger)
  bool wal_mode_ GUARDED_BY(mu_) = false;
  bool wal_retry_ GUARDED_BY(mu_) = false;
  // Of the file when it was last known to be captured.
  int64_t captured_mtime_ns_ GUARDED_BY(mu_) = 0;
  std::optional<Sight> seen_ GUARDED_BY(mu_);  // for IsAsLastSeen
  // The change counter, in rollback modes: of the last captured transaction and of the prepared
  // one.
  std::optional<uint32_t> captured_counter_ GUARDED_BY(mu_);
  std::optional<uint32_t> prepared_counter_ GUARDED_BY(mu_);
  // Why the prepared transaction is one that was made by comparing; empty: it is not.
  std::string_view prepared_reason_ GUARDED_BY(mu_);
  std::string error_ GUARDED_BY(mu_);
  std::vector<ltx::PageNo> pages_ GUARDED_BY(mu_);
  std::vector<std::byte> page_ GUARDED_BY(mu_);
};

}  // namespace litefs::db
