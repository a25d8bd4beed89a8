// Why two passes over the pages (find changes, then encode): the LTX header says the new size and
// the encoder wants to know first whether there is anything to write; and a page that did not
// change, the common case after a checkpoint or a spilled rollback, must cost its checksum only.
// The pages are in the page cache; the second read of one costs less than compressing it.
// A page must not change in between: it is locked by the app that waits for us, or an old WAL
// frame. It is checked all the same: the second pass recomputes the checksum.

#include "daemon/db/chain.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <functional>
#include <thread>
#include <utility>

#include "common/check.h"
#include "common/posix_io.h"
#include "common/sqlite_format.h"
#include "common/status_macros.h"
#include "ltx/page_checksum.h"

namespace litefs::db {
namespace {

constexpr size_t kSinkFlushBytes = 1 << 20;
// What a transaction may leave allocated for the next one: a node has many databases.
constexpr size_t kKeptBytes = 16 << 10;
constexpr size_t kKeptChanges = kKeptBytes / sizeof(PageChange);
// Of the file, so that a hundred rows at a time are written without an allocation.
constexpr size_t kKeptSinkBytes = 128 << 10;
// Of a comparison: threads, this one included, and what is not worth another one.
constexpr size_t kMostComparing = 4;
constexpr size_t kLeastComparedBytes = 32 << 20;

// ext4 makes a file near its directory's other files, and without a journal of its own it steps
// over every inode there that was deleted in the last seconds.  An app whose SQLite deletes a
// rollback journal with each transaction leaves thousands.  Marked as here (chattr +T), the parent
// has its new directories put anywhere by their names, so the first name is a random one.  Other
// file systems refuse the mark, and need none.
absl::Status MakeDirectoryApart(const std::string& parent, const std::string& name) {
  const std::string path = parent + "/" + name;
  if (::access(path.c_str(), F_OK) == 0) return absl::OkStatus();
  ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile(parent, O_RDONLY | O_DIRECTORY));
  int flags = 0;
  uint32_t random = 0;
  if (::ioctl(fd.get(), FS_IOC_GETFLAGS, &flags) != 0 ||
      ::getrandom(&random, sizeof(random), 0) != sizeof(random)) {
    return MakeDirectory(path);
  }
  flags |= FS_TOPDIR_FL;
  if (::ioctl(fd.get(), FS_IOC_SETFLAGS, &flags) != 0) return MakeDirectory(path);
  const std::string first = fmt::format("{}/new-{:08x}", parent, random);
  RETURN_IF_ERROR(MakeDirectory(first));
  return Rename(first, path);
}

}  // namespace

absl::StatusOr<std::vector<PageChange>> ChangesOf(ltx::ByteSource& source, ltx::FileInfo* info) {
  std::vector<PageChange> changes;
  ASSIGN_OR_RETURN(*info,
                   ltx::DecodeFile(source, [&](ltx::PageNo pgno, std::span<const std::byte> page) {
                     changes.push_back({pgno, ltx::PageChecksum(pgno, page)});
                     return absl::OkStatus();
                   }));
  return changes;
}

absl::StatusOr<std::unique_ptr<Chain>> Chain::Open(Options options, std::string* report) {
  std::unique_ptr<Chain> chain(new Chain(std::move(options)));
  const std::string& directory = chain->options_.directory;
  RETURN_IF_ERROR(MakeDirectory(directory));
  RETURN_IF_ERROR(MakeDirectoryApart(directory, "ltx"));
  ASSIGN_OR_RETURN(chain->log_, LtxLog::Open(directory + "/ltx", report));
  ASSIGN_OR_RETURN(chain->table_, PageChecksums::Open(directory + "/checksums"));
  if (!chain->options_.replica) RETURN_IF_ERROR(chain->CatchUpTable(report));
  return chain;
}

// (I3) Brings a table that lags by the last file, or was torn while taking it in, up to the tip.
absl::Status Chain::CatchUpTable(std::string* report) {
  const ltx::Position tip = log_->tip();
  table_->Recompute();
  const absl::StatusOr<LtxFileRef> last = log_->Last();
  if (!last.ok()) {
    table_valid_ = table_->size_pages() == 0 && table_->position().txid == 0;
    return absl::OkStatus();
  }
  if (table_->position() == tip) return absl::OkStatus();
  const ltx::TxId txid = table_->position().txid;
  if (last->min_txid == 1 || txid + 1 == last->min_txid || txid == tip.txid || deleted()) {
    ASSIGN_OR_RETURN(const UniqueFd fd, log_->OpenForReading(*last));
    ASSIGN_OR_RETURN(ltx::FdSource source, ltx::FdSource::Open(fd.get(), log_->PathOf(*last)));
    ltx::FileInfo info;
    ASSIGN_OR_RETURN(const std::vector<PageChange> changes, ChangesOf(source, &info));
    RETURN_IF_ERROR(
        Applied(changes, info.header.page_bytes, info.header.commit, info.header.max_txid));
    table_->Recompute();
    if (table_->position() == tip) return absl::OkStatus();
  }
  table_valid_ = false;
  *report += fmt::format("{}: the table of page checksums is lost; it will be rebuilt\n",
                         options_.directory);
  return absl::OkStatus();
}

absl::StatusOr<bool> Chain::Prepare(std::span<const ltx::PageNo> candidates, const NewState& state,
                                    const ReadPage& read_page, const ReadPage& read_pages) {
  Discard();
  const ltx::Position before = log_->tip();
  const bool everything = before.txid == 0 || !table_valid_ ||
                          (table_->size_pages() != 0 && table_->page_bytes() != state.page_bytes);
  RETURN_IF_ERROR(table_->Reserve(state.size_pages));
  RETURN_IF_ERROR(FindChanges(candidates, state, everything, read_page, read_pages));
  if (changes_.empty() && state.size_pages == table_->size_pages() && !everything) return false;

  ltx::Header header{
      .page_bytes = state.page_bytes,
      .commit = state.size_pages,
      .min_txid = before.txid + 1,
      .max_txid = before.txid + state.transactions,
      .timestamp_ms = state.timestamp_ms != 0 ? state.timestamp_ms : options_.clock->WallMs(),
      .pre_apply = before.txid == 0 ? 0 : before.checksum,
      .wal_offset = state.wal_offset,
      .wal_size = state.wal_size,
      .wal_salt1 = state.wal_salt1,
      .wal_salt2 = state.wal_salt2,
      .node_id = options_.node_id};
  absl::StatusOr<ltx::Trailer> trailer = EncodeChanges(header, state, read_page);
  if (!trailer.ok()) {
    Discard();
    return trailer.status();
  }
  prepared_ = Prepared{.file = {.min_txid = header.min_txid,
                                .max_txid = header.max_txid,
                                .pre_apply = header.pre_apply,
                                .post_apply = trailer->post_apply,
                                .size_bytes = encoder_.bytes_written(),
                                .timestamp_ms = header.timestamp_ms},
                       .page_bytes = state.page_bytes,
                       .size_pages = state.size_pages};
  return true;
}

absl::StatusOr<uint32_t> Chain::LastPageBytes() const {
  ASSIGN_OR_RETURN(const LtxFileRef last, log_->Last());
  ASSIGN_OR_RETURN(const UniqueFd fd, log_->OpenForReading(last));
  std::array<std::byte, ltx::kHeaderBytes> data;
  RETURN_IF_ERROR(ReadExactAt(fd.get(), data, 0, log_->PathOf(last)));
  ASSIGN_OR_RETURN(const ltx::Header header, ltx::DecodeHeader(data));
  return header.page_bytes;
}

absl::StatusOr<bool> Chain::PrepareDeletion() {
  if (log_->tip().txid == 0 || deleted()) return false;
  // The chain's, since the table may be lost.
  ASSIGN_OR_RETURN(const uint32_t page_bytes, LastPageBytes());
  const NewState nothing{.page_bytes = page_bytes};
  return Prepare({}, nothing, [](ltx::PageNo, std::span<std::byte>) {
    return absl::InternalError("a deletion has no pages");
  });
}

// Fills runs_ with the pages to be looked at: the candidates, and all that growth adds.
void Chain::CollectRuns(std::span<const ltx::PageNo> candidates, const NewState& state,
                        ltx::PageNo old_size, ltx::PageNo most) {
  runs_.clear();
  const ltx::PageNo lock_page = sqlite::LockPage(state.page_bytes);
  const auto add = [&](ltx::PageNo pgno) {
    if (pgno == lock_page) return;
    const bool follows = !runs_.empty() && runs_.back().count < most &&
                         pgno == runs_.back().first + runs_.back().count;
    if (!follows) runs_.push_back({.first = pgno, .count = 0});
    ++runs_.back().count;
  };
  for (const ltx::PageNo pgno : candidates) {
    if (pgno > std::min(old_size, state.size_pages)) break;  // growth has them all
    add(pgno);
  }
  for (ltx::PageNo pgno = old_size + 1; pgno <= state.size_pages; ++pgno) add(pgno);
}

// Adds to changes which pages of the runs are not as the table says.
absl::Status Chain::CompareRuns(std::span<const Run> runs, uint32_t page_bytes,
                                ltx::PageNo old_size, const ReadPage& read_pages,
                                std::vector<std::byte>* buffer,
                                std::vector<PageChange>* changes) const {
  for (const Run& run : runs) {
    buffer->resize(size_t{run.count} * page_bytes);
    RETURN_IF_ERROR(read_pages(run.first, *buffer));
    for (ltx::PageNo i = 0; i < run.count; ++i) {
      const ltx::PageNo pgno = run.first + i;
      const auto page =
          std::span<const std::byte>(*buffer).subspan(size_t{i} * page_bytes, page_bytes);
      const ltx::Checksum checksum = ltx::PageChecksum(pgno, page);
      if (pgno > old_size || table_->Get(pgno) != checksum) changes->push_back({pgno, checksum});
    }
  }
  return absl::OkStatus();
}

// As that for all runs, by several threads if there are very many: each has a part of the file.
absl::Status Chain::CompareInParallel(uint32_t page_bytes, ltx::PageNo old_size,
                                      const ReadPage& read_pages) {
  struct Part {
    std::span<const Run> runs;
    std::vector<PageChange> changes;
    absl::Status status;
  };
  const size_t most = std::clamp<size_t>(std::thread::hardware_concurrency(), 1, kMostComparing);
  const size_t runs_a_part = std::max<size_t>(
      kLeastComparedBytes / (size_t{kPagesAtOnce} * page_bytes), (runs_.size() + most - 1) / most);
  std::vector<Part> parts((runs_.size() + runs_a_part - 1) / runs_a_part);
  const auto compare = [&](Part& part) {
    std::vector<std::byte> buffer;
    part.status = CompareRuns(part.runs, page_bytes, old_size, read_pages, &buffer, &part.changes);
  };
  std::vector<std::thread> threads;
  for (size_t i = 0; i < parts.size(); ++i) {
    const size_t begin = i * runs_a_part;
    parts[i].runs = std::span(runs_).subspan(begin, std::min(runs_a_part, runs_.size() - begin));
    if (i > 0) threads.emplace_back(compare, std::ref(parts[i]));
  }
  if (!parts.empty()) compare(parts[0]);
  for (std::thread& thread : threads) thread.join();
  for (const Part& part : parts) {
    RETURN_IF_ERROR(part.status);
    changes_.insert(changes_.end(), part.changes.begin(), part.changes.end());
  }
  return absl::OkStatus();
}

// Fills changes_ with the pages of the new state that must be in the file.
absl::Status Chain::FindChanges(std::span<const ltx::PageNo> candidates, const NewState& state,
                                bool everything, const ReadPage& read_page,
                                const ReadPage& read_pages) {
  changes_.clear();
  if (changes_.capacity() > kKeptChanges) std::vector<PageChange>().swap(changes_);
  const ltx::PageNo old_size = everything ? 0 : table_->size_pages();
  CollectRuns(candidates, state, old_size, read_pages ? kPagesAtOnce : 1);
  const bool many = runs_.size() * kPagesAtOnce * state.page_bytes > kLeastComparedBytes;
  absl::Status status;
  if (read_pages && many) {
    status = CompareInParallel(state.page_bytes, old_size, read_pages);
  } else {
    status = CompareRuns(runs_, state.page_bytes, old_size, read_pages ? read_pages : read_page,
                         &page_, &changes_);
  }
  if (page_.capacity() > std::max<size_t>(kKeptBytes, state.page_bytes)) {
    std::vector<std::byte>().swap(page_);
  }
  if (runs_.capacity() > kKeptChanges) std::vector<Run>().swap(runs_);
  return status;
}

absl::StatusOr<ltx::Trailer> Chain::EncodeChanges(const ltx::Header& header, const NewState& state,
                                                  const ReadPage& read_page) {
  const bool replaced =
      header.is_snapshot() || !table_valid_ || table_->page_bytes() != state.page_bytes;
  ltx::Checksum database = replaced ? ltx::kEmptyDatabaseChecksum : table_->position().checksum;
  if (!replaced) {
    for (ltx::PageNo pgno = state.size_pages + 1; pgno <= table_->size_pages(); ++pgno) {
      database = ltx::kChecksumFlag | (database ^ table_->Get(pgno));
    }
  }
  RETURN_IF_ERROR(sink_.Open(state.temporary.empty() ? log_->TemporaryPath() : state.temporary));
  RETURN_IF_ERROR(encoder_.Begin(&sink_, header));
  page_.resize(state.page_bytes);
  compression_.Refill(options_.clock->Boot());
  for (const PageChange& change : changes_) {
    RETURN_IF_ERROR(read_page(change.pgno, page_));
    if (ltx::PageChecksum(change.pgno, page_) != change.checksum) {
      return absl::AbortedError(fmt::format("page {} changed while it was read", change.pgno));
    }
    encoder_.SetCompression(compression_.Take(state.page_bytes)
                                ? ltx::Encoder::Compression::kLz4
                                : ltx::Encoder::Compression::kLiteralsOnly);
    RETURN_IF_ERROR(encoder_.AddPage(change.pgno, page_));
    const ltx::Checksum old = replaced ? 0 : table_->Get(change.pgno);
    database = ltx::kChecksumFlag | (database ^ old ^ change.checksum);
  }
  ASSIGN_OR_RETURN(const ltx::Trailer trailer, encoder_.Finish(database));
  RETURN_IF_ERROR(sink_.Close());
  return trailer;
}

absl::Status Chain::Publish() {
  CHECK(prepared_.has_value());
  const Prepared prepared = *prepared_;
  RETURN_IF_ERROR(log_->Append(log_->TemporaryPath(), prepared.file));
  prepared_.reset();
  if (!table_valid_) RETURN_IF_ERROR(table_->Resize(prepared.page_bytes, 0));
  RETURN_IF_ERROR(
      Applied(changes_, prepared.page_bytes, prepared.size_pages, prepared.file.max_txid));
  table_valid_ = true;
  CHECK(table_->position() == prepared.file.end());
  return absl::OkStatus();
}

absl::Status Chain::ApplyPrepared() {
  CHECK(prepared_.has_value());
  const Prepared prepared = *std::exchange(prepared_, std::nullopt);
  return Applied(changes_, prepared.page_bytes, prepared.size_pages, prepared.file.max_txid);
}

void Chain::Discard() { prepared_.reset(); }

absl::Status Chain::Accept(const std::string& temporary, const LtxFileRef& file) {
  return log_->Append(temporary, file);
}

absl::Status Chain::Applied(std::span<const PageChange> changes, uint32_t page_bytes,
                            ltx::PageNo size_pages, ltx::TxId txid) {
  RETURN_IF_ERROR(table_->Resize(page_bytes, size_pages));
  for (const PageChange& change : changes) table_->Set(change.pgno, change.checksum);
  table_->SetTxId(txid);
  return absl::OkStatus();
}

absl::Status Chain::ResetTable(uint32_t page_bytes, ltx::PageNo size_pages, ltx::TxId txid,
                               std::span<const ltx::Checksum> checksums) {
  CHECK(checksums.size() == size_pages);
  RETURN_IF_ERROR(table_->Resize(page_bytes, 0));
  RETURN_IF_ERROR(table_->Resize(page_bytes, size_pages));
  for (ltx::PageNo pgno = 1; pgno <= size_pages; ++pgno) table_->Set(pgno, checksums[pgno - 1]);
  table_->SetTxId(txid);
  table_valid_ = true;
  return absl::OkStatus();
}

// Not by O_TRUNC, which tells ext4 to start writing the file to the disk when it is closed, in case
// it replaces another one (mount option auto_da_alloc): a write of the disk for each transaction.
absl::Status Chain::FileSink::Open(const std::string& path) {
  buffer_.clear();
  offset_ = 0;
  path_ = path;
  ASSIGN_OR_RETURN(fd_, OpenFile(path, O_WRONLY | O_CREAT));
  ASSIGN_OR_RETURN(const uint64_t left, FileSize(fd_.get(), path));  // by one that was discarded
  if (left != 0 && ::ftruncate(fd_.get(), 0) != 0) return ErrnoStatus("truncate " + path, errno);
  return absl::OkStatus();
}

absl::Status Chain::FileSink::Append(std::span<const std::byte> data) {
  buffer_.insert(buffer_.end(), data.begin(), data.end());
  return buffer_.size() < kSinkFlushBytes ? absl::OkStatus() : Flush();
}

absl::Status Chain::FileSink::Flush() {
  RETURN_IF_ERROR(WriteAt(fd_.get(), buffer_, offset_, path_));
  offset_ += buffer_.size();
  buffer_.clear();
  return absl::OkStatus();
}

absl::Status Chain::FileSink::Close() {
  RETURN_IF_ERROR(Flush());
  fd_.reset();
  if (buffer_.capacity() > kKeptSinkBytes) std::vector<std::byte>().swap(buffer_);
  return absl::OkStatus();
}

}  // namespace litefs::db
