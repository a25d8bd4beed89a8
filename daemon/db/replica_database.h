// ReplicaDatabase: a database that follows a primary.  Receive verifies a file and stores it in the
// chain; ApplyPending brings the live database file to the chain's tip, as SQLite would
// (replica_file.h).  The two run on different threads and do not wait for each other.
//
// Invariant (I4): nothing is applied that does not fit: a file enters the chain only if its
// pre-apply position is the tip, and pages are written only if the checksum of the database with
// them is the file's post-apply checksum.

#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "daemon/db/database.h"
#include "daemon/db/database_file.h"
#include "daemon/db/dirty_ranges.h"
#include "daemon/db/ltx_page_source.h"
#include "daemon/db/replica_file.h"

namespace litefs::db {

class IncomingFile;

class ReplicaDatabase final : public Database {
 public:
  static absl::StatusOr<std::unique_ptr<ReplicaDatabase>> Open(DatabaseOptions options,
                                                               std::string* report);

  // These three wait for no apply, however long it takes: they tell of the last one that has ended.
  DatabaseInfo Info() override EXCLUDES(mu_, shown_mu_);
  ltx::Position position() override EXCLUDES(mu_, shown_mu_);
  bool Prune(int64_t oldest_ms, uint64_t max_bytes, ltx::TxId keep_after) override
      EXCLUDES(mu_, shown_mu_);

  // Makes durable what is stored.  An error stays.
  absl::Status SyncStored() EXCLUDES(receive_mu_);
  // The end of what is stored.  If the content belongs to no chain (somebody else has written it):
  // transaction 0 with the content's checksum, or {0, empty} if there is nothing.
  ltx::Position stored_position() EXCLUDES(receive_mu_, mu_);
  // The last file of what is stored, as those who follow this node are to see it: without the
  // moment in which one chain has gone and another has not come.  None: nothing has been stored.
  std::optional<LtxFileRef> served() const EXCLUDES(served_mu_);
  // The checksums of the file's pages from page 1 on, read anew, and their size; nothing if there
  // are more than max_pages.
  absl::StatusOr<std::vector<ltx::Checksum>> PageSums(uint64_t max_pages, uint32_t* page_bytes)
      EXCLUDES(mu_);

  // Takes the LTX file behind fd in (an unlinked one may become the chain's own: it must not be
  // written any more): one that follows stored_position(), or a snapshot, or one that leads from
  // the very content that is here to another branch; what the latter two replace is kept under
  // branches/ first (I2).  Returns the new stored position.  kFailedPrecondition: none of these;
  // kDataLoss: it is broken; others: try again later.
  absl::StatusOr<ltx::Position> Receive(int fd, uint64_t size_bytes) EXCLUDES(receive_mu_);
  // The same, all of which has arrived in fd; waits until it is verified.  A database that was made
  // of it takes the place of none at the next ApplyPending.
  absl::StatusOr<ltx::Position> Receive(int fd, uint64_t size_bytes,
                                        std::shared_ptr<IncomingFile> incoming)
      EXCLUDES(receive_mu_);
  absl::StatusOr<ltx::Position> Receive(ltx::ByteSource& source) EXCLUDES(receive_mu_);

  // Applies what is stored, one batch (HasPending tells of more).  kUnavailable: readers are in the
  // way; call again soon.
  absl::Status ApplyPending() EXCLUDES(mu_);
  // Readers that were kept out have their turn until then: ApplyPending should not be called
  // before.
  std::chrono::steady_clock::time_point readers_turn_until() EXCLUDES(mu_);
  bool HasPending() EXCLUDES(mu_);
  // A loan (docs/FORWARDING.md, replica_database_loan.cc): local apps write, and nothing is
  // applied. kUnavailable: the database is not at that position, or not at rest.
  absl::Status Lend(const ltx::Position& at) EXCLUDES(mu_);
  // What an app is about to commit, as the transaction after position(), in a file of its own.
  // None: it changes nothing.  kAborted, kFailedPrecondition: it cannot be: somebody else has
  // written.  sync: StoreForwarded is to make it durable.
  struct Pending {
    std::string path;
    LtxFileRef file;
  };
  absl::StatusOr<std::optional<Pending>> PrepareForward(const DirtyRanges& ranges, bool sync,
                                                        int64_t timestamp_ms) EXCLUDES(mu_);
  // As that in WAL mode, up to this frame, which ends the transaction with size_pages pages; its
  // header is not written yet, and names pgno.
  struct CommitFrame {
    uint64_t offset = 0;
    ltx::PageNo pgno = 0;
    ltx::PageNo size_pages = 0;
  };
  absl::StatusOr<std::optional<Pending>> PrepareForwardWal(const CommitFrame& last, bool sync,
                                                           int64_t timestamp_ms) EXCLUDES(mu_);
  // The primary has accepted it: into the chain.
  absl::Status StoreForwarded() EXCLUDES(receive_mu_, mu_);
  // The app has committed it, or (error) has not.
  void FinishForward(int error) EXCLUDES(mu_);
  // An app has put the database into WAL mode: the loan is to end before the next transaction.
  bool LoanIsOver() EXCLUDES(mu_);
  // Ends the loan.  kUnavailable: an app writes.  known: all that apps have done was told.
  absl::Status TakeBack(bool known) EXCLUDES(mu_);

  // Housekeeping of the live file while nothing is pending.  False: readers are in the way of some
  // of it, try again later.
  bool Tidy() EXCLUDES(mu_);
  bool IsTidy() EXCLUDES(mu_);

 protected:
  absl::Status ReadCommitted(ltx::PageNo pgno, std::span<std::byte> page) override REQUIRES(mu_);

 private:
  explicit ReplicaDatabase(DatabaseOptions options) : Database(std::move(options)) {}
  absl::Status OpenFile() REQUIRES(mu_);
  absl::Status IdentifyContent() REQUIRES(mu_);
  absl::Status ReadSums(std::vector<ltx::Checksum>* sums, ltx::Checksum* database) REQUIRES(mu_);
  absl::Status KeepBranch(const ltx::Header& replacement) REQUIRES(receive_mu_) EXCLUDES(mu_);
  absl::Status KeepContent(const std::string& directory) REQUIRES(receive_mu_) EXCLUDES(mu_);
  absl::Status AcceptOtherBranch(const std::string& temporary, const LtxFileRef& file)
      REQUIRES(receive_mu_) EXCLUDES(mu_);
  std::string BranchDirectory(const ltx::Position& position) const;
  void Serve() EXCLUDES(served_mu_);
  absl::Status ApplyNext() REQUIRES(mu_);
  ltx::Position AppliedPosition() EXCLUDES(mu_);
  // What Info, position and Prune go by.
  void Show() REQUIRES(mu_) EXCLUDES(shown_mu_);
  // The verified file; store writes its bytes to a path.
  absl::StatusOr<ltx::Position> Receive(
      const ltx::FileInfo& info, uint64_t size_bytes,
      const std::function<absl::Status(const std::string&)>& store) EXCLUDES(receive_mu_);
  absl::StatusOr<ltx::Position> Store(const ltx::FileInfo& info, ltx::FdSource& source, int fd)
      EXCLUDES(receive_mu_);
  absl::Status StoreFile(ltx::ByteSource& source, const std::string& path);
  absl::Status KeepDiverged(const std::string& reason) REQUIRES(mu_);
  absl::Status KeepDeleted() REQUIRES(mu_);
  absl::Status KeepFile(const ltx::Position& branch) REQUIRES(mu_);
  absl::StatusOr<bool> CollectPending(LtxPageSource* source) REQUIRES(mu_);
  absl::Status ApplyBatch(LtxPageSource& source) REQUIRES(mu_);
  absl::StatusOr<bool> AdoptMade() REQUIRES(mu_);
  std::shared_ptr<IncomingFile> TakeIncoming(const ltx::Position& position) EXCLUDES(incoming_mu_);
  void NeedSnapshot(const std::string& reason) REQUIRES(mu_);
  std::string ForwardPath() const { return chain_->directory() + "/forward.tmp"; }
  absl::Status MayForward() REQUIRES(mu_);
  absl::StatusOr<std::optional<Pending>> Prepare(std::span<const ltx::PageNo> candidates,
                                                 Chain::NewState state,
                                                 const Chain::ReadPage& read_page) REQUIRES(mu_);
  bool IsAsTold(uint32_t frame) REQUIRES(mu_);

  Mutex receive_mu_;  // before mu_
  std::unique_ptr<ReplicaFile> file_ GUARDED_BY(mu_);
  std::vector<PageChange> changes_ GUARDED_BY(mu_);
  std::string error_ GUARDED_BY(mu_);
  struct Loan {
    DatabaseFile file;                // as the apps write it
    std::optional<uint32_t> counter;  // change counter, in rollback modes, of the last commit
    std::optional<uint32_t> prepared_counter;
    uint32_t frame = 0;  // in WAL mode, that of the last commit
    uint32_t prepared_frame = 0;
    bool sync = false;      // what is prepared is to be durable
    bool doubtful = false;  // a commit was refused, or its end not told
    bool enters_wal = false;
  };
  std::optional<Loan> loan_ GUARDED_BY(mu_);
  // In rollback mode: not to be locked before this.
  std::chrono::steady_clock::time_point readers_turn_until_ GUARDED_BY(mu_){};

  Mutex shown_mu_;  // after mu_
  DatabaseInfo shown_ GUARDED_BY(shown_mu_);
  std::atomic<bool> needs_snapshot_ = false;
  Mutex incoming_mu_;  // after mu_ and receive_mu_
  // What was verified last while it arrived, and is stored now or about to be.
  std::shared_ptr<IncomingFile> incoming_ GUARDED_BY(incoming_mu_);
  ltx::Position incoming_end_ GUARDED_BY(incoming_mu_);
  mutable Mutex served_mu_;  // after all others
  std::optional<LtxFileRef> served_ GUARDED_BY(served_mu_);
};

}  // namespace litefs::db
