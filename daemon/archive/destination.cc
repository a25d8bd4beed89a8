#include "daemon/archive/destination.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fnmatch.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "common/hex.h"
#include "common/json_text.h"
#include "common/log.h"
#include "common/posix_io.h"
#include "common/status_macros.h"
#include "daemon/archive/bundle.h"
#include "daemon/archive/catalog.h"
#include "daemon/archive/lazy_store.h"
#include "daemon/archive/restore_plan.h"

namespace litefs::archive {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr uint64_t kMaxBatchBytes = 64 << 20;
constexpr size_t kMaxBatchFiles = 4096;
static_assert(kMaxBatchFiles <= kMaxBundleFiles);
constexpr std::chrono::milliseconds kFirstRetry{500};
constexpr std::chrono::milliseconds kLastRetry{60'000};
constexpr int kMaxClaims = 100;
constexpr uint64_t kMaxClaimBytes = 1024;
constexpr size_t kMaxIdentityBytes = 64 << 10;
constexpr std::chrono::seconds kUnfinishedAge = std::chrono::hours(24);

}  // namespace

// Neighbouring files of a chain.
struct Destination::Batch {
  std::vector<db::LtxFileRef> files;
  std::vector<UniqueFd> fds;
};

absl::StatusOr<crypto::AgeKeys> ReadKeys(const std::string& identity_file) {
  crypto::AgeKeys keys;
  if (identity_file.empty()) return keys;
  ASSIGN_OR_RETURN(const std::string text, ReadWholeFile(identity_file, kMaxIdentityBytes));
  ASSIGN_OR_RETURN(keys.identities, crypto::ParseIdentityFile(text, identity_file));
  return keys;
}

absl::StatusOr<std::unique_ptr<Destination>> Destination::Open(Options options) {
  std::unique_ptr<Destination> destination(new Destination(std::move(options)));
  const Options& opts = destination->options_;
  const ArchiveConfig& config = opts.config;
  // Wrong options are found now; what is not there yet is looked for until it is.
  absl::StatusOr<std::unique_ptr<ObjectStore>> store = OpenObjectStore(config.store);
  if (absl::IsInvalidArgument(store.status())) return store.status();
  destination->store_ = store.ok() ? *std::move(store) : std::make_unique<LazyStore>(config.store);
  ASSIGN_OR_RETURN(destination->spool_, Spool::Open(opts.spool_directory));
  ASSIGN_OR_RETURN(destination->keys_, ReadKeys(config.identity_file));
  if (!config.recipients.empty()) {
    destination->lock_.emplace();
    for (const std::string& text : config.recipients) {
      ASSIGN_OR_RETURN(const crypto::AgeRecipient recipient, crypto::AgeRecipient::Parse(text));
      destination->lock_->recipients.push_back(recipient);
    }
  }
  destination->writer_ =
      std::make_unique<ArchiveWriter>(destination->store_.get(), &*destination->spool_,
                                      destination->lock_ ? &*destination->lock_ : nullptr);
  Destination* const self = destination.get();
  destination->keeper_ = std::make_unique<LevelKeeper>(LevelKeeper::Options{
      .store = self->store_.get(),
      .spool = &*self->spool_,
      .writer = self->writer_.get(),
      .listing = &self->listing_,
      .source = opts.source,
      .keys = &self->keys_,
      .policy = config.levels,
      .litestream = config.litestream,
      .clock = opts.clock,
      .may_write = [self](const std::string& name) { return self->IsWriter(name); }});
  return destination;
}

void Destination::Start() {
  for (const std::string& name : options_.source->Databases()) Committed(name);
  keeper_->Start();
  thread_ = std::thread([this] { Run(); });
}

void Destination::Stop(std::chrono::milliseconds limit) {
  {
    MutexLock lock(mu_);
    if (!thread_.joinable()) return;
    stopping_ = true;
    changed_.NotifyAll();
    const auto deadline = SteadyClock::now() + limit;
    while (!stopped_ && changed_.WaitUntil(mu_, deadline)) {
    }
    if (!stopped_) {
      LogWarn("archive", fmt::format("destination={} what is not uploaded yet waits for the next "
                                     "start: {}",
                                     options_.config.name, last_error_));
    }
  }
  store_->Stop();
  keeper_->Stop();
  thread_.join();
}

bool Destination::Counts(const std::string& database) const {
  return std::any_of(
      options_.config.databases.begin(), options_.config.databases.end(),
      [&](const std::string& glob) { return ::fnmatch(glob.c_str(), database.c_str(), 0) == 0; });
}

void Destination::Committed(const std::string& database) {
  MutexLock lock(mu_);
  if (dirty_.contains(database) || !Counts(database)) return;
  if (dirty_.empty()) changed_.NotifyAll();
  dirty_.insert(database);
}

void Destination::Run() {
  std::set<std::string> work;
  (void)store_->SweepUnfinished(kUnfinishedAge);
  while (true) {
    const bool last = !WaitForWork(&work);
    if (last) {
      for (const std::string& name : options_.source->Databases()) {
        if (Counts(name)) work.insert(name);
      }
    }
    UploadAll(work);
    if (last) break;
  }
  MutexLock lock(mu_);
  stopped_ = true;
  changed_.NotifyAll();
}

// False: the last time.
bool Destination::WaitForWork(std::set<std::string>* work) {
  MutexLock lock(mu_);
  while (!stopping_ && (dirty_.empty() || SteadyClock::now() < not_before_)) {
    if (dirty_.empty()) {
      changed_.Wait(mu_);
    } else {
      changed_.WaitUntil(mu_, not_before_);
    }
  }
  work->swap(dirty_);
  dirty_.clear();
  return !stopping_;
}

void Destination::UploadAll(const std::set<std::string>& work) {
  const auto began = SteadyClock::now();
  std::set<std::string> again;
  std::string error;
  for (const std::string& name : work) {
    const absl::Status status = UploadDatabase(name);
    if (status.ok() || absl::IsCancelled(status)) continue;
    ++failures_;
    error = std::string(status.message());
    MutexLock lock(mu_);
    const bool is_new = databases_[name].error != error;
    databases_[name].error = error;
    if (databases_[name].writable) again.insert(name);
    if (is_new) {
      LogError("archive", fmt::format("destination={} db={} not archived: {}", options_.config.name,
                                      name, status.ToString()));
    }
    if (stopping_) break;
  }
  MutexLock lock(mu_);
  last_error_ = error;
  retries_ = again.empty() ? 0 : retries_ + 1;
  const auto pause = std::min(kLastRetry, kFirstRetry * (1 << std::min(retries_, 8)));
  not_before_ = again.empty() ? began + options_.config.interval : SteadyClock::now() + pause;
  dirty_.insert(again.begin(), again.end());
}

absl::Status Destination::UploadDatabase(const std::string& name) {
  const db::LtxLog* const log = options_.source->Log(name);
  if (log == nullptr) return absl::OkStatus();
  Database database;
  {
    MutexLock lock(mu_);
    database = databases_[name];
  }
  if (!database.writable) return absl::OkStatus();
  if (!database.listed) {
    RETURN_IF_ERROR(List(name, &database));
    RETURN_IF_ERROR(FindStart(name, *log, &database));
    SetState(name, database);
    keeper_->Added(name);
  }
  for (ltx::Position tip = log->tip(); tip.txid != 0 && database.archived != tip;
       tip = log->tip()) {
    RETURN_IF_ERROR(CheckEpoch(name, &database));
    absl::StatusOr<Batch> batch = database.archived ? CollectBatch(*log, *database.archived)
                                                    : absl::OutOfRangeError("a snapshot is needed");
    if (absl::IsNotFound(batch.status())) break;  // at the tip
    if (batch.ok()) {
      RETURN_IF_ERROR(UploadBatch(name, *batch, &database));
    } else if (absl::IsOutOfRange(batch.status())) {
      RETURN_IF_ERROR(UploadSnapshot(name, &database));
    } else {
      return batch.status();
    }
    database.error.clear();
    SetState(name, database);
    keeper_->Added(name);
  }
  database.error.clear();
  SetState(name, database);
  return absl::OkStatus();
}

void Destination::SetState(const std::string& name, const Database& database) {
  MutexLock lock(mu_);
  databases_[name] = database;
}

absl::Status Destination::List(const std::string& name, Database* database) {
  ASSIGN_OR_RETURN(Catalog catalog, ReadCatalog(*store_, name));
  DatabaseListing& listing = catalog[name];
  database->highest_epoch = std::max(database->highest_epoch, listing.epoch);
  for (const ArchiveFile& file : listing.files) {
    database->highest_epoch = std::max(database->highest_epoch, file.epoch);
    if (file.litestream == options_.config.litestream) continue;
    return absl::FailedPreconditionError(
        fmt::format("{} holds an archive in the other dialect ({}); give this one a place of its "
                    "own",
                    store_->Describe(), file.name));
  }
  spool_->DropOthers(name, listing.files);
  listing_.Set(name, std::move(listing.files));
  database->listed = true;
  return absl::OkStatus();
}

// The newest position of our chain that the archive holds.
absl::Status Destination::FindStart(const std::string& name, const db::LtxLog& log,
                                    Database* database) {
  if (options_.config.litestream) return FindLitestreamStart(name, log, database);
  const std::vector<ArchiveFile> files = listing_.Files(name);
  std::set<std::pair<ltx::TxId, Link>> ends;
  std::set<std::pair<ltx::TxId, Link>> snapshots;
  for (const ArchiveFile& file : files) {
    (file.level == kSnapshotLevel ? snapshots : ends).insert({file.max_txid, file.after});
  }
  const std::vector<ltx::Position> positions = log.Positions();
  const auto newest_of = [&](const auto& known) {
    const auto at = std::find_if(positions.rbegin(), positions.rend(), [&](const auto& position) {
      return known.contains({position.txid, LinkOf(position)});
    });
    return at == positions.rend() ? std::nullopt : std::make_optional(*at);
  };
  // A snapshot may be ahead of the files: what is between still belongs there, if the chain has it.
  const std::optional<ltx::Position> snapshot = newest_of(snapshots);
  database->archived = newest_of(ends);
  if (!database->archived) database->archived = snapshot;
  const ltx::TxId known =
      std::max(database->archived ? database->archived->txid : 0, snapshot ? snapshot->txid : 0);
  const std::vector<ArchiveFile> line = FilesOnLine(files);
  if (!line.empty() && known < line.back().max_txid) {
    LogWarn("archive",
            fmt::format("destination={} db={} the archive's newest transaction {} is not in this "
                        "node's history, which goes on from {}; both are kept",
                        options_.config.name, name, Hex16(line.back().max_txid),
                        database->archived ? Hex16(database->archived->txid) : "a snapshot"));
  }
  if (files.empty() && log.BeginsWithSnapshot()) database->archived = ltx::Position{};
  return absl::OkStatus();
}

// Litestream's names do not tell which history they are of, so a record here does.
absl::Status Destination::FindLitestreamStart(const std::string& name, const db::LtxLog& log,
                                              Database* database) {
  ltx::TxId newest = 0;
  for (const ArchiveFile& file : listing_.Files(name)) newest = std::max(newest, file.max_txid);
  database->archived.reset();
  if (newest == 0) {
    if (log.BeginsWithSnapshot()) database->archived = ltx::Position{};
    return absl::OkStatus();
  }
  const absl::StatusOr<std::string> text = ReadWholeFile(RecordPath(name), 100);
  const auto recorded = text.ok() ? ltx::ParsePosition(*text) : std::nullopt;
  const std::vector<ltx::Position> positions = log.Positions();
  if (recorded && recorded->txid == newest &&
      std::find(positions.begin(), positions.end(), *recorded) != positions.end()) {
    database->archived = recorded;
    return absl::OkStatus();
  }
  if (log.tip().txid > newest) return absl::OkStatus();  // a snapshot leads on
  database->listed = false;
  return absl::FailedPreconditionError(
      fmt::format("{} holds another history of {}, up to transaction {}; give this one a place of "
                  "its own (archive.url)",
                  store_->Describe(), name, Hex16(newest)));
}

std::string Destination::RecordPath(const std::string& name) const {
  return fmt::format("{}/{}/position", spool_->directory(), name);
}

absl::Status Destination::Record(const std::string& name, const ltx::Position& position,
                                 Database* database) {
  database->archived = position;
  if (!options_.config.litestream) return absl::OkStatus();
  RETURN_IF_ERROR(MakeDirectory(spool_->directory() + "/" + name, 0700));
  return WriteWholeFile(RecordPath(name), ltx::FormatPosition(position));
}

// The claim of whoever came after the writer of that epoch; empty: nobody has.
absl::StatusOr<std::string> Destination::ClaimAfter(const std::string& name, uint32_t epoch) {
  absl::StatusOr<std::string> claim = store_->Get(EpochName(name, epoch + 1), 0, kMaxClaimBytes);
  if (absl::IsNotFound(claim.status())) return std::string();
  if (claim.ok() && claim->empty()) return std::string("(empty)");
  return claim;
}

absl::Status Destination::CheckEpoch(const std::string& name, Database* database) {
  if (options_.config.litestream) return absl::OkStatus();
  if (database->epoch == 0) return ClaimEpoch(name, database);
  ASSIGN_OR_RETURN(const std::string claim, ClaimAfter(name, database->epoch));
  if (claim.empty()) return absl::OkStatus();
  SetSucceeded(name, claim, database);
  return absl::FailedPreconditionError(database->error);
}

void Destination::SetSucceeded(const std::string& name, const std::string& claim,
                               Database* database) {
  database->writable = false;
  database->error = fmt::format(
      "another writer has taken {} over in {} (epoch {}: {}); this node archives it there no "
      "longer. If that is a mistake, stop the other one and start this one again",
      name, store_->Describe(), database->epoch + 1, claim);
  SetState(name, *database);
}

// A node that has nothing to upload would not notice otherwise, and go on compacting and deleting
// by a listing that is no longer true.
absl::StatusOr<bool> Destination::IsWriter(const std::string& name) {
  Database database;
  {
    MutexLock lock(mu_);
    database = databases_[name];
  }
  if (!database.writable) return false;
  if (options_.config.litestream) return true;
  const bool claimed = database.epoch != 0;
  ASSIGN_OR_RETURN(const std::string claim,
                   ClaimAfter(name, claimed ? database.epoch : database.highest_epoch));
  if (claim.empty()) return true;
  if (claimed) {
    SetSucceeded(name, claim, &database);
    LogError("archive",
             fmt::format("destination={} db={} {}", options_.config.name, name, database.error));
  }
  return false;
}

absl::Status Destination::ClaimEpoch(const std::string& name, Database* database) {
  const std::string claim = JsonText(nlohmann::ordered_json{
      {"node_id", Hex16(options_.node_id)}, {"claimed_ms", options_.clock->WallMs()}});
  for (int i = 0; i < kMaxClaims; ++i) {
    const uint32_t epoch = database->highest_epoch + 1;
    const absl::Status status = store_->Put(EpochName(name, epoch), std::as_bytes(std::span(claim)),
                                            {.if_none_match = true});
    database->highest_epoch = epoch;
    if (absl::IsAlreadyExists(status)) continue;
    RETURN_IF_ERROR(status);
    database->epoch = epoch;
    // What the writer before has put there until now is part of what we go on from.
    RETURN_IF_ERROR(List(name, database));
    const db::LtxLog* const log = options_.source->Log(name);
    return FindStart(name, *log, database);
  }
  return absl::AbortedError(fmt::format("{}: {} epochs were claimed by others meanwhile",
                                        store_->Describe(), kMaxClaims));
}

absl::StatusOr<Destination::Batch> Destination::CollectBatch(const db::LtxLog& log,
                                                             const ltx::Position& from) {
  Batch batch;
  uint64_t bytes = 0;
  ltx::Position at = from;
  while (batch.files.size() < kMaxBatchFiles && bytes < kMaxBatchBytes) {
    const absl::StatusOr<db::LtxFileRef> file = log.FileAfter(at);
    if (!file.ok() && !batch.files.empty()) break;
    RETURN_IF_ERROR(file.status());
    absl::StatusOr<UniqueFd> fd = log.OpenForReading(*file);
    if (absl::IsNotFound(fd.status())) return absl::OutOfRangeError("pruned meanwhile");
    RETURN_IF_ERROR(fd.status());
    batch.files.push_back(*file);
    batch.fds.push_back(*std::move(fd));
    bytes += file->size_bytes;
    at = file->end();
  }
  return batch;
}

// One file as it is, several as a bundle; for Litestream as one without checksums.
absl::Status Destination::WriteBatch(const Batch& batch, const std::string& path) {
  std::vector<ltx::FdSource> sources;
  sources.reserve(batch.fds.size());
  std::vector<ltx::ByteSource*> parts;
  for (const UniqueFd& fd : batch.fds) {
    ASSIGN_OR_RETURN(ltx::FdSource source, ltx::FdSource::Open(fd.get(), path));
    sources.push_back(std::move(source));
    parts.push_back(&sources.back());
  }
  if (options_.config.litestream) {
    return WriteMerged(parts, path, /*checksums=*/false).status();
  }
  ASSIGN_OR_RETURN(const UniqueFd out, OpenFile(path, O_WRONLY | O_CREAT | O_TRUNC, 0600));
  ltx::FdSink sink(out.get(), path);
  std::vector<uint64_t> sizes;
  std::vector<std::byte> buffer;
  for (ltx::ByteSource* part : parts) {
    sizes.push_back(part->size());
    for (uint64_t offset = 0; offset < part->size(); offset += buffer.size()) {
      buffer.resize(std::min<uint64_t>(part->size() - offset, 1 << 20));
      RETURN_IF_ERROR(part->ReadAt(buffer, offset));
      RETURN_IF_ERROR(sink.Append(buffer));
    }
  }
  if (parts.size() > 1) RETURN_IF_ERROR(sink.Append(BundleFooter(sizes)));
  return sink.Flush();
}

absl::Status Destination::UploadBatch(const std::string& name, const Batch& batch,
                                      Database* database) {
  const db::LtxFileRef& first = batch.files.front();
  const db::LtxFileRef& last = batch.files.back();
  ArchiveFile file{.database = name,
                   .level = 0,
                   .min_txid = first.min_txid,
                   .max_txid = last.max_txid,
                   .before = LinkOf({first.min_txid - 1, first.pre_apply}),
                   .after = LinkOf(last.end()),
                   .timestamp_ms = last.timestamp_ms,
                   .epoch = database->epoch,
                   .bundle = batch.files.size() > 1 && !options_.config.litestream,
                   .litestream = options_.config.litestream};
  if (file.litestream) file.before = file.after = 0;
  ASSIGN_OR_RETURN(const std::string path, spool_->TemporaryPath(name, "upload"));
  RETURN_IF_ERROR(WriteBatch(batch, path));
  RETURN_IF_ERROR(writer_->Put(path, &file));
  if (file.litestream && file.is_snapshot()) {
    ArchiveFile snapshot = file;  // where Litestream's restore looks for one
    snapshot.level = kSnapshotLevel;
    RETURN_IF_ERROR(writer_->Put(path, &snapshot));
    listing_.Add(snapshot);
  }
  if (options_.config.levels.windows.empty() || file.is_snapshot()) {
    ::unlink(path.c_str());
  } else {
    RETURN_IF_ERROR(spool_->Keep(path, file));
  }
  listing_.Add(file);
  return Record(name, last.end(), database);
}

absl::Status Destination::UploadSnapshot(const std::string& name, Database* database) {
  db::LtxFileRef ref;
  ASSIGN_OR_RETURN(const UniqueFd fd, options_.source->Snapshot(name, &ref));
  ArchiveFile file{.database = name,
                   .level = kSnapshotLevel,
                   .min_txid = 1,
                   .max_txid = ref.max_txid,
                   .after = LinkOf(ref.end()),
                   .timestamp_ms = ref.timestamp_ms,
                   .epoch = database->epoch,
                   .litestream = options_.config.litestream};
  std::string path = fmt::format("/proc/self/fd/{}", fd.get());
  if (file.litestream) {
    file.after = 0;
    ASSIGN_OR_RETURN(ltx::FdSource source, ltx::FdSource::Open(fd.get(), name));
    ltx::ByteSource* const part = &source;
    ASSIGN_OR_RETURN(path, spool_->TemporaryPath(name, "upload"));
    RETURN_IF_ERROR(WriteMerged({&part, 1}, path, /*checksums=*/false).status());
  }
  RETURN_IF_ERROR(writer_->Put(path, &file));
  listing_.Add(file);
  LogWarn("archive",
          fmt::format("destination={} db={} snapshot of transaction {}: the chain does not reach "
                      "back to what is archived ({}), so the transactions between have no files",
                      options_.config.name, name, Hex16(ref.max_txid),
                      database->archived ? Hex16(database->archived->txid) : "nothing"));
  return Record(name, ref.end(), database);
}

ltx::TxId Destination::KeepAfter(const std::string& database) {
  constexpr ltx::TxId kNothing = ~ltx::TxId{0};
  if (!Counts(database)) return kNothing;
  const db::LtxLog* const log = options_.source->Log(database);
  if (log == nullptr) return kNothing;
  ltx::TxId archived = 0;
  {
    MutexLock lock(mu_);
    const Database& state = databases_[database];
    if (!state.writable) return kNothing;
    if (state.archived) archived = state.archived->txid;
  }
  return log->After(archived).bytes > options_.config.backlog_bytes ? kNothing : archived;
}

DestinationStatus Destination::Status() {
  DestinationStatus status{.name = options_.config.name,
                           .where = store_->Describe(),
                           .encrypted = writer_->encrypts(),
                           .dialect = options_.config.litestream ? "litestream" : "litefs",
                           .uploaded_files = writer_->files(),
                           .uploaded_bytes = writer_->bytes(),
                           .failures = failures_,
                           .compactions = keeper_->compactions(),
                           .last_error = keeper_->last_error(),
                           .databases = {}};
  const int64_t now = options_.clock->WallMs();
  for (const std::string& name : options_.source->Databases()) {
    const db::LtxLog* const log = options_.source->Log(name);
    if (log == nullptr || !Counts(name)) continue;
    Database state;
    {
      MutexLock lock(mu_);
      state = databases_[name];
      if (!last_error_.empty()) status.last_error = last_error_;
    }
    const ltx::TxId archived = state.archived ? state.archived->txid : 0;
    const db::LtxLog::Backlog backlog = log->After(archived);
    status.databases.push_back(
        {.name = name,
         .archived_txid = archived,
         .epoch = state.epoch,
         .backlog_files = backlog.files,
         .backlog_bytes = backlog.bytes,
         .backlog_age_ms = backlog.files == 0 ? 0 : std::max<int64_t>(0, now - backlog.oldest_ms),
         .error = state.error});
  }
  return status;
}

}  // namespace litefs::archive
