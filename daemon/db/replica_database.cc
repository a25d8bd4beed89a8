#include "daemon/db/replica_database.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "common/check.h"
#include "common/hex.h"
#include "common/log.h"
#include "common/posix_io.h"
#include "common/sqlite_format.h"
#include "common/status_macros.h"
#include "daemon/db/checked_source.h"
#include "daemon/db/incoming_file.h"
#include "daemon/db/side_file.h"
#include "ltx/byte_stream.h"
#include "ltx/encoder.h"
#include "ltx/page_checksum.h"

namespace litefs::db {
namespace {

// One apply takes in at most so many stored files: bounded descriptors and memory.
constexpr size_t kFilesABatch = 128;
constexpr uint64_t kBytesABatch = 64 << 20;
constexpr size_t kCopyBytes = 1 << 20;
// In rollback mode readers that were locked out sleep and look again, for 1, 2, 5, … ms (SQLite's
// busy handler).  Under a steady stream of transactions they would never find the lock free; so it
// stays free for as long as it was held, but no longer than this.
constexpr std::chrono::milliseconds kMaxReadersTurn{5};

}  // namespace

absl::StatusOr<std::unique_ptr<ReplicaDatabase>> ReplicaDatabase::Open(DatabaseOptions options,
                                                                       std::string* report) {
  std::unique_ptr<ReplicaDatabase> database(new ReplicaDatabase(std::move(options)));
  ASSIGN_OR_RETURN(database->chain_, Chain::Open({.directory = database->options_.control_directory,
                                                  .node_id = database->options_.node_id,
                                                  .clock = database->options_.clock,
                                                  .replica = true},
                                                 report));
  database->Serve();
  MutexLock lock(database->mu_);
  if (const absl::Status status = database->OpenFile(); !status.ok()) {
    *report += fmt::format("{}: {}\n", database->name(), status.ToString());
    database->error_ = status.ToString();
  }
  database->Show();
  return database;
}

absl::Status ReplicaDatabase::OpenFile() {
  if (file_ != nullptr) return absl::OkStatus();
  ASSIGN_OR_RETURN(file_, ReplicaFile::Open({.path = options_.path,
                                             .temporary_directory = options_.temporary_directory}));
  if (const absl::Status status = IdentifyContent(); !status.ok()) {
    file_.reset();
    return status;
  }
  error_.clear();
  return absl::OkStatus();
}

// As the file is now, with the database's checksum.
absl::Status ReplicaDatabase::ReadSums(std::vector<ltx::Checksum>* sums, ltx::Checksum* database) {
  const ReplicaFile::Shape shape = file_->shape();
  sums->assign(shape.size_pages, 0);
  std::vector<std::byte> pages;
  *database = ltx::kEmptyDatabaseChecksum;
  for (ltx::PageNo pgno = 1; pgno <= shape.size_pages;) {
    const ltx::PageNo count = std::min(Chain::kPagesAtOnce, shape.size_pages - pgno + 1);
    pages.resize(size_t{count} * shape.page_bytes);
    RETURN_IF_ERROR(file_->ReadPages(pgno, pages));
    for (size_t at = 0; at < pages.size(); at += shape.page_bytes, ++pgno) {
      if (pgno == sqlite::LockPage(shape.page_bytes)) continue;
      (*sums)[pgno - 1] = ltx::PageChecksum(pgno, std::span(pages).subspan(at, shape.page_bytes));
      *database = ltx::kChecksumFlag | (*database ^ (*sums)[pgno - 1]);
    }
  }
  return absl::OkStatus();
}

// Finds where in the chain the database file is, by its content: the only witness that survives
// everything.  A content that the chain does not know is kept aside, and a snapshot asked for.
absl::Status ReplicaDatabase::IdentifyContent() {
  const ReplicaFile::Shape shape = file_->shape();
  std::vector<ltx::Checksum> checksums;
  ltx::Checksum database = 0;
  RETURN_IF_ERROR(ReadSums(&checksums, &database));
  if (shape.size_pages == 0) {  // not there yet, or deleted
    const std::optional<ltx::Position> deletion =
        chain_->log().FindChecksum(ltx::kEmptyDatabaseChecksum);
    RETURN_IF_ERROR(chain_->ResetTable(shape.page_bytes, 0, deletion ? deletion->txid : 0, {}));
    if (chain_->log().tip().txid != 0 && !deletion && !chain_->log().BeginsWithSnapshot()) {
      NeedSnapshot("the database file is gone");
    }
    return absl::OkStatus();
  }
  const std::optional<ltx::Position> known = chain_->log().FindChecksum(database);
  RETURN_IF_ERROR(chain_->ResetTable(shape.page_bytes, shape.size_pages,
                                     known.has_value() ? known->txid : 0, checksums));
  if (known.has_value()) return absl::OkStatus();
  return KeepDiverged("the database file was changed by somebody else");
}

std::string ReplicaDatabase::BranchDirectory(const ltx::Position& position) const {
  return fmt::format("{}/branches/{}-{}", options_.control_directory, Hex16(position.txid),
                     Hex16(position.checksum));
}

// (I2) What the primary does not have is not lost: the file is kept among the branches, as if
// whoever wrote it had made the next transaction.
absl::Status ReplicaDatabase::KeepDiverged(const std::string& reason) {
  std::vector<ltx::Checksum> sums;
  ltx::Position branch{.txid = chain_->log().tip().txid + 1};
  RETURN_IF_ERROR(ReadSums(&sums, &branch.checksum));
  RETURN_IF_ERROR(KeepFile(branch));
  NeedSnapshot(fmt::format("{}; it is kept as {}", reason, BranchDirectory(branch)));
  return absl::OkStatus();
}

// (I2) Before a deletion is applied: the chain will be pruned, and the file was the content.
absl::Status ReplicaDatabase::KeepDeleted() {
  const ltx::Position branch = chain_->position();
  if (branch.txid == 0) return absl::OkStatus();  // of no chain: kept when it was found
  const std::string directory = BranchDirectory(branch);
  const bool is_new = ::access(directory.c_str(), F_OK) != 0;
  RETURN_IF_ERROR(KeepFile(branch));
  if (is_new) {
    LogWarn("apply", fmt::format("db={} was deleted on the primary; what it was at {} is kept as "
                                 "{} (litefs branches)",
                                 name(), ltx::FormatPosition(branch), directory));
  }
  return absl::OkStatus();
}

// Writes the content of the database file as the branch that ends there.
absl::Status ReplicaDatabase::KeepFile(const ltx::Position& branch) {
  const ReplicaFile::Shape shape = file_->shape();
  const std::string directory = BranchDirectory(branch);
  const std::string path = directory + "/" + ltx::FormatFileName(1, branch.txid);
  if (::access(path.c_str(), F_OK) != 0) {  // else kept before a restart
    RETURN_IF_ERROR(MakeDirectory(options_.control_directory + "/branches"));
    RETURN_IF_ERROR(MakeDirectory(directory));
    ASSIGN_OR_RETURN(const UniqueFd out,
                     litefs::OpenFile(directory + "/pending.tmp", O_WRONLY | O_CREAT | O_TRUNC));
    ltx::FdSink sink(out.get(), path);
    ltx::Encoder encoder;
    RETURN_IF_ERROR(encoder.Begin(&sink, {.page_bytes = shape.page_bytes,
                                          .commit = shape.size_pages,
                                          .min_txid = 1,
                                          .max_txid = branch.txid,
                                          .timestamp_ms = options_.clock->WallMs(),
                                          .node_id = options_.node_id}));
    std::vector<std::byte> page(shape.page_bytes);
    for (ltx::PageNo pgno = 1; pgno <= shape.size_pages; ++pgno) {
      if (pgno == sqlite::LockPage(shape.page_bytes)) continue;
      RETURN_IF_ERROR(file_->ReadPage(pgno, page));
      RETURN_IF_ERROR(encoder.AddPage(pgno, page));
    }
    RETURN_IF_ERROR(encoder.Finish(branch.checksum).status());
    RETURN_IF_ERROR(sink.Flush());
    RETURN_IF_ERROR(SyncData(out.get(), path));
    RETURN_IF_ERROR(Rename(directory + "/pending.tmp", path));
  }
  return absl::OkStatus();
}

void ReplicaDatabase::NeedSnapshot(const std::string& reason) {
  if (!needs_snapshot_.exchange(true)) {
    LogWarn("apply", fmt::format("db={} asking for a snapshot: {}", name(), reason));
  }
}

absl::Status ReplicaDatabase::ReadCommitted(ltx::PageNo pgno, std::span<std::byte> page) {
  if (file_ == nullptr) return absl::UnavailableError(name() + " is not open");
  return file_->ReadPage(pgno, page);
}

absl::Status ReplicaDatabase::SyncStored() {
  MutexLock lock(receive_mu_);
  return chain_->log().Sync();
}

ltx::Position ReplicaDatabase::stored_position() {
  MutexLock lock(receive_mu_);
  if (!needs_snapshot_) return chain_->log().tip();
  MutexLock content(mu_);
  return {.checksum = chain_->position().checksum};
}

absl::StatusOr<std::vector<ltx::Checksum>> ReplicaDatabase::PageSums(uint64_t max_pages,
                                                                     uint32_t* page_bytes) {
  MutexLock lock(mu_);
  RETURN_IF_ERROR(OpenFile());
  if (file_->shape().size_pages > max_pages) return std::vector<ltx::Checksum>();
  std::vector<ltx::Checksum> sums;
  ltx::Checksum database = 0;
  RETURN_IF_ERROR(ReadSums(&sums, &database));
  *page_bytes = file_->shape().page_bytes;
  if (database == chain_->position().checksum) return sums;
  // The table is not the file's: somebody has written it.
  RETURN_IF_ERROR(KeepDiverged("the database file was changed by somebody else"));
  RETURN_IF_ERROR(chain_->ResetTable(*page_bytes, file_->shape().size_pages, 0, sums));
  Show();
  return sums;
}

absl::StatusOr<ltx::Position> ReplicaDatabase::Receive(int fd, uint64_t size_bytes) {
  ASSIGN_OR_RETURN(ltx::FdSource source, ltx::FdSource::Open(fd, "received file"));
  if (source.size() != size_bytes) return absl::DataLossError("the received file has lost bytes");
  ASSIGN_OR_RETURN(const ltx::FileInfo info, ltx::VerifyFile(source));
  return Store(info, source, fd);
}

absl::StatusOr<ltx::Position> ReplicaDatabase::Receive(int fd, uint64_t size_bytes,
                                                       std::shared_ptr<IncomingFile> incoming) {
  ASSIGN_OR_RETURN(ltx::FdSource source, ltx::FdSource::Open(fd, "received file"));
  if (source.size() != size_bytes) return absl::DataLossError("the received file has lost bytes");
  ASSIGN_OR_RETURN(const ltx::FileInfo info, incoming->Finish());
  {
    MutexLock lock(incoming_mu_);  // before the applier can see the file
    incoming_ = std::move(incoming);
    incoming_end_ = {info.header.max_txid, info.trailer.post_apply};
  }
  absl::StatusOr<ltx::Position> stored = Store(info, source, fd);
  if (!stored.ok()) TakeIncoming({});
  return stored;
}

absl::StatusOr<ltx::Position> ReplicaDatabase::Store(const ltx::FileInfo& info,
                                                     ltx::FdSource& source, int fd) {
  return Receive(info, source.size(), [&](const std::string& path) {
    // Without a copy, if the file is an unlinked one of this file system.
    RETURN_IF_ERROR(RemoveFile(path));
    const std::string own = fmt::format("/proc/self/fd/{}", fd);
    if (::linkat(AT_FDCWD, own.c_str(), AT_FDCWD, path.c_str(), AT_SYMLINK_FOLLOW) == 0) {
      return absl::OkStatus();
    }
    return StoreFile(source, path);
  });
}

absl::StatusOr<ltx::Position> ReplicaDatabase::Receive(ltx::ByteSource& source) {
  ASSIGN_OR_RETURN(const ltx::FileInfo info, ltx::VerifyFile(source));
  return Receive(info, source.size(),
                 [&](const std::string& path) { return StoreFile(source, path); });
}

absl::Status ReplicaDatabase::StoreFile(ltx::ByteSource& source, const std::string& path) {
  ASSIGN_OR_RETURN(const UniqueFd out, litefs::OpenFile(path, O_WRONLY | O_CREAT | O_TRUNC));
  std::vector<std::byte> buffer(std::min<uint64_t>(kCopyBytes, source.size()));
  for (uint64_t at = 0; at < source.size(); at += buffer.size()) {
    const auto part =
        std::span(buffer).first(std::min<uint64_t>(buffer.size(), source.size() - at));
    RETURN_IF_ERROR(source.ReadAt(part, at));
    RETURN_IF_ERROR(WriteAt(out.get(), part, at, path));
  }
  return absl::OkStatus();
}

absl::StatusOr<ltx::Position> ReplicaDatabase::Receive(
    const ltx::FileInfo& info, uint64_t size_bytes,
    const std::function<absl::Status(const std::string&)>& store) {
  MutexLock lock(receive_mu_);
  const ltx::Header& header = info.header;
  const ltx::Position tip = chain_->log().tip();
  // What was forwarded from here comes back.
  const ltx::Position end{header.max_txid, info.trailer.post_apply};
  const bool single = header.min_txid == header.max_txid && !needs_snapshot_;
  if (single && header.max_txid <= tip.txid && chain_->log().TimeOf(end)) return tip;
  const bool follows = !needs_snapshot_ && tip.txid != 0 && header.min_txid == tip.txid + 1 &&
                       header.pre_apply == tip.checksum;
  const bool replaces =
      !follows && (header.is_snapshot() || AppliedPosition().checksum == header.pre_apply);
  if (!header.has_checksums() || (!follows && !replaces)) {
    return absl::FailedPreconditionError(fmt::format(
        "{}: {} does not follow {}", name(), ltx::FormatFileName(header.min_txid, header.max_txid),
        ltx::FormatPosition(tip)));
  }
  const std::string temporary = chain_->log().TemporaryPath();
  RETURN_IF_ERROR(store(temporary));
  const LtxFileRef file{.min_txid = header.min_txid,
                        .max_txid = header.max_txid,
                        .pre_apply = header.pre_apply,
                        .post_apply = info.trailer.post_apply,
                        .size_bytes = size_bytes,
                        .timestamp_ms = header.timestamp_ms};
  if (replaces && tip.txid != 0) RETURN_IF_ERROR(KeepBranch(header));
  if (replaces && !header.is_snapshot()) {
    RETURN_IF_ERROR(AcceptOtherBranch(temporary, file));
  } else {
    RETURN_IF_ERROR(chain_->Accept(temporary, file));
  }
  if (replaces) needs_snapshot_ = false;
  Serve();
  return chain_->log().tip();
}

void ReplicaDatabase::Serve() {
  const absl::StatusOr<LtxFileRef> last = chain_->log().Last();
  MutexLock lock(served_mu_);
  if (last.ok()) served_ = *last;
}

std::optional<LtxFileRef> ReplicaDatabase::served() const {
  MutexLock lock(served_mu_);
  return served_;
}

// (I2) Another branch, or one too old to be continued: its files leave the chain and are kept.
// Where they do not begin with a snapshot and the replacement is no later than they are, so that
// they are surely no part of its history, the content is kept with them.
absl::Status ReplicaDatabase::KeepBranch(const ltx::Header& replacement) {
  const ltx::Position tip = chain_->log().tip();
  const std::string directory = BranchDirectory(tip);
  RETURN_IF_ERROR(MakeDirectory(options_.control_directory + "/branches"));
  if (!chain_->log().BeginsWithSnapshot() && !needs_snapshot_ && replacement.max_txid <= tip.txid) {
    RETURN_IF_ERROR(MakeDirectory(directory));
    RETURN_IF_ERROR(KeepContent(directory));
  }
  LogWarn("apply", fmt::format("db={} leaves the branch at {} for {}; it is kept as {}", name(),
                               ltx::FormatPosition(tip), Hex16(replacement.max_txid), directory));
  return chain_->log().MoveAway(directory);
}

absl::Status ReplicaDatabase::KeepContent(const std::string& directory) {
  LtxFileRef file;
  ASSIGN_OR_RETURN(const UniqueFd fd, Snapshot(&file));
  ASSIGN_OR_RETURN(ltx::FdSource source, ltx::FdSource::Open(fd.get(), "snapshot"));
  RETURN_IF_ERROR(StoreFile(source, directory + "/pending.tmp"));
  return Rename(directory + "/pending.tmp",
                directory + "/" + ltx::FormatFileName(file.min_txid, file.max_txid));
}

// The chain begins anew with a file that leads on from the content that is here.
absl::Status ReplicaDatabase::AcceptOtherBranch(const std::string& temporary,
                                                const LtxFileRef& file) {
  MutexLock lock(mu_);
  const PageChecksums& table = chain_->table();
  if (table.position().checksum != file.pre_apply) {
    return absl::FailedPreconditionError(name() + ": the content has changed meanwhile");
  }
  RETURN_IF_ERROR(chain_->Accept(temporary, file));
  const absl::Status status =
      chain_->Applied({}, table.page_bytes(), table.size_pages(), file.min_txid - 1);
  Show();
  return status;
}

bool ReplicaDatabase::HasPending() {
  MutexLock lock(mu_);
  if (loan_) return false;
  return file_ == nullptr || (!needs_snapshot_ && chain_->position() != chain_->log().tip());
}

absl::Status ReplicaDatabase::ApplyPending() {
  MutexLock lock(mu_);
  const absl::Status status = ApplyNext();
  Show();
  return status;
}

absl::Status ReplicaDatabase::ApplyNext() {
  if (loan_) return absl::OkStatus();
  RETURN_IF_ERROR(OpenFile());
  if (needs_snapshot_) return absl::OkStatus();
  ASSIGN_OR_RETURN(const bool adopted, AdoptMade());
  if (adopted) return absl::OkStatus();
  LtxPageSource source;
  ASSIGN_OR_RETURN(const bool pending, CollectPending(&source));
  if (!pending) return absl::OkStatus();
  RETURN_IF_ERROR(ApplyBatch(source));
  chain_->log().MakeTemporary();
  readers_turn_until_ =
      std::chrono::steady_clock::now() +
      std::min<std::chrono::steady_clock::duration>(file_->kept_readers_out(), kMaxReadersTurn);
  return absl::OkStatus();
}

// The file that arrived and ends there; any other goes.
std::shared_ptr<IncomingFile> ReplicaDatabase::TakeIncoming(const ltx::Position& position) {
  MutexLock lock(incoming_mu_);
  std::shared_ptr<IncomingFile> incoming = std::move(incoming_);
  return incoming != nullptr && incoming_end_ == position ? std::move(incoming) : nullptr;
}

// Where there is no database, the one that was made of the chain's snapshot while it arrived takes
// its place.  False: there is none, or it cannot; then the snapshot is applied.
absl::StatusOr<bool> ReplicaDatabase::AdoptMade() {
  if (file_->shape().size_pages != 0 || chain_->position() != ltx::Position()) {
    TakeIncoming({});
    return false;
  }
  const absl::StatusOr<LtxFileRef> file = chain_->log().FileAfter(ltx::Position());
  if (!file.ok()) return false;
  const std::shared_ptr<IncomingFile> incoming = TakeIncoming(file->end());
  const std::unique_ptr<NewDatabase> made =
      incoming == nullptr ? nullptr : incoming->TakeDatabase();
  if (made == nullptr || made->position != file->end()) return false;
  if (const absl::Status status =
          file_->Adopt(std::move(made->fd), made->page_bytes, made->size_pages);
      !status.ok()) {
    LogInfo("apply", fmt::format("db={} is made anew: {}", name(), status.ToString()));
    return false;
  }
  error_.clear();
  RETURN_IF_ERROR(
      chain_->ResetTable(made->page_bytes, made->size_pages, file->max_txid, made->sums));
  counters_.Add({.transactions = file->max_txid,
                 .files = 1,
                 .pages = made->size_pages,
                 .bytes = file->size_bytes});
  CHECK(chain_->position() == made->position);
  Show();
  if (options_.on_commit) options_.on_commit(name(), file->min_txid, file->max_txid);
  chain_->log().MakeTemporary();
  return true;
}

// The next stored files after our position; those of a snapshot replace everything.
absl::StatusOr<bool> ReplicaDatabase::CollectPending(LtxPageSource* source) {
  ltx::Position at = chain_->position();
  uint64_t bytes = 0;
  for (size_t n = 0; n < kFilesABatch && bytes < kBytesABatch; ++n) {
    absl::StatusOr<LtxFileRef> file = chain_->log().FileAfter(at);
    if (absl::IsNotFound(file.status())) break;
    if (absl::IsOutOfRange(file.status()) && n == 0 && chain_->log().BeginsWithSnapshot()) {
      file = chain_->log().FileAfter(ltx::Position{});
    }
    if (absl::IsOutOfRange(file.status())) {
      if (n != 0) break;  // the chain was replaced under us: look again
      NeedSnapshot("the chain does not continue from the database's position");
      return false;
    }
    RETURN_IF_ERROR(file.status());
    if (IsDeletion(file->end()) && n != 0) break;  // what is there before it is kept first
    ASSIGN_OR_RETURN(UniqueFd fd, chain_->log().OpenForReading(*file));
    const absl::Status added = source->Add(std::move(fd), chain_->log().PathOf(*file));
    if (absl::IsFailedPrecondition(added) && n != 0) break;  // another page size: by itself
    RETURN_IF_ERROR(added);
    at = file->end();
    bytes += file->size_bytes;
  }
  if (at == chain_->position()) return false;
  source->Finish();
  return true;
}

absl::Status ReplicaDatabase::ApplyBatch(LtxPageSource& source) {
  const ltx::Header& header = source.last();
  const bool replace =
      source.first().is_snapshot() || chain_->table().page_bytes() != header.page_bytes;
  CheckedSource checked(&source, &chain_->table(), replace, &changes_);
  absl::Status status;
  if (source.first().commit == 0 && file_->shape().size_pages != 0) {
    status = checked.Check();
    if (status.ok()) RETURN_IF_ERROR(KeepDeleted());
  }
  if (status.ok()) status = file_->Apply(checked, header.page_bytes, header.commit);
  if (checked.misfits()) {
    RETURN_IF_ERROR(KeepDiverged(std::string(status.message())));
    return status;
  }
  if (!status.ok()) {
    error_ = absl::IsUnavailable(status) ? "" : status.ToString();
    return status;
  }
  error_.clear();
  if (replace) RETURN_IF_ERROR(chain_->ResetTable(header.page_bytes, 0, 0, {}));
  RETURN_IF_ERROR(chain_->Applied(changes_, header.page_bytes, header.commit, header.max_txid));
  NoteChanges(changes_);
  counters_.Add({.transactions = header.max_txid - source.first().min_txid + 1,
                 .files = source.files(),
                 .pages = changes_.size(),
                 .bytes = source.bytes(),
                 .deletions = source.first().commit == 0 ? 1U : 0U});
  CHECK(chain_->position().checksum == source.post_apply());
  Show();
  if (options_.on_commit) {
    options_.on_commit(name(), source.first().min_txid, header.max_txid);
  }
  return absl::OkStatus();
}

std::chrono::steady_clock::time_point ReplicaDatabase::readers_turn_until() {
  MutexLock lock(mu_);
  return readers_turn_until_;
}

bool ReplicaDatabase::Tidy() {
  MutexLock lock(mu_);
  if (file_ == nullptr) return true;
  if (loan_) return false;
  const absl::Status status = file_->Checkpoint();
  Show();
  if (absl::IsUnavailable(status)) return false;
  if (!status.ok()) {
    LogWarn("apply", fmt::format("db={} checkpoint: {}", name(), status.ToString()));
  }
  return status.ok() && file_->tidy();
}

bool ReplicaDatabase::IsTidy() {
  MutexLock lock(mu_);
  return file_ == nullptr || file_->tidy();
}

void ReplicaDatabase::Show() {
  MutexLock lock(shown_mu_);
  shown_ = {.position = chain_->position(),
            .size_pages = chain_->table().size_pages(),
            .page_bytes = chain_->table().page_bytes(),
            .wal = file_ != nullptr && file_->shape().wal,
            .deleted = IsDeletion(chain_->position()),
            .counters = counters_,
            .error = error_};
}

DatabaseInfo ReplicaDatabase::Info() {
  MutexLock lock(shown_mu_);
  DatabaseInfo info = shown_;
  info.ltx_files = chain_->log().file_count();
  info.ltx_bytes = chain_->log().size_bytes();
  if (needs_snapshot_) info.error = "waits for a snapshot";
  return info;
}

ltx::Position ReplicaDatabase::position() {
  MutexLock lock(shown_mu_);
  return shown_.position;
}

ltx::Position ReplicaDatabase::AppliedPosition() {
  MutexLock lock(mu_);
  return chain_->position();
}

bool ReplicaDatabase::Prune(int64_t oldest_ms, uint64_t max_bytes, ltx::TxId keep_after) {
  const ltx::Position applied = position();
  // A snapshot is to replace what is here: the numbers of its chain say nothing of ours.
  if (absl::IsOutOfRange(chain_->log().FileAfter(applied).status())) return false;
  return chain_->log().Prune(oldest_ms, max_bytes, std::min(keep_after, applied.txid));
}

}  // namespace litefs::db
