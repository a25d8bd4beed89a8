// What a primary's database does for a replica that writes it (docs/FORWARDING.md): halted, it
// holds SQLite's write lock for the replica, and takes the transactions that this one makes.

#include <fmt/format.h>

#include "common/log.h"
#include "common/posix_io.h"
#include "common/status_macros.h"
#include "daemon/db/checked_source.h"
#include "daemon/db/primary_database.h"
#include "ltx/decoder.h"

namespace litefs::db {
namespace {

absl::Status Doubtful(const absl::Status& why) {
  return absl::DeadlineExceededError("it will be found by comparing whether it is made: " +
                                     std::string(why.message()));
}

}  // namespace

absl::StatusOr<ltx::Position> PrimaryDatabase::Halt() {
  MutexLock lock(mu_);
  if (halted_file_ != nullptr) return chain_->position();
  if (pending_.has_value()) return absl::UnavailableError(name() + ": a commit is under way");
  if (HasLocklessSession()) {
    return absl::FailedPreconditionError(name() + ": an app that takes no locks has it open");
  }
  ASSIGN_OR_RETURN(const bool present, RefreshFile());
  if (!present && absent_since_.count() == 0) return NoDatabase();
  ASSIGN_OR_RETURN(auto file,
                   ReplicaFile::Open({.path = options_.path,
                                      .temporary_directory = options_.temporary_directory,
                                      .checkpoints = false}));
  RETURN_IF_ERROR(CheckCaptured(present));
  halted_file_ = std::move(file);
  return chain_->position();
}

// Nobody writes.  All that was committed must be in the chain: a session's word may be on its way,
// or a stranger's change not yet seen.
absl::Status PrimaryDatabase::CheckCaptured(bool present) {
  if (!present) {
    const bool nothing = chain_->log().tip().txid == 0 || chain_->deleted();
    return nothing ? absl::OkStatus() : absl::UnavailableError(name() + " has just gone");
  }
  RETURN_IF_ERROR(CaptureLocked());
  ASSIGN_OR_RETURN(const bool newer, wal_->HasUncaptured());
  const bool captured = suspects_.empty() && !newer && MatchesPage1();
  return captured ? absl::OkStatus()
                  : absl::UnavailableError(name() + ": what was committed is being captured");
}

void PrimaryDatabase::EndHalt() {
  MutexLock lock(mu_);
  halted_file_.reset();
}

absl::StatusOr<ltx::Position> PrimaryDatabase::AcceptForwarded(UniqueFd fd, bool sync) {
  MutexLock lock(mu_);
  if (halted_file_ == nullptr) return absl::FailedPreconditionError(name() + " is not halted");
  ASSIGN_OR_RETURN(ltx::FdSource received,
                   ltx::FdSource::Open(fd.get(), "a forwarded transaction"));
  ASSIGN_OR_RETURN(const ltx::FileInfo info, ltx::VerifyFile(received));
  const ltx::Header& header = info.header;
  const ltx::Position before = chain_->position();
  const ltx::Checksum wanted = before.txid == 0 ? 0 : before.checksum;
  if (header.min_txid != before.txid + 1 || header.max_txid != header.min_txid ||
      header.pre_apply != wanted || !header.has_checksums()) {
    return absl::FailedPreconditionError(fmt::format(
        "{}: {} does not follow {}", name(), ltx::FormatFileName(header.min_txid, header.max_txid),
        ltx::FormatPosition(before)));
  }
  if (header.commit == 0) return absl::InvalidArgumentError("a deletion cannot be forwarded");
  LtxPageSource source;
  RETURN_IF_ERROR(source.Add(std::move(fd), "a forwarded transaction"));
  source.Finish();
  RETURN_IF_ERROR(Write(source));
  const ltx::Position end{header.max_txid, info.trailer.post_apply};
  if (const absl::Status status = CaptureForwarded(source, end, sync); !status.ok()) {
    // It is in the file all the same: compare, and trust nothing of the log.
    suspects_.AddEverything();
    wal_->Resume(/*to_end=*/true).IgnoreError();
    return Doubtful(status);
  }
  NoteCaptured();
  chain_->log().MakeTemporary();
  CheckpointHalted();
  return end;
}

// As any other: the pages that differ from the table.
absl::Status PrimaryDatabase::CaptureForwarded(const LtxPageSource& source,
                                               const ltx::Position& end, bool sync) {
  if (sync && halted_file_->wal() != nullptr) RETURN_IF_ERROR(halted_file_->wal()->Sync());
  const uint32_t page_bytes = source.last().page_bytes;
  DirtyRanges ranges;
  for (size_t i = 0; i < source.count(); ++i) {
    ranges.Add(uint64_t{source.pgno(i) - 1} * page_bytes, page_bytes);
  }
  ASSIGN_OR_RETURN(const bool changed, PrepareRanges(ranges, ""));
  if (changed) RETURN_IF_ERROR(PublishPrepared());
  if (chain_->position() == end) return absl::OkStatus();
  return absl::InternalError(fmt::format("{}: a forwarded transaction led to {}", name(),
                                         ltx::FormatPosition(chain_->position())));
}

// Only what is in the chain: a checkpoint may restart the log, and what is not captured by then is
// not found in it any more.
void PrimaryDatabase::CheckpointHalted() {
  if (!halted_file_->IsCheckpointDue()) return;
  wal_->ExpectReset();
  if (const absl::Status status = halted_file_->Checkpoint(); !status.ok()) {
    LogWarn("forward",
            fmt::format("checkpoint db={} error=\"{}\"", name(), std::string(status.message())));
  }
  NoteCaptured();  // the file's time has changed
}

// As SQLite would, under the locks of the halt.
absl::Status PrimaryDatabase::Write(LtxPageSource& source) {
  const ltx::Header& header = source.last();
  const bool replace =
      chain_->position().txid == 0 || chain_->table().page_bytes() != header.page_bytes;
  std::vector<PageChange> changes;
  CheckedSource checked(&source, &chain_->table(), replace, &changes);
  RETURN_IF_ERROR(checked.Check());
  RETURN_IF_ERROR(CaptureLocked());
  wal_->ExpectReset();  // what has been captured may be overwritten
  const absl::Status status = halted_file_->Apply(checked, header.page_bytes, header.commit);
  if (status.ok()) return absl::OkStatus();
  // Whether it is there is found out by comparing, once somebody has settled what may be a hot
  // journal.
  if (absl::IsUnavailable(status)) return status;
  suspects_.AddEverything();
  halted_file_.reset();
  return Doubtful(status);
}

}  // namespace litefs::db
