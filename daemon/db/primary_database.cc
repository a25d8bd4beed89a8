#include "daemon/db/primary_database.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>

#include "common/check.h"
#include "common/log.h"
#include "common/posix_io.h"
#include "common/sqlite_format.h"
#include "common/status_macros.h"
#include "daemon/sqlite/file_lock.h"
#include "daemon/sqlite/settle.h"
#include "ltx/page_checksum.h"

namespace litefs::db {
namespace {

// How often a comparison under way is repeated when the app's checkpoints get in between.
constexpr int kReconcileRounds = 100;
// Of the list of compared pages, what stays allocated for the next transaction.
constexpr size_t kKeptPages = 4096;
// How long a hot journal is left to the apps.
constexpr int64_t kJournalGraceMs = 2000;
// How long a database must be gone to count as deleted: not while another one takes its place.
constexpr std::chrono::milliseconds kDeletionGrace{300};

}  // namespace

PrimaryDatabase::PrimaryDatabase(DatabaseOptions options)
    : Database(std::move(options)), file_(options_.path) {}

absl::StatusOr<std::unique_ptr<PrimaryDatabase>> PrimaryDatabase::Open(DatabaseOptions options,
                                                                       bool in_use,
                                                                       std::string* report) {
  std::unique_ptr<PrimaryDatabase> database(new PrimaryDatabase(std::move(options)));
  ASSIGN_OR_RETURN(database->chain_, Chain::Open({.directory = database->options_.control_directory,
                                                  .node_id = database->options_.node_id,
                                                  .clock = database->options_.clock},
                                                 report));
  MutexLock lock(database->mu_);
  database->wal_ = std::make_unique<WalCapture>(database->options_.path, &database->file_,
                                                database->chain_.get());
  if (const absl::Status status = database->Recover(in_use); !status.ok()) {
    // The database stays under watch: a commit or a retry will bring the chain to it.
    if (!absl::IsUnavailable(status)) {
      *report += fmt::format("{}: {}\n", database->name(), status.ToString());
      database->SetError(status);
    }
    database->suspects_.AddEverything();
  }
  return database;
}

// Brings the chain to what the database is now, whatever happened while nobody looked.
absl::Status PrimaryDatabase::Recover(bool in_use) {
  suspects_.AddEverything();
  ASSIGN_OR_RETURN(const bool present, RefreshFile());
  if (!present) {
    ClearSuspects();
    if (chain_->log().tip().txid == 0) return absl::OkStatus();
    if (absent_since_.count() == 0) return NoDatabase();
    return in_use ? absl::OkStatus() : CaptureDeletion();
  }
  RETURN_IF_ERROR(wal_->Resume(/*to_end=*/false));
  if (in_use) return absl::OkStatus();  // as soon as its locks, or its word, allow it
  return ResolveSuspects(/*journal_grace_ms=*/0);
}

void PrimaryDatabase::SetError(const absl::Status& status) {
  const std::string message = status.ok() ? "" : status.ToString();
  if (message == error_) return;
  error_ = message;
  if (!status.ok()) LogWarn("capture", fmt::format("db={} error=\"{}\"", name(), error_));
}

absl::Status PrimaryDatabase::NoDatabase() const {
  return absl::DataLossError(options_.path + " is no database any more; its chain is kept");
}

void PrimaryDatabase::ClearSuspects() {
  suspects_.Clear();
  replaced_ = false;
}

// Opens the file if it is there and a database; false if not.
absl::StatusOr<bool> PrimaryDatabase::RefreshFile() {
  ASSIGN_OR_RETURN(const bool present, OpenCurrentFile());
  if (!present) {
    if (absent_since_.count() == 0) absent_since_ = options_.clock->Boot();
    return false;
  }
  const absl::StatusOr<sqlite::DbHeader> header = file_.ReadHeader();
  if (absl::IsNotFound(header.status())) {  // empty
    if (absent_since_.count() == 0) absent_since_ = options_.clock->Boot();
    return false;
  }
  if (absent_since_.count() != 0 && chain_->log().tip().txid != 0) replaced_ = true;
  absent_since_ = {};
  if (replaced_) suspects_.AddEverything();
  if (absl::IsDataLoss(header.status())) return false;
  RETURN_IF_ERROR(header.status());
  wal_mode_ = header->wal;
  return true;
}

// False if there is none.
absl::StatusOr<bool> PrimaryDatabase::OpenCurrentFile() {
  if (pending_.has_value() && file_.is_open()) return true;  // its outcome is of this one
  bool replaced = false;
  const absl::Status status = file_.Refresh(&replaced);
  if (absl::IsNotFound(status)) {
    if (file_.is_open() && !replaced_) {
      // The last that was committed: what a replica keeps of a deleted database should have it.
      if (const absl::Status captured = CaptureLocked(); !captured.ok()) SetError(captured);
    }
    file_.Close();
    return false;
  }
  RETURN_IF_ERROR(status);
  if (replaced) replaced_ = true;
  return true;
}

absl::Status PrimaryDatabase::ReadCommitted(ltx::PageNo pgno, std::span<std::byte> page) {
  return wal_->ReadPage(pgno, page);
}

// An app goes on with a file whose name another one has taken, or nobody.
bool PrimaryDatabase::IsOfOtherFile(SessionId session) {
  const auto inode = inodes_.find(session);
  return inode != inodes_.end() && inode->second != 0 && file_.is_open() &&
         inode->second != file_.inode();
}

// As that, if need be with a look at which file has the name now.
bool PrimaryDatabase::HasLostItsName(SessionId session) {
  if (!IsOfOtherFile(session)) return false;
  const absl::StatusOr<bool> present = RefreshFile();
  return present.ok() && IsOfOtherFile(session);
}

void PrimaryDatabase::SessionStarted(SessionId session, uint64_t inode, bool lockless) {
  MutexLock lock(mu_);
  sessions_[session];
  inodes_[session] = inode;
  if (lockless) lockless_.insert(session);
  if (const absl::StatusOr<bool> present = RefreshFile(); !present.ok()) {
    SetError(present.status());
  }
}

void PrimaryDatabase::AddDirty(SessionId session, uint64_t offset, uint64_t length) {
  MutexLock lock(mu_);
  sessions_[session].Add(offset, length);
  prepared_for_.reset();
}

void PrimaryDatabase::AddEverything(SessionId session) {
  MutexLock lock(mu_);
  sessions_[session].AddEverything();
  prepared_for_.reset();
}

// What a commit of this session has to compare.  Whoever commits holds the database exclusively,
// so the suspects can be decided with it.
const DirtyRanges& PrimaryDatabase::Claimed(SessionId session) {
  claimed_ = suspects_;
  claimed_.Merge(sessions_[session]);
  return claimed_;
}

// why: the transaction is made by comparing; else "".
absl::StatusOr<bool> PrimaryDatabase::PrepareRanges(const DirtyRanges& ranges,
                                                    std::string_view why) {
  ASSIGN_OR_RETURN(const bool present, RefreshFile());
  if (!present) return false;
  // A checkpoint's pages must be in the chain before they are compared.
  RETURN_IF_ERROR(CaptureLocked());
  ASSIGN_OR_RETURN(const sqlite::DbHeader header, file_.ReadHeader());
  prepared_counter_.reset();
  if (!header.wal) prepared_counter_ = header.change_counter;
  Chain::NewState state{.page_bytes = header.page_bytes};
  if (wal_->size_pages() != 0 && wal_->page_bytes() == header.page_bytes) {
    state.size_pages = wal_->size_pages();
    wal_->DescribePosition(&state);
  } else {
    ASSIGN_OR_RETURN(state.size_pages, file_.SizePages(header));
  }
  const bool missed = MissedCommit(header);
  prepared_reason_ = replaced_ ? "the file was replaced"
                     : missed  ? "a program without the shim has written"
                               : why;
  if (missed || replaced_) suspects_.AddEverything();
  // Also what has become suspect just now, by what was captured above.
  compared_ = ranges;
  compared_.Merge(suspects_);
  compared_.Pages(state.page_bytes, state.size_pages, &pages_);
  const auto read_page = [this](ltx::PageNo pgno, std::span<std::byte> page)
                             REQUIRES(mu_) { return wal_->ReadPage(pgno, page); };
  const auto read_pages = [this, &state](ltx::PageNo first, std::span<std::byte> pages) REQUIRES(
                              mu_) { return wal_->ReadPages(first, state.page_bytes, pages); };
  absl::StatusOr<bool> changed = chain_->Prepare(pages_, state, read_page, read_pages);
  if (pages_.capacity() > kKeptPages) std::vector<ltx::PageNo>().swap(pages_);
  return changed;
}

// Whether the change counter has moved further than the one transaction that is being captured:
// each in a rollback mode adds one, or nothing after the first of an app that keeps EXCLUSIVE.
bool PrimaryDatabase::MissedCommit(const sqlite::DbHeader& header) const {
  if (wal_mode_ || !captured_counter_.has_value()) return false;
  const uint32_t step = header.change_counter - *captured_counter_;
  return step > 1;
}

absl::Status PrimaryDatabase::PublishPrepared() {
  if (!chain_->prepared()) return absl::OkStatus();
  RETURN_IF_ERROR(chain_->Publish());
  NotePublished();
  const absl::StatusOr<LtxFileRef> last = chain_->log().Last();
  if (!prepared_reason_.empty()) {
    ++counters_.reconciled;
    LogInfo("reconcile", fmt::format("db={} position={} pages={} why=\"{}\"", name(),
                                     ltx::FormatPosition(last->end()),
                                     chain_->prepared_changes().size(), prepared_reason_));
  }
  if (options_.on_commit) options_.on_commit(name(), last->min_txid, last->max_txid);
  return absl::OkStatus();
}

void PrimaryDatabase::NotePublished() {
  NoteChanges(chain_->prepared_changes());
  const absl::StatusOr<LtxFileRef> last = chain_->log().Last();
  CHECK(last.ok());
  counters_.Add({.transactions = last->max_txid - last->min_txid + 1,
                 .files = 1,
                 .pages = chain_->prepared_changes().size(),
                 .bytes = last->size_bytes,
                 .deletions = IsDeletion(last->end()) ? 1U : 0U});
}

void PrimaryDatabase::NoteCaptured() {
  if (const absl::StatusOr<int64_t> mtime = file_.ModifiedNs(); mtime.ok()) {
    captured_mtime_ns_ = *mtime;
  }
  captured_counter_ = prepared_counter_;
}

// A file that is gone, or emptied, for a while was deleted.
PrimaryDatabase::Look PrimaryDatabase::LookAtAbsentFile() {
  if (chain_->log().tip().txid == 0 || chain_->deleted()) return {};
  const absl::StatusOr<bool> present = RefreshFile();
  if (!present.ok()) SetError(present.status());
  if (!present.ok() || *present) return {.again = true};
  if (options_.clock->Boot() - absent_since_ < kDeletionGrace) return {.again = true};
  if (const int holder = file_.is_open() ? sqlite::ExclusiveHolder(file_.fd()) : 0; holder != 0) {
    return {.locked_by = holder};
  }
  const absl::Status status = CaptureDeletion();
  SetError(status);
  return {.again = !status.ok()};
}

absl::Status PrimaryDatabase::CaptureDeletion() {
  ASSIGN_OR_RETURN(const bool deleted, chain_->PrepareDeletion());
  if (!deleted) return absl::OkStatus();
  prepared_for_.reset();
  prepared_reason_ = "";
  const ltx::Position before = chain_->log().tip();
  RETURN_IF_ERROR(PublishPrepared());
  RETURN_IF_ERROR(wal_->Resume(/*to_end=*/true));
  ClearSuspects();
  LogInfo("capture",
          fmt::format("db={} position={} deleted; the chain has it at {}", name(),
                      ltx::FormatPosition(chain_->log().tip()), ltx::FormatPosition(before)));
  return absl::OkStatus();
}

absl::StatusOr<ltx::Checksum> PrimaryDatabase::FileChecksumOfPage1() {
  MutexLock lock(mu_);
  ASSIGN_OR_RETURN(const bool present, RefreshFile());
  if (!present && absent_since_.count() == 0) return NoDatabase();
  if (!present) return absl::NotFoundError("no database");
  return FileChecksumOfPage1Locked();
}

absl::StatusOr<ltx::Checksum> PrimaryDatabase::FileChecksumOfPage1Locked() {
  ASSIGN_OR_RETURN(const sqlite::DbHeader header, file_.ReadHeader());
  page_.resize(header.page_bytes);
  RETURN_IF_ERROR(file_.ReadPage(1, page_));
  return ltx::PageChecksum(1, page_);
}

// Whether page 1, through the WAL, is the last captured transaction's.  Every commit in a rollback
// mode changes it (the change counter), and a copy or another database hardly has the same.
bool PrimaryDatabase::MatchesPage1() {
  const uint32_t page_bytes = chain_->table().page_bytes();
  if (!chain_->table_valid() || replaced_ || chain_->table().size_pages() == 0) return false;
  page_.resize(page_bytes);
  return wal_->ReadPage(1, page_).ok() && ltx::PageChecksum(1, page_) == chain_->table().Get(1);
}

void PrimaryDatabase::Suspect(SessionId session) {
  suspects_.Merge(sessions_[session]);
  sessions_[session].Clear();
  prepared_for_.reset();
}

void PrimaryDatabase::Prepare(SessionId session) {
  MutexLock lock(mu_);
  if (pending_.has_value()) return;  // Commit will do it all
  if (HasLostItsName(session)) return;
  const absl::StatusOr<bool> changed = PrepareRanges(Claimed(session), "");
  prepared_for_.reset();
  if (changed.ok()) {
    prepared_for_ = session;
  } else {
    chain_->Discard();
  }
}

absl::Status PrimaryDatabase::Commit(SessionId session, bool recheck) {
  MutexLock lock(mu_);
  if (pending_.has_value() && *pending_ != session) {
    // Its Done was looked for and is not there: its process must be gone, or SQLite's lock broken.
    Suspect(*pending_);
    pending_.reset();
    chain_->Discard();
  }
  if (HasLostItsName(session)) {
    sessions_[session].Clear();
    if (prepared_for_ == session) prepared_for_.reset();
    return absl::OkStatus();
  }
  if (recheck) {
    // An app in trouble lets go of its lock with a hot journal behind it: nothing is committed.
    ASSIGN_OR_RETURN(const bool hot, sqlite::JournalHasContent(options_.path));
    if (hot) {
      Suspect(session);
      return absl::OkStatus();
    }
  }
  // Nothing was written since Prepare, and nothing is in doubt: it is as prepared.
  if (prepared_for_ != session || !suspects_.empty()) {
    const absl::StatusOr<bool> changed = PrepareRanges(Claimed(session), "");
    if (!changed.ok()) {
      SetError(changed.status());
      if (recheck) {
        Suspect(session);  // nobody can be told: keep at it
      } else {
        ++counters_.refused;
      }
      return changed.status();
    }
  }
  prepared_for_.reset();
  if (recheck) {
    RETURN_IF_ERROR(PublishPrepared());
    sessions_[session].Clear();
    ClearSuspects();
    NoteCaptured();
    SetError(absl::OkStatus());
    HoldRings();
    return absl::OkStatus();
  }
  pending_ = session;
  // What is compared is the session's now: what becomes suspect until its Done is not.
  sessions_[session].Merge(suspects_);
  suspects_.Clear();
  return absl::OkStatus();
}

bool PrimaryDatabase::HasPreparedChange() {
  MutexLock lock(mu_);
  return chain_->prepared();
}

void PrimaryDatabase::Done(SessionId session, int error) {
  MutexLock lock(mu_);
  if (pending_ != session) return;
  pending_.reset();
  absl::Status status;
  if (error == 0) {
    status = PublishPrepared();
  } else {
    status = absl::AbortedError(fmt::format("the app's commit failed: errno {}", error));
  }
  if (status.ok()) {
    replaced_ = false;
    sessions_[session].Clear();
    NoteCaptured();
    chain_->log().MakeTemporary();
  } else {
    chain_->Discard();
    Suspect(session);
  }
  SetError(error == 0 ? status : absl::OkStatus());
  // Another app may have committed by its ring since.
  if (!rings_.empty()) (void)CaptureLocked();
}

void PrimaryDatabase::SessionEnded(SessionId session) {
  MutexLock lock(mu_);
  if (pending_ == session) {
    pending_.reset();
    chain_->Discard();
  }
  if (leaving_ == session) wal_->Reopen();
  const std::optional<bool> untold = EndRing(session);
  Suspect(session);
  sessions_.erase(session);
  inodes_.erase(session);
  lockless_.erase(session);
  // Ranges that the process noted and never sent died with it.
  const absl::StatusOr<bool> present = RefreshFile();
  if (!present.ok() || !*present) return;
  if (wal_mode_) {
    // Its checkpoint before the WAL's end, announced by Drain, is not a stranger's doing.
    if (wal_->ended_as_announced()) NoteCaptured();
    return;
  }
  const absl::StatusOr<int64_t> mtime = file_.ModifiedNs();
  const bool touched = mtime.ok() && *mtime != captured_mtime_ns_;
  // While others write, the time tells nothing of one that has a ring.
  const bool tells = !untold.has_value() || sessions_.empty();
  if (untold.value_or(false) || (tells && touched)) suspects_.AddEverything();
  HoldRings();
}

std::optional<SessionId> PrimaryDatabase::pending_session() {
  MutexLock lock(mu_);
  return pending_;
}

// What apps have committed without asking: by their rings, and in the WAL.
absl::Status PrimaryDatabase::CaptureLocked() {
  if (pending_.has_value()) return absl::OkStatus();  // a prepared transaction awaits its outcome
  absl::Status status = CaptureRings();
  if (status.ok()) {
    status = CaptureWalLocked();
  } else {
    wal_retry_ = true;
  }
  HoldRings();
  return status;
}

absl::Status PrimaryDatabase::CaptureWalLocked() {
  prepared_for_.reset();
  if (!chain_->table_valid() || replaced_) {
    suspects_.AddEverything();
    // A log of another file says nothing of this one's pages.
    return replaced_ ? wal_->Resume(/*to_end=*/true) : absl::OkStatus();
  }
  if (!file_.is_open()) {  // a WAL without a database
    wal_retry_ = false;
    return absl::OkStatus();
  }
  bool lost = false;
  const ltx::Position before = chain_->log().tip();
  const absl::StatusOr<int> files = wal_->Poll(&lost, [this]() REQUIRES(mu_) { NotePublished(); });
  wal_retry_ = !files.ok();
  if (lost) {
    LogWarn(
        "capture",
        fmt::format("db={} the WAL went back or was reset behind our back: comparing all", name()));
    suspects_.AddEverything();
  }
  const ltx::Position after = chain_->log().tip();
  if (after.txid != before.txid) {
    if (options_.on_commit) options_.on_commit(name(), before.txid + 1, after.txid);
    chain_->log().MakeTemporary();
  }
  return files.status();
}

bool PrimaryDatabase::HasWriter() {
  MutexLock lock(mu_);
  if (!file_.is_open()) return false;
  const absl::StatusOr<bool> reserved = sqlite::IsLocked(file_.fd(), sqlite::kReservedByte, 1);
  if (!reserved.ok() || *reserved) return true;
  const absl::StatusOr<UniqueFd> shm =
      OpenFile(options_.path + std::string(sqlite::kShmSuffix), O_RDONLY);
  if (!shm.ok()) return !absl::IsNotFound(shm.status());
  const absl::StatusOr<bool> writing = sqlite::IsLocked(shm->get(), sqlite::kShmWriteLock, 1);
  return !writing.ok() || *writing;
}

absl::Status PrimaryDatabase::CaptureWal() {
  MutexLock lock(mu_);
  if (!file_.is_open()) {
    RETURN_IF_ERROR(RefreshFile().status());
  } else {
    RETURN_IF_ERROR(OpenCurrentFile().status());
  }
  const absl::Status status = CaptureLocked();
  SetError(status);
  return status;
}

absl::Status PrimaryDatabase::Drain(SessionId session, bool is_last) {
  RETURN_IF_ERROR(CaptureWal());
  MutexLock lock(mu_);
  ++counters_.drains;
  ASSIGN_OR_RETURN(const bool more, wal_->MayHoldMore());
  if (more) suspects_.AddEverything();  // compared when the app lets go of its lock
  wal_->ExpectReset();
  if (!is_last) return absl::OkStatus();
  leaving_ = session;
  ASSIGN_OR_RETURN(const bool sure, wal_->ExpectEnd());
  // A transaction whose sync failed looks committed in the log, and is not in the file.
  if (!sure) wal_->AddPagesTo(&suspects_);
  return absl::OkStatus();
}

bool PrimaryDatabase::NeedsAttention() {
  MutexLock lock(mu_);
  return (!suspects_.empty() && file_.is_open() && !pending_.has_value()) || wal_retry_;
}

void PrimaryDatabase::Attend() {
  MutexLock lock(mu_);
  if (pending_.has_value()) return;
  if (wal_retry_) SetError(CaptureLocked());
  if (suspects_.empty()) return;
  const absl::Status status = ResolveSuspects(kJournalGraceMs);
  if (!absl::IsUnavailable(status)) SetError(status);
}

bool PrimaryDatabase::HasLocklessSession() {
  return std::any_of(lockless_.begin(), lockless_.end(),
                     [this](SessionId session) REQUIRES(mu_) { return !IsOfOtherFile(session); });
}

// Decides the suspects by content.  kUnavailable while an app holds its locks.
absl::Status PrimaryDatabase::ResolveSuspects(int64_t journal_grace_ms) {
  ASSIGN_OR_RETURN(const bool present, RefreshFile());
  if (!present) {
    suspects_.Clear();
    replaced_ = chain_->log().tip().txid != 0;  // whatever comes is compared
    return absent_since_.count() != 0 || !replaced_ ? absl::OkStatus() : NoDatabase();
  }
  if (HasLocklessSession()) return absl::UnavailableError("an app that takes no locks has it open");
  // An app that rolls a hot journal back itself holds EXCLUSIVE and waits for us to take that in.
  RETURN_IF_ERROR(sqlite::SharedLock::Take(file_.fd()).status());
  RETURN_IF_ERROR(SettleHotJournal(journal_grace_ms));
  ASSIGN_OR_RETURN(const sqlite::SharedLock lock, sqlite::SharedLock::Take(file_.fd()));
  // In WAL mode the shared lock keeps nobody from writing, only from leaving the mode.
  RETURN_IF_ERROR(CompareSuspects());
  ClearSuspects();
  NoteCaptured();
  SetError(absl::OkStatus());
  HoldRings();
  return absl::OkStatus();
}

// Only of a transaction that is dead for sure: while any app under the shim has the database open,
// or anybody the journal, the next reader decides, as ever in SQLite.  A young journal is given the
// time for one to come, but for the daemon's start: the chain has the state without it anyway.
absl::Status PrimaryDatabase::SettleHotJournal(int64_t grace_ms) {
  ASSIGN_OR_RETURN(const bool hot, sqlite::HasHotJournal(options_.path));
  if (!hot) return absl::OkStatus();
  if (!sessions_.empty()) return absl::UnavailableError("a hot journal, and apps to roll it back");
  ASSIGN_OR_RETURN(const bool open, sqlite::JournalIsOpen(options_.path));
  if (open) return absl::UnavailableError("a journal that a process has open");
  const int64_t age_ms = sqlite::JournalAgeMs(options_.path, options_.clock->WallMs());
  if (age_ms >= 0 && age_ms < grace_ms) {
    return absl::UnavailableError("a hot journal, and time for its app to come back");
  }
  return sqlite::Settle(options_.path);
}

// Compares under SHARED.  In WAL mode a checkpoint may meanwhile bring pages into the file that
// were committed after our position; so a difference counts only if nothing was committed since it
// was seen.  In rollback modes the first round is the last.
absl::Status PrimaryDatabase::CompareSuspects() {
  const std::string_view why = suspects_.everything()
                                   ? "the database is not as the chain and the apps have it"
                                   : "an app has ended in mid-transaction";
  for (int round = 0; round < kReconcileRounds; ++round) {
    if (!chain_->table_valid() || replaced_) RETURN_IF_ERROR(wal_->Resume(/*to_end=*/true));
    const absl::StatusOr<bool> changed = PrepareRanges(suspects_, why);
    if (absl::IsAborted(changed.status())) continue;  // a page changed while it was read
    RETURN_IF_ERROR(changed.status());
    if (!*changed) return absl::OkStatus();
    ASSIGN_OR_RETURN(const bool newer, wal_->HasUncaptured());
    if (newer) continue;
    return PublishPrepared();
  }
  return absl::UnavailableError("the database changes faster than it can be compared");
}

DatabaseInfo PrimaryDatabase::Info() {
  MutexLock lock(mu_);
  return {.position = chain_->position(),
          .size_pages = chain_->table().size_pages(),
          .page_bytes = chain_->table().page_bytes(),
          .wal = wal_mode_,
          .deleted = chain_->deleted(),
          .ltx_files = chain_->log().file_count(),
          .ltx_bytes = chain_->log().size_bytes(),
          .counters = counters_,
          .error = error_};
}

}  // namespace litefs::db
