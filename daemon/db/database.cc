#include "daemon/db/database.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "common/check.h"
#include "common/posix_io.h"
#include "common/sqlite_format.h"
#include "common/status_macros.h"
#include "ltx/page_checksum.h"

namespace litefs::db {
namespace {

constexpr ltx::PageNo kPagesALock = 64;  // copied while the mutex is held once
constexpr std::chrono::seconds kCopyDeadline{30};
constexpr std::chrono::milliseconds kCopyRetry{5};

absl::StatusOr<UniqueFd> UnlinkedFile(const std::string& directory) {
  return OpenFile(directory, O_TMPFILE | O_RDWR, 0600);
}

}  // namespace

void Counters::Add(const Counters& other) {
  transactions += other.transactions;
  files += other.files;
  pages += other.pages;
  bytes += other.bytes;
  reconciled += other.reconciled;
  deletions += other.deletions;
  drains += other.drains;
  handed_over += other.handed_over;
  refused += other.refused;
}

ltx::Position Database::position() {
  MutexLock lock(mu_);
  return chain_->position();
}

void Database::NoteChanges(std::span<const PageChange> changes) {
  if (changed_in_copy_ == nullptr) return;
  for (const PageChange& change : changes) changed_in_copy_->insert(change.pgno);
  copy_progress_.NotifyAll();
}

bool Database::Prune(int64_t oldest_ms, uint64_t max_bytes, ltx::TxId keep_after) {
  MutexLock lock(mu_);
  return chain_->log().Prune(oldest_ms, max_bytes, std::min(keep_after, chain_->position().txid));
}

// Whether a copy of the differences does without this page.  Page 1 is always there: a file has
// one.
bool Database::IsInBase(ltx::PageNo pgno) const {
  return copy_base_.has_value() && pgno != 1 && pgno <= copy_base_->size() &&
         (*copy_base_)[pgno - 1] == chain_->table().Get(pgno);
}

// Copies one page if it is what the table says.
absl::StatusOr<bool> Database::CopyPage(int fd, ltx::PageNo pgno) {
  const uint32_t page_bytes = chain_->table().page_bytes();
  if (pgno > chain_->table().size_pages() || pgno == sqlite::LockPage(page_bytes)) return true;
  if (IsInBase(pgno)) return true;
  copy_page_.resize(page_bytes);
  RETURN_IF_ERROR(ReadCommitted(pgno, copy_page_));
  if (ltx::PageChecksum(pgno, copy_page_) != chain_->table().Get(pgno)) return false;
  RETURN_IF_ERROR(WriteAt(fd, copy_page_, uint64_t{pgno - 1} * page_bytes, "copy"));
  return true;
}

absl::Status Database::CopyPages(const Copy& copy, ltx::PageNo first, ltx::PageNo last,
                                 PageSet* missed) {
  MutexLock lock(mu_);
  if (chain_->table().page_bytes() != copy.page_bytes) {
    return absl::UnavailableError("the page size changed during the copy");
  }
  for (ltx::PageNo pgno = first; pgno <= last; ++pgno) {
    ASSIGN_OR_RETURN(const bool copied, CopyPage(copy.fd.get(), pgno));
    if (!copied) missed->insert(pgno);
  }
  return absl::OkStatus();
}

// Copies what is missing, with the chain standing still.  False if something cannot be had yet.
absl::StatusOr<bool> Database::FinishCopy(Copy* copy, PageSet* missed, PageSet* changed) {
  MutexLock lock(mu_);
  if (chain_->table().page_bytes() != copy->page_bytes) {
    return absl::UnavailableError("the page size changed during the copy");
  }
  missed->insert(changed->begin(), changed->end());
  changed->clear();
  for (ltx::PageNo pgno = copy->size_pages + 1; pgno <= chain_->table().size_pages(); ++pgno) {
    missed->insert(pgno);
  }
  copy->size_pages = chain_->table().size_pages();
  for (auto it = missed->begin(); it != missed->end();) {
    const auto next = std::next(it);
    ASSIGN_OR_RETURN(const bool copied, CopyPage(copy->fd.get(), *it));
    if (copied) missed->erase(it);
    it = next;
  }
  if (!missed->empty()) return false;
  copy->position = chain_->position();
  const auto bytes = static_cast<off_t>(uint64_t{copy->size_pages} * copy->page_bytes);
  if (::ftruncate(copy->fd.get(), bytes) != 0) return ErrnoStatus("copy " + name(), errno);
  for (ltx::PageNo pgno = 1; copy_base_.has_value() && pgno <= copy->size_pages; ++pgno) {
    if (!IsInBase(pgno) && pgno != sqlite::LockPage(copy->page_bytes)) {
      copy->differing.push_back(pgno);
    }
  }
  changed_in_copy_ = nullptr;
  copy_base_.reset();
  return true;
}

absl::StatusOr<Database::Copy> Database::CopyContent() { return CopyContent(std::nullopt); }

absl::StatusOr<Database::Copy> Database::CopyContent(
    const std::optional<std::span<const ltx::Checksum>>& base) {
  MutexLock one_copy(copy_mu_);
  Copy copy;
  PageSet missed;
  PageSet changed;
  ASSIGN_OR_RETURN(copy.fd, UnlinkedFile(options_.temporary_directory));
  {
    MutexLock lock(mu_);
    if (chain_->position().txid == 0 || !chain_->table_valid()) {
      return absl::UnavailableError(name() + " has no transaction yet");
    }
    copy.page_bytes = chain_->table().page_bytes();
    copy.size_pages = chain_->table().size_pages();
    changed_in_copy_ = &changed;
    copy_base_ = base;
  }
  const auto stop_noting = [&] {
    MutexLock lock(mu_);
    changed_in_copy_ = nullptr;
    copy_base_.reset();
  };
  for (ltx::PageNo pgno = 1; pgno <= copy.size_pages; pgno += kPagesALock) {
    const ltx::PageNo last = std::min(copy.size_pages, pgno + kPagesALock - 1);
    if (const absl::Status status = CopyPages(copy, pgno, last, &missed); !status.ok()) {
      stop_noting();
      return status;
    }
  }
  const auto deadline = std::chrono::steady_clock::now() + kCopyDeadline;
  while (true) {
    const absl::StatusOr<bool> done = FinishCopy(&copy, &missed, &changed);
    if (done.ok() && *done) return copy;
    if (!done.ok() || std::chrono::steady_clock::now() > deadline) {
      stop_noting();
      return done.ok() ? absl::UnavailableError(
                             fmt::format("{}: {} pages are being written by a long transaction",
                                         name(), missed.size()))
                       : done.status();
    }
    // An app's transaction has pages in the file that are not committed: wait for its end.
    // Woken by the next commit; a rollback only by the clock.
    MutexLock lock(mu_);
    copy_progress_.WaitUntil(mu_, std::chrono::steady_clock::now() + kCopyRetry);
  }
}

absl::StatusOr<UniqueFd> Database::Snapshot(LtxFileRef* file) {
  return MakeSnapshot(nullptr, file);
}

absl::Status Database::StreamSnapshot(SnapshotObserver* observer) {
  LtxFileRef file;
  return MakeSnapshot(observer, &file).status();
}

absl::StatusOr<UniqueFd> Database::MakeSnapshot(SnapshotObserver* observer, LtxFileRef* file) {
  ASSIGN_OR_RETURN(UniqueFd direct, SnapshotAtRest(observer, file));
  if (direct.valid()) return direct;
  ASSIGN_OR_RETURN(const Copy copy, CopyContent());
  const auto read = [&copy](ltx::PageNo first, std::span<std::byte> pages) -> absl::StatusOr<bool> {
    const uint64_t offset = uint64_t{first - 1} * copy.page_bytes;
    RETURN_IF_ERROR(ReadExactAt(copy.fd.get(), pages, offset, "copy"));
    return true;
  };
  return WriteSnapshot(copy, read, observer, file);
}

// Reads the next pages of the content that copy describes.  False if it is not to be had: something
// was committed since, or is being written.
absl::StatusOr<bool> Database::ReadAtRest(const Copy& copy, ltx::PageNo first,
                                          std::span<std::byte> pages) {
  MutexLock lock(mu_);
  if (chain_->position() != copy.position) return false;
  for (ltx::PageNo pgno = first; !pages.empty(); ++pgno, pages = pages.subspan(copy.page_bytes)) {
    if (pgno == sqlite::LockPage(copy.page_bytes)) continue;
    RETURN_IF_ERROR(ReadCommitted(pgno, pages.first(copy.page_bytes)));
    const ltx::Checksum checksum = ltx::PageChecksum(pgno, pages.first(copy.page_bytes));
    if (checksum != chain_->table().Get(pgno)) return false;
  }
  return true;
}

// The snapshot without a copy, which most databases have time for.  An invalid descriptor if not.
absl::StatusOr<UniqueFd> Database::SnapshotAtRest(SnapshotObserver* observer, LtxFileRef* file) {
  Copy content;
  {
    MutexLock lock(mu_);
    if (chain_->position().txid == 0 || !chain_->table_valid()) return UniqueFd();
    content.position = chain_->position();
    content.page_bytes = chain_->table().page_bytes();
    content.size_pages = chain_->table().size_pages();
  }
  const auto read = [&](ltx::PageNo first, std::span<std::byte> pages) {
    return ReadAtRest(content, first, pages);
  };
  return WriteSnapshot(content, read, observer, file);
}

// Compressed if nobody waits for it: who reads along would wait for LZ4 most of the time.
absl::StatusOr<UniqueFd> Database::WriteSnapshot(const Copy& content, const ReadPages& read,
                                                 SnapshotObserver* observer, LtxFileRef* file) {
  ASSIGN_OR_RETURN(UniqueFd out, UnlinkedFile(options_.temporary_directory));
  ltx::FdSink sink(out.get(), "snapshot of " + name());
  ltx::Encoder encoder;
  const ltx::Header header = SnapshotHeader(content, {.min_txid = 1});
  RETURN_IF_ERROR(encoder.Begin(&sink, header,
                                observer == nullptr ? ltx::Encoder::Compression::kLz4
                                                    : ltx::Encoder::Compression::kLiteralsOnly));
  if (observer != nullptr) {
    RETURN_IF_ERROR(Announce(out.get(), header, content.position, observer));
  }
  std::vector<std::byte> buffer(kPagesALock * size_t{content.page_bytes});
  for (ltx::PageNo first = 1; first <= content.size_pages; first += kPagesALock) {
    const ltx::PageNo count = std::min(kPagesALock, content.size_pages - first + 1);
    const auto pages = std::span(buffer).first(count * size_t{content.page_bytes});
    ASSIGN_OR_RETURN(const bool there, read(first, pages));
    if (!there) return UniqueFd();
    for (ltx::PageNo i = 0; i < count; ++i) {
      if (first + i == sqlite::LockPage(content.page_bytes)) continue;
      RETURN_IF_ERROR(encoder.AddPage(
          first + i, pages.subspan(i * size_t{content.page_bytes}, content.page_bytes)));
    }
    if (observer == nullptr) continue;
    RETURN_IF_ERROR(sink.Flush());
    observer->Grow(encoder.bytes_written());
  }
  ASSIGN_OR_RETURN(
      out, FinishFile(std::move(out), &sink, &encoder, header, content.position.checksum, file));
  if (observer != nullptr) {
    CHECK(file->size_bytes == ltx::LiteralSnapshotBytes(header.page_bytes, header.commit));
    observer->Grow(file->size_bytes);
  }
  return out;
}

absl::Status Database::Announce(int fd, const ltx::Header& header, const ltx::Position& position,
                                SnapshotObserver* observer) const {
  UniqueFd own(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!own.valid()) return ErrnoStatus("snapshot of " + name(), errno);
  observer->Begin(std::move(own),
                  {.min_txid = header.min_txid,
                   .max_txid = header.max_txid,
                   .pre_apply = header.pre_apply,
                   .post_apply = position.checksum,
                   .size_bytes = ltx::LiteralSnapshotBytes(header.page_bytes, header.commit),
                   .timestamp_ms = header.timestamp_ms});
  return absl::OkStatus();
}

absl::StatusOr<UniqueFd> Database::Delta(uint32_t page_bytes, std::span<const ltx::Checksum> base,
                                         LtxFileRef* file) {
  ltx::Checksum checksum = ltx::kEmptyDatabaseChecksum;
  for (const ltx::Checksum page : base) checksum = ltx::kChecksumFlag | (checksum ^ page);
  ASSIGN_OR_RETURN(const Copy copy, CopyContent(base));
  if (copy.page_bytes != page_bytes || copy.position.txid <= 1) {
    return absl::FailedPreconditionError(name() + " has no difference to that, only a snapshot");
  }
  return Encode(copy, {.min_txid = copy.position.txid, .pre_apply = checksum}, copy.differing,
                file);
}

ltx::Header Database::SnapshotHeader(const Copy& copy, ltx::Header header) const {
  header.page_bytes = copy.page_bytes;
  header.commit = copy.size_pages;
  header.max_txid = copy.position.txid;
  // Of the last transaction in it; of what the chain does not know, now.
  header.timestamp_ms = log().TimeOf(copy.position).value_or(options_.clock->WallMs());
  header.node_id = options_.node_id;
  return header;
}

absl::StatusOr<UniqueFd> Database::Encode(const Copy& copy, ltx::Header header,
                                          std::span<const ltx::PageNo> pages, LtxFileRef* file) {
  ASSIGN_OR_RETURN(UniqueFd out, UnlinkedFile(options_.temporary_directory));
  ltx::FdSink sink(out.get(), "snapshot of " + name());
  ltx::Encoder encoder;
  header = SnapshotHeader(copy, header);
  RETURN_IF_ERROR(encoder.Begin(&sink, header));
  std::vector<std::byte> page(copy.page_bytes);
  for (const ltx::PageNo pgno : pages) {
    RETURN_IF_ERROR(ReadExactAt(copy.fd.get(), page, uint64_t{pgno - 1} * copy.page_bytes, "copy"));
    RETURN_IF_ERROR(encoder.AddPage(pgno, page));
  }
  return FinishFile(std::move(out), &sink, &encoder, header, copy.position.checksum, file);
}

absl::StatusOr<UniqueFd> Database::FinishFile(UniqueFd out, ltx::FdSink* sink,
                                              ltx::Encoder* encoder, const ltx::Header& header,
                                              ltx::Checksum post_apply, LtxFileRef* file) {
  ASSIGN_OR_RETURN(const ltx::Trailer trailer, encoder->Finish(post_apply));
  RETURN_IF_ERROR(sink->Flush());
  if (::lseek(out.get(), 0, SEEK_SET) != 0) return ErrnoStatus("seek", errno);
  *file = {.min_txid = header.min_txid,
           .max_txid = header.max_txid,
           .pre_apply = header.pre_apply,
           .post_apply = trailer.post_apply,
           .size_bytes = encoder->bytes_written(),
           .timestamp_ms = header.timestamp_ms};
  return out;
}

}  // namespace litefs::db
