// What a replica's database does for local apps that write it (docs/FORWARDING.md).  While it is
// lent the apps' own SQLite holds the write lock by turns; what they are about to commit is made
// into the chain's next transaction, which the primary accepts or not.

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>

#include "common/log.h"
#include "common/posix_io.h"
#include "common/sqlite_format.h"
#include "common/status_macros.h"
#include "daemon/db/replica_database.h"
#include "daemon/sqlite/wal_format.h"
#include "ltx/page_checksum.h"

namespace litefs::db {

absl::Status ReplicaDatabase::Lend(const ltx::Position& at) {
  MutexLock lock(mu_);
  if (loan_) return absl::OkStatus();
  RETURN_IF_ERROR(OpenFile());
  if (needs_snapshot_ || chain_->position() != at || chain_->log().tip() != at) {
    return absl::UnavailableError(fmt::format("{} is at {}, not yet at {}", name(),
                                              ltx::FormatPosition(chain_->position()),
                                              ltx::FormatPosition(at)));
  }
  Loan loan{.file = DatabaseFile(options_.path), .counter = {}, .prepared_counter = {}};
  bool replaced = false;
  if (const absl::Status opened = loan.file.Refresh(&replaced); opened.ok()) {
    const absl::StatusOr<sqlite::DbHeader> header = loan.file.ReadHeader();
    if (header.ok() && !header->wal) loan.counter = header->change_counter;
  }
  if (const absl::Status status = file_->Lend(); !status.ok()) {
    file_.reset();  // what it holds is not known
    return status;
  }
  if (file_->wal() != nullptr) loan.frame = file_->wal()->max_frame();
  loan_.emplace(std::move(loan));
  return absl::OkStatus();
}

absl::Status ReplicaDatabase::MayForward() {
  if (!loan_) return absl::FailedPreconditionError(name() + " is not lent");
  chain_->Discard();
  if (chain_->log().tip() == chain_->position()) return absl::OkStatus();
  return absl::AbortedError(name() + ": another node has written meanwhile");
}

absl::StatusOr<std::optional<ReplicaDatabase::Pending>> ReplicaDatabase::PrepareForward(
    const DirtyRanges& ranges, bool sync, int64_t timestamp_ms) {
  MutexLock lock(mu_);
  RETURN_IF_ERROR(MayForward());
  if (file_->shape().wal) return std::optional<Pending>();  // a checkpoint's
  bool replaced = false;
  RETURN_IF_ERROR(loan_->file.Refresh(&replaced));
  const absl::StatusOr<sqlite::DbHeader> header = loan_->file.ReadHeader();
  if (absl::IsNotFound(header.status())) return std::optional<Pending>();  // empty
  RETURN_IF_ERROR(header.status());
  const bool strange = loan_->counter && header->change_counter - *loan_->counter > 1;
  if (replaced || strange) {
    loan_->doubtful = true;
    return absl::FailedPreconditionError(name() + ": a program without the shim has written");
  }
  loan_->prepared_counter = header->change_counter;
  loan_->enters_wal = header->wal;
  loan_->sync = sync;
  Chain::NewState state{.page_bytes = header->page_bytes, .timestamp_ms = timestamp_ms};
  ASSIGN_OR_RETURN(state.size_pages, loan_->file.SizePages(*header));
  std::vector<ltx::PageNo> pages;
  ranges.Pages(state.page_bytes, state.size_pages, &pages);
  return Prepare(pages, std::move(state),
                 [this](ltx::PageNo pgno, std::span<std::byte> page)
                     REQUIRES(mu_) { return loan_->file.ReadPage(pgno, page); });
}

absl::StatusOr<std::optional<ReplicaDatabase::Pending>> ReplicaDatabase::PrepareForwardWal(
    const CommitFrame& last, bool sync, int64_t timestamp_ms) {
  MutexLock lock(mu_);
  RETURN_IF_ERROR(MayForward());
  if (file_->wal() == nullptr) return absl::FailedPreconditionError(name() + " has no log here");
  const uint32_t page_bytes = file_->shape().page_bytes;
  const uint64_t frame_bytes = sqlite::kWalFrameHeaderBytes + page_bytes;
  if (last.offset < sqlite::kWalHeaderBytes || last.size_pages == 0 ||
      (last.offset - sqlite::kWalHeaderBytes) % frame_bytes != 0) {
    return absl::InvalidArgumentError(name() + ": no frame begins there");
  }
  const auto frame =
      static_cast<uint32_t>((last.offset - sqlite::kWalHeaderBytes) / frame_bytes + 1);
  ASSIGN_OR_RETURN(ReplicaWal::Frames frames, file_->wal()->Uncommitted(frame - 1, page_bytes));
  // 0: an app has restarted the log, since all of it is in the database file.
  const uint32_t committed = file_->wal()->max_frame();
  if (committed != 0 && committed != loan_->frame) {
    loan_->doubtful = true;
    return absl::FailedPreconditionError(name() + ": a program without the shim has written");
  }
  frames[last.pgno] = frame;
  loan_->prepared_frame = frame;
  loan_->prepared_counter.reset();
  loan_->sync = sync;
  std::vector<ltx::PageNo> pages;
  for (const auto& [pgno, newest] : frames) {
    if (pgno <= last.size_pages) pages.push_back(pgno);
  }
  std::sort(pages.begin(), pages.end());
  const auto read_page = [&](ltx::PageNo pgno, std::span<std::byte> page)
                             REQUIRES(mu_) -> absl::Status {
    const auto newest = frames.find(pgno);
    if (newest != frames.end()) return file_->wal()->ReadFrame(newest->second, page);
    return loan_->file.ReadPage(pgno, page);  // growth that nobody wrote
  };
  return Prepare(
      pages,
      {.page_bytes = page_bytes, .size_pages = last.size_pages, .timestamp_ms = timestamp_ms},
      read_page);
}

absl::StatusOr<std::optional<ReplicaDatabase::Pending>> ReplicaDatabase::Prepare(
    std::span<const ltx::PageNo> candidates, Chain::NewState state,
    const Chain::ReadPage& read_page) {
  state.temporary = ForwardPath();
  ASSIGN_OR_RETURN(const bool changed, chain_->Prepare(candidates, state, read_page));
  if (!changed) return std::optional<Pending>();
  return Pending{.path = state.temporary, .file = chain_->prepared_file()};
}

// It may have come by the stream already.
absl::Status ReplicaDatabase::StoreForwarded() {
  MutexLock lock(receive_mu_);
  LtxFileRef file;
  bool sync = false;
  {
    MutexLock content(mu_);
    if (!loan_ || !chain_->prepared()) return absl::FailedPreconditionError("nothing is prepared");
    file = chain_->prepared_file();
    sync = loan_->sync;
  }
  if (chain_->log().TimeOf(file.end())) return absl::OkStatus();
  const ltx::Position tip = chain_->log().tip();
  const bool follows =
      tip.txid + 1 == file.min_txid && (tip.txid == 0 || tip.checksum == file.pre_apply);
  if (!follows) return absl::AbortedError(name() + ": another branch has come meanwhile");
  if (sync) {
    ASSIGN_OR_RETURN(const UniqueFd fd, litefs::OpenFile(ForwardPath(), O_RDONLY));
    RETURN_IF_ERROR(SyncData(fd.get(), ForwardPath()));
  }
  RETURN_IF_ERROR(chain_->Accept(ForwardPath(), file));
  Serve();
  return absl::OkStatus();
}

void ReplicaDatabase::FinishForward(int error) {
  MutexLock lock(mu_);
  if (!loan_ || !chain_->prepared()) return;
  const LtxFileRef file = chain_->prepared_file();
  const bool stored = chain_->log().TimeOf(file.end()).has_value();
  if (error != 0 || !stored) {
    loan_->doubtful = true;
    return chain_->Discard();
  }
  if (const absl::Status status = chain_->ApplyPrepared(); !status.ok()) {
    LogWarn("forward", fmt::format("db={} error=\"{}\"", name(), std::string(status.message())));
    loan_->doubtful = true;
    return;
  }
  if (loan_->prepared_counter) loan_->counter = loan_->prepared_counter;
  if (!loan_->prepared_counter) loan_->frame = loan_->prepared_frame;
  NoteChanges(chain_->prepared_changes());
  counters_.Add({.transactions = 1,
                 .files = 1,
                 .pages = chain_->prepared_changes().size(),
                 .bytes = file.size_bytes});
  Show();
  if (options_.on_commit) options_.on_commit(name(), file.min_txid, file.max_txid);
}

bool ReplicaDatabase::LoanIsOver() {
  MutexLock lock(mu_);
  return loan_ && loan_->enters_wal;
}

absl::Status ReplicaDatabase::TakeBack(bool known) {
  MutexLock lock(mu_);
  if (!loan_) return absl::OkStatus();
  const absl::Status status = file_->TakeBack();
  if (absl::IsUnavailable(status)) return status;
  chain_->Discard();
  const bool sure = known && !loan_->doubtful;
  const uint32_t frame = loan_->frame;
  loan_.reset();
  if (!status.ok()) {
    file_.reset();  // the next apply opens it, and looks what it is
    Show();
    return status;
  }
  absl::Status identified;
  if (!sure || !IsAsTold(frame)) identified = IdentifyContent();
  if (!identified.ok()) file_.reset();
  // Not before the look at what the apps have left: a checkpoint may restart the log.
  if (file_ != nullptr && file_->IsCheckpointDue()) file_->Checkpoint().IgnoreError();
  chain_->log().MakeTemporary();
  Show();
  return identified;
}

// Every commit in a rollback mode changes page 1, and in WAL mode the log's last frame is known.
bool ReplicaDatabase::IsAsTold(uint32_t frame) {
  const ReplicaFile::Shape shape = file_->shape();
  const PageChecksums& table = chain_->table();
  if (shape.size_pages != table.size_pages()) return false;
  if (shape.size_pages == 0) return true;
  if (shape.page_bytes != table.page_bytes()) return false;
  const uint32_t committed = file_->wal() == nullptr ? 0 : file_->wal()->max_frame();
  if (committed != 0 && frame != 0) return committed == frame;
  std::vector<std::byte> page(shape.page_bytes);
  return file_->ReadPage(1, page).ok() && ltx::PageChecksum(1, page) == table.Get(1);
}

}  // namespace litefs::db
