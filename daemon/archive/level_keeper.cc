#include "daemon/archive/level_keeper.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "common/hex.h"
#include "common/log.h"
#include "common/posix_io.h"
#include "common/status_macros.h"
#include "daemon/archive/fetcher.h"
#include "daemon/archive/restore_plan.h"
#include "daemon/archive/restorer.h"
#include "daemon/archive/seeder.h"

namespace litefs::archive {
namespace {

constexpr int64_t kRetryMs = 30'000;
constexpr int64_t kClosingMs = 2000;  // after a window's end
constexpr int kNice = 10;             // the app comes first

// The parts of opened that have the page size of the first part of all.
absl::StatusOr<bool> HasPageSize(const OpenedFile& opened, uint32_t* page_bytes) {
  for (ltx::ByteSource* part : opened.parts()) {
    ASSIGN_OR_RETURN(const auto decoder, ltx::Decoder::Open(part));
    if (*page_bytes == 0) *page_bytes = decoder->header().page_bytes;
    if (decoder->header().page_bytes != *page_bytes) return false;
  }
  return true;
}

}  // namespace

void LevelKeeper::Start() {
  thread_ = std::thread([this] { Run(); });
}

void LevelKeeper::Stop() {
  stopping_ = true;
  {
    MutexLock lock(mu_);
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

std::string LevelKeeper::last_error() const {
  MutexLock lock(mu_);
  return last_error_;
}

// A database that has not been looked at yet is looked at now, another when the window of the new
// file may be closed: each look costs a pass over the listing.
void LevelKeeper::Added(const std::string& database) {
  const LevelPolicy& policy = options_.policy;
  const int64_t window_ms =
      (policy.windows.empty() ? policy.snapshot_every : policy.windows[0]).count();
  const int64_t now = options_.clock->WallMs();
  MutexLock lock(mu_);
  const auto [due, is_new] = due_ms_.emplace(database, now);
  if (!is_new && due->second <= now + window_ms + kClosingMs) return;
  if (!is_new) due->second = now + window_ms + kClosingMs;
  changed_.NotifyAll();
}

void LevelKeeper::Run() {
  ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), kNice);
  while (!stopping_) {
    WorkAll();
    MutexLock lock(mu_);
    if (stopping_) return;
    if (due_ms_.empty()) {
      changed_.Wait(mu_);
      continue;
    }
    int64_t next = due_ms_.begin()->second;
    for (const auto& [database, due_ms] : due_ms_) next = std::min(next, due_ms);
    const int64_t wait_ms = next - options_.clock->WallMs();
    if (wait_ms <= 0) continue;
    changed_.WaitUntil(mu_, std::chrono::steady_clock::now() + std::chrono::milliseconds(wait_ms));
  }
}

void LevelKeeper::WorkAll() {
  std::vector<std::string> due;
  {
    MutexLock lock(mu_);
    const int64_t now = options_.clock->WallMs();
    for (auto entry = due_ms_.begin(); entry != due_ms_.end();) {
      if (entry->second > now) {
        ++entry;
        continue;
      }
      due.push_back(entry->first);
      entry = due_ms_.erase(entry);
    }
  }
  for (const std::string& database : due) {
    if (stopping_) return;
    const absl::StatusOr<std::optional<int64_t>> next = Work(database);
    if (!next.ok() && !stopping_) {
      LogWarn("archive", fmt::format("db={} levels: {}", database, next.status().ToString()));
    }
    MutexLock lock(mu_);
    last_error_ = next.ok() ? "" : std::string(next.status().message());
    const std::optional<int64_t> at =
        next.ok() ? *next : std::make_optional(options_.clock->WallMs() + kRetryMs);
    if (!at) continue;
    const auto [entry, is_new] = due_ms_.emplace(database, *at);
    if (!is_new) entry->second = std::min(entry->second, *at);
  }
}

absl::StatusOr<std::optional<int64_t>> LevelKeeper::Work(const std::string& database) {
  if (options_.may_write) {
    ASSIGN_OR_RETURN(const bool may_write, options_.may_write(database));
    if (!may_write) return std::nullopt;
  }
  while (!stopping_) {
    const std::vector<ArchiveFile> files = options_.listing->Files(database);
    const Due due = WhatIsDue(files, options_.policy, options_.clock->WallMs(), unreadable_);
    for (const Compaction& compaction : due.compactions) {
      if (stopping_) return std::nullopt;
      RETURN_IF_ERROR(Compact(compaction));
    }
    if (!due.compactions.empty()) continue;
    if (due.snapshot) {
      RETURN_IF_ERROR(Snapshot(database, files));
      continue;
    }
    ASSIGN_OR_RETURN(const std::optional<int64_t> next, Prune(database));
    if (!due.next_ms || !next) return due.next_ms ? due.next_ms : next;
    return std::min(*due.next_ms, *next);
  }
  return std::nullopt;
}

// The local copy, or else what the store has.
absl::StatusOr<std::unique_ptr<OpenedFile>> LevelKeeper::OpenInput(const ArchiveFile& file) {
  if (absl::StatusOr<UniqueFd> copy = options_.spool->Open(file); copy.ok()) {
    ArchiveFile local = file;
    local.encrypted = false;
    auto opened = OpenedFile::Open(*std::move(copy), local, *options_.keys);
    if (opened.ok()) return opened;
    options_.spool->Drop(file);
  }
  if (file.encrypted && options_.keys->identities.empty()) {
    return absl::PermissionDeniedError(file.name + ": there is no key here to read it");
  }
  ASSIGN_OR_RETURN(UniqueFd fd, TemporaryFile(options_.spool->directory()));
  ASSIGN_OR_RETURN(const uint64_t size, options_.store->GetToFile(file.name, fd.get()));
  if (size != file.size_bytes) return absl::DataLossError(file.name + ": has another size");
  return OpenedFile::Open(std::move(fd), file, *options_.keys);
}

absl::Status LevelKeeper::Compact(Compaction compaction) {
  std::vector<std::unique_ptr<OpenedFile>> opened;
  std::vector<ltx::ByteSource*> parts;
  uint32_t page_bytes = 0;
  for (const ArchiveFile& input : compaction.inputs) {
    absl::StatusOr<std::unique_ptr<OpenedFile>> file = OpenInput(input);
    absl::StatusOr<bool> fits = file.ok() ? HasPageSize(**file, &page_bytes) : file.status();
    // One whose page size changes within, or differs from the ones before, is no input with them.
    if (fits.ok() && !*fits && !opened.empty()) break;
    if (!fits.ok() || !*fits) {
      if (absl::IsUnavailable(fits.status()) || absl::IsCancelled(fits.status())) {
        return fits.status();
      }
      unreadable_.insert(input.name);
      LogWarn("archive",
              fmt::format("{} stays as it is, and is compacted no further: {}", input.name,
                          fits.ok() ? "the page size changes in it" : fits.status().ToString()));
      if (opened.empty()) return absl::OkStatus();
      break;
    }
    for (ltx::ByteSource* part : (*file)->parts()) parts.push_back(part);
    opened.push_back(*std::move(file));
  }
  const ArchiveFile& first = opened.front()->file();
  ArchiveFile result = opened.back()->file();
  result.level = compaction.level;
  result.min_txid = first.min_txid;
  result.before = first.before;
  result.bundle = false;
  for (const auto& input : opened) result.epoch = std::max(result.epoch, input->file().epoch);
  absl::Status status = PutMerged(parts, result);
  if (absl::IsDataLoss(status)) {
    // Perhaps a local copy is at fault; then the next attempt reads the archive's.
    for (const auto& input : opened) options_.spool->Drop(input->file());
  }
  RETURN_IF_ERROR(status);
  for (const auto& input : opened) options_.spool->Drop(input->file());
  ++compactions_;
  return absl::OkStatus();
}

absl::Status LevelKeeper::PutMerged(const std::vector<ltx::ByteSource*>& parts,
                                    const ArchiveFile& wanted) {
  ArchiveFile result = wanted;
  ASSIGN_OR_RETURN(const std::string path,
                   options_.spool->TemporaryPath(result.database, "compaction"));
  ASSIGN_OR_RETURN(const ltx::FileInfo info, WriteMerged(parts, path, !options_.litestream));
  const bool right = options_.litestream ||
                     LinkOf({info.header.max_txid, info.trailer.post_apply}) == result.after;
  if (info.header.min_txid != result.min_txid || info.header.max_txid != result.max_txid ||
      !right) {
    return absl::DataLossError(fmt::format("{}..{}: the files are not what their names say",
                                           Hex16(result.min_txid), Hex16(result.max_txid)));
  }
  RETURN_IF_ERROR(options_.writer->Put(path, &result));
  const bool is_input = static_cast<size_t>(result.level) < options_.policy.windows.size();
  if (is_input) {
    RETURN_IF_ERROR(options_.spool->Keep(path, result));
  } else {
    ::unlink(path.c_str());
  }
  options_.listing->Add(result);
  return absl::OkStatus();
}

absl::Status LevelKeeper::Snapshot(const std::string& database,
                                   const std::vector<ArchiveFile>& files) {
  const bool readable = !options_.writer->encrypts() || !options_.keys->identities.empty();
  if (!readable) return SnapshotFromDatabase(database);
  return SnapshotFromArchive(database, files);
}

absl::Status LevelKeeper::SnapshotFromArchive(const std::string& database,
                                              const std::vector<ArchiveFile>& files) {
  ASSIGN_OR_RETURN(const RestorePlan plan, PlanRestore(files, {}));
  ArchiveFile result = plan.files.back();
  ASSIGN_OR_RETURN(const std::string content, options_.spool->TemporaryPath(database, "content"));
  ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile(content, O_RDWR | O_CREAT | O_TRUNC, 0600));
  ASSIGN_OR_RETURN(const Restored restored,
                   Restore(plan,
                           {.store = options_.store,
                            .keys = options_.keys,
                            .temporary_directory = options_.spool->directory(),
                            .threads = 2,
                            .progress = nullptr},
                           fd.get(), content));
  ASSIGN_OR_RETURN(const std::string path, options_.spool->TemporaryPath(database, "snapshot"));
  ASSIGN_OR_RETURN(const UniqueFd out, OpenFile(path, O_RDWR | O_CREAT | O_TRUNC, 0600));
  ltx::FdSink sink(out.get(), path);
  ASSIGN_OR_RETURN(const ltx::FileInfo info,
                   EncodeSnapshot(content, restored, !options_.litestream, &sink));
  RETURN_IF_ERROR(sink.Flush());
  ::unlink(content.c_str());
  if (info.trailer.post_apply != restored.position.checksum) {
    return absl::DataLossError(database + ": the snapshot has another checksum than its source");
  }
  result.level = kSnapshotLevel;
  result.min_txid = 1;
  result.before = 0;
  result.bundle = false;
  RETURN_IF_ERROR(options_.writer->Put(path, &result));
  ::unlink(path.c_str());
  options_.listing->Add(result);
  LogInfo("archive", fmt::format("db={} snapshot txid={} to {}", database, Hex16(result.max_txid),
                                 options_.store->Describe()));
  return absl::OkStatus();
}

absl::Status LevelKeeper::SnapshotFromDatabase(const std::string& database) {
  db::LtxFileRef ref;
  ASSIGN_OR_RETURN(const UniqueFd fd, options_.source->Snapshot(database, &ref));
  ArchiveFile result{.database = database,
                     .level = kSnapshotLevel,
                     .min_txid = 1,
                     .max_txid = ref.max_txid,
                     .after = LinkOf(ref.end()),
                     .timestamp_ms = ref.timestamp_ms};
  for (const ArchiveFile& file : options_.listing->Files(database)) {
    result.epoch = std::max(result.epoch, file.epoch);
  }
  RETURN_IF_ERROR(options_.writer->Put(fmt::format("/proc/self/fd/{}", fd.get()), &result));
  options_.listing->Add(result);
  LogInfo("archive", fmt::format("db={} snapshot txid={} to {}", database, Hex16(result.max_txid),
                                 options_.store->Describe()));
  return absl::OkStatus();
}

absl::StatusOr<std::optional<int64_t>> LevelKeeper::Prune(const std::string& database) {
  const std::vector<ArchiveFile> files = options_.listing->Files(database);
  const Expired expired = WhatHasExpired(files, options_.policy, options_.clock->WallMs());
  if (!expired.files.empty()) {
    std::vector<std::string> names;
    for (const ArchiveFile& file : expired.files) names.push_back(file.name);
    RETURN_IF_ERROR(options_.store->Delete(names));
    options_.listing->Remove(expired.files);
    for (const ArchiveFile& file : expired.files) options_.spool->Drop(file);
  }
  return expired.next_ms;
}

}  // namespace litefs::archive
