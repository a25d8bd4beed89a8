#include "daemon/archive/archive_follower.h"

#include <fmt/format.h>

#include <filesystem>

#include "common/clock.h"
#include "common/log.h"
#include "common/posix_io.h"
#include "common/status_macros.h"
#include "daemon/archive/catalog.h"
#include "daemon/archive/fetcher.h"
#include "daemon/archive/opened_file.h"
#include "daemon/archive/seeder.h"

namespace litefs::archive {
namespace {

constexpr uint64_t kChainBytes = 64 << 20;

}  // namespace

absl::StatusOr<std::unique_ptr<ArchiveFollower>> ArchiveFollower::Open(Options options) {
  std::unique_ptr<ArchiveFollower> follower(new ArchiveFollower(std::move(options)));
  const std::string control = follower->options_.path + ".litefs";
  RETURN_IF_ERROR(MakeDirectory(control, 0700));
  RETURN_IF_ERROR(MakeDirectory(control + "/tmp", 0700));
  follower->options_.restore.temporary_directory = control + "/tmp";
  std::string report;
  ASSIGN_OR_RETURN(follower->database_,
                   db::ReplicaDatabase::Open(
                       {.name = std::filesystem::path(follower->options_.path).filename().string(),
                        .path = follower->options_.path,
                        .control_directory = control,
                        .temporary_directory = control + "/tmp",
                        .clock = &SystemClock(),
                        .on_commit = nullptr},
                       &report));
  if (!report.empty()) LogWarn("archive", report);
  return follower;
}

absl::StatusOr<bool> ArchiveFollower::Advance() {
  std::string name = options_.database;
  ASSIGN_OR_RETURN(const DatabaseListing listing, ReadListing(*options_.restore.store, &name));
  const ltx::Position from = database_->stored_position();
  absl::StatusOr<RestorePlan> plan = from.txid == 0
                                         ? absl::NotFoundError("nothing here yet")
                                         : PlanContinuation(listing.files, from.txid, LinkOf(from));
  if (absl::IsNotFound(plan.status())) {
    RETURN_IF_ERROR(StartOver(listing.files));
    return true;
  }
  RETURN_IF_ERROR(plan.status());
  for (const ArchiveFile& file : plan->files) RETURN_IF_ERROR(TakeIn(file));
  RETURN_IF_ERROR(Apply());
  database_->Prune(0, kChainBytes, ~ltx::TxId{0});
  return !plan->files.empty();
}

// Whole, because nothing is here, or the archive's history is another one now.
absl::Status ArchiveFollower::StartOver(std::span<const ArchiveFile> files) {
  ASSIGN_OR_RETURN(const RestorePlan plan, PlanRestore(files, {}));
  uint64_t size = 0;
  ASSIGN_OR_RETURN(const UniqueFd snapshot,
                   RestoreAsSnapshot(plan, options_.restore, options_.path, &size));
  RETURN_IF_ERROR(database_->Receive(snapshot.get(), size).status());
  return Apply();
}

absl::Status ArchiveFollower::TakeIn(const ArchiveFile& file) {
  ASSIGN_OR_RETURN(UniqueFd fd, TemporaryFile(options_.restore.temporary_directory));
  RETURN_IF_ERROR(options_.restore.store->GetToFile(file.name, fd.get()).status());
  ASSIGN_OR_RETURN(const auto opened,
                   OpenedFile::Open(std::move(fd), file, *options_.restore.keys));
  for (ltx::ByteSource* part : opened->parts()) {
    const auto position = database_->Receive(*part);
    if (!position.ok()) return AboutFile(file, position.status());
  }
  return absl::OkStatus();
}

// kUnavailable: a reader is in the way; the next Advance goes on.
absl::Status ArchiveFollower::Apply() {
  while (database_->HasPending()) RETURN_IF_ERROR(database_->ApplyPending());
  return absl::OkStatus();
}

}  // namespace litefs::archive
