// The order of things, and why a death of the process or the machine is safe between any two:
//
//   a journal that is made anew                        a kept one
//   1. written under another name, synced              records written behind a header of zeros,
//   synced
//   2. renamed to DB-journal, the directory synced     the header written, synced
//        old content, and from here on a hot journal
//   3. pages written, the file cut or extended, synced
//        some content, hot journal
//   4. unlinked; or zeros over the header
//        new content, no journal
//   5. the zeros are synced, before anything else is written to it
//
// Each file is whole before it counts, so torn records do not matter: the checksum of a record
// covers every 200th byte only, and in a kept file the rest may be an older record's.  For the same
// reason 5 must come before the next 1: an old header over new records would restore some pages of
// one transaction and not the others.  4 itself is not waited for: if the machine dies and the
// journal is back, the old content is restored and the transaction applied again.
//
// Why the syncs at all, though the chain has everything: after a power failure readers come before
// the daemon does.
#include "daemon/db/rollback_journal.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <utility>
#include <vector>

#include "common/endian.h"
#include "common/posix_io.h"
#include "common/status_macros.h"
#include "daemon/db/side_file.h"
#include "daemon/sqlite/journal_format.h"
#include "daemon/sqlite/random.h"

namespace litefs {
namespace {

constexpr size_t kBufferBytes = 1 << 20;
// Of a larger write so much at a time is handed to the disk, ahead of the sync at its end.
constexpr uint64_t kWriteBackBytes = 16 << 20;
// A journal to be kept: room for so much from the first, and none that is larger.
constexpr uint64_t kMinKeptBytes = 64 << 10;
constexpr uint64_t kMaxKeptBytes = 1 << 20;

// Appends to a file through a buffer.
class BufferedWriter {
 public:
  BufferedWriter(int fd, const std::string& name, uint64_t offset)
      : fd_(fd), name_(name), offset_(offset) {}
  // Where the next byte goes.
  uint64_t end() const { return offset_ + buffer_.size(); }
  // Room for n more bytes at the end, to be filled in before the next call.
  absl::StatusOr<std::span<std::byte>> Extend(size_t n) {
    if (!buffer_.empty() && buffer_.size() + n > kBufferBytes) RETURN_IF_ERROR(Flush());
    buffer_.resize(buffer_.size() + n);
    return std::span(buffer_).last(n);
  }
  absl::Status Flush() {
    RETURN_IF_ERROR(WriteAt(fd_, buffer_, offset_, name_));
    offset_ += buffer_.size();
    buffer_.clear();
    return absl::OkStatus();
  }

 private:
  const int fd_;
  const std::string& name_;
  uint64_t offset_;
  std::vector<std::byte> buffer_;
};

// The pages of the old content that the write is about to change or cut off.
std::vector<ltx::PageNo> PagesToSave(const JournaledWrite& write, const PageSource& source,
                                     ltx::PageNo old_pages) {
  std::vector<ltx::PageNo> pages;
  if (old_pages == 0) return pages;
  const ltx::PageNo lock_page = sqlite::LockPage(write.old_page_bytes);
  const auto add = [&](ltx::PageNo pgno) {
    if (pgno <= old_pages && pgno != lock_page) pages.push_back(pgno);
  };
  ltx::PageNo first_cut_off = 1;
  if (write.old_page_bytes == write.page_bytes) {
    first_cut_off = write.commit + 1;
    for (size_t i = 0; i < source.count(); ++i) add(source.pgno(i));
  }
  for (uint64_t pgno = first_cut_off; pgno <= old_pages; ++pgno) {
    add(static_cast<ltx::PageNo>(pgno));
  }
  return pages;
}

uint32_t JournalPageBytes(const JournaledWrite& write) {
  return write.old_page_bytes != 0 ? write.old_page_bytes : write.page_bytes;
}

absl::StatusOr<ltx::PageNo> OldPages(const JournaledWrite& write, const std::string& name) {
  if (write.old_page_bytes == 0) return 0;
  ASSIGN_OR_RETURN(const uint64_t size, FileSize(write.database_fd, name));
  return static_cast<ltx::PageNo>((size + write.old_page_bytes - 1) / write.old_page_bytes);
}

// The records, and zeros up to zeros_to: all that a new file needs, or as much as makes SQLite see
// the end of the journal (it would go on with what looks like a header in the next sector).
absl::Status WriteRecords(int fd, const std::string& name, const JournaledWrite& write,
                          const std::string& database, const std::vector<ltx::PageNo>& pages,
                          uint32_t nonce, uint64_t zeros_to) {
  BufferedWriter writer(fd, name, sqlite::kJournalSectorBytes);
  const uint32_t page_bytes = JournalPageBytes(write);
  for (const ltx::PageNo pgno : pages) {
    ASSIGN_OR_RETURN(const std::span<std::byte> record, writer.Extend(page_bytes + 8));
    const std::span<std::byte> page = record.subspan(4, page_bytes);
    StoreBig32(record.data(), pgno);
    // The last page of a damaged file may be short; the rest of it is zeros.
    RETURN_IF_ERROR(
        ReadAt(write.database_fd, page, uint64_t{pgno - 1} * page_bytes, database).status());
    StoreBig32(record.last(4).data(), sqlite::JournalRecordChecksum(nonce, page));
  }
  while (writer.end() < zeros_to) {
    RETURN_IF_ERROR(
        writer.Extend(std::min<uint64_t>(zeros_to - writer.end(), kBufferBytes)).status());
  }
  return writer.Flush();
}

absl::Status WriteHeader(int fd, const std::string& name, const sqlite::JournalHeader& header) {
  std::array<std::byte, sqlite::kJournalSectorBytes> sector{};
  sqlite::EncodeJournalHeader(header, std::span(sector).first<sqlite::kJournalHeaderBytes>());
  return WriteAt(fd, sector, 0, name);
}

// With the rest of the last sector and the next one.
uint64_t JournalBytes(size_t records, uint32_t page_bytes) {
  const uint64_t end = sqlite::kJournalSectorBytes + records * (uint64_t{page_bytes} + 8);
  return (end / sqlite::kJournalSectorBytes + 2) * sqlite::kJournalSectorBytes;
}

}  // namespace

absl::Status WritePages(PageSource& source, uint32_t page_bytes, int fd, const std::string& name) {
  const ltx::PageNo lock_page = sqlite::LockPage(page_bytes);
  const size_t max_run = kBufferBytes / page_bytes;
  std::vector<std::byte> run(std::min(max_run, source.count()) * page_bytes);
  ltx::PageNo first = 0;  // the page number of run's start
  size_t pages = 0;       // in run
  uint64_t written = 0;   // and not yet on their way to the disk
  const auto flush = [&]() -> absl::Status {
    const std::span<const std::byte> data = std::span(run).first(pages * page_bytes);
    const uint64_t offset = uint64_t{first - 1} * page_bytes;
    pages = 0;
    if (data.empty()) return absl::OkStatus();
    RETURN_IF_ERROR(WriteAt(fd, data, offset, name));
    if ((written += data.size()) < kWriteBackBytes) return absl::OkStatus();
    // The disk works while we do; the sync at the end is what counts, so an error is its to find.
    ::sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
    written = 0;
    return absl::OkStatus();
  };
  for (size_t i = 0; i < source.count(); ++i) {
    const ltx::PageNo pgno = source.pgno(i);
    if (pgno == lock_page) continue;
    if (pgno != first + pages || pages == max_run) {
      RETURN_IF_ERROR(flush());
      first = pgno;
    }
    RETURN_IF_ERROR(source.Read(i, std::span(run).subspan(pages * page_bytes, page_bytes)));
    ++pages;
  }
  return flush();
}

absl::Status RollbackJournal::Begin(const JournaledWrite& write, const PageSource& source) {
  ASSIGN_OR_RETURN(const ltx::PageNo old_pages, OldPages(write, paths_.database));
  const std::vector<ltx::PageNo> pages = PagesToSave(write, source, old_pages);
  const sqlite::JournalHeader header{.record_count = static_cast<uint32_t>(pages.size()),
                                     .nonce = sqlite::RandomUint32(),
                                     .original_pages = old_pages,
                                     .page_bytes = JournalPageBytes(write)};
  const uint64_t bytes = JournalBytes(pages.size(), header.page_bytes);
  if (!kept_.valid() || bytes >= capacity_bytes_ || !IsInPlace()) {
    return Create(write, pages, header, bytes);
  }
  RETURN_IF_ERROR(Settle());
  const int fd = kept_.get();
  RETURN_IF_ERROR(
      WriteRecords(fd, paths_.journal, write, paths_.database, pages, header.nonce, bytes));
  RETURN_IF_ERROR(SyncData(fd, paths_.journal));
  ended_durably_ = false;
  RETURN_IF_ERROR(WriteHeader(fd, paths_.journal, header));
  return SyncData(fd, paths_.journal);
}

// Whether the kept file still has its name.
bool RollbackJournal::IsInPlace() const {
  struct stat own;
  struct stat named;
  return ::fstat(kept_.get(), &own) == 0 && ::stat(paths_.journal.c_str(), &named) == 0 &&
         own.st_dev == named.st_dev && own.st_ino == named.st_ino;
}

absl::Status RollbackJournal::Create(const JournaledWrite& write,
                                     const std::vector<ltx::PageNo>& pages,
                                     const sqlite::JournalHeader& header, uint64_t bytes) {
  kept_.reset();
  // One more sector than records ever take: SQLite looks for a super-journal's name at the end.
  const bool keep = bytes < kMaxKeptBytes;
  const uint64_t capacity = keep ? std::max(std::bit_ceil(bytes + 1), kMinKeptBytes) : bytes;
  const std::string temporary = temporary_directory_ + "/" + paths_.name + "-journal.tmp";
  RETURN_IF_ERROR(RemoveFile(temporary));
  ASSIGN_OR_RETURN(UniqueFd fd, OpenSideFile(temporary, write.database_fd));
  RETURN_IF_ERROR(WriteHeader(fd.get(), temporary, header));
  RETURN_IF_ERROR(
      WriteRecords(fd.get(), temporary, write, paths_.database, pages, header.nonce, capacity));
  RETURN_IF_ERROR(SyncData(fd.get(), temporary));
  RETURN_IF_ERROR(Rename(temporary, paths_.journal));
  if (keep) kept_ = std::move(fd);
  capacity_bytes_ = capacity;
  ended_durably_ = false;
  return SyncDirectory(paths_.directory);
}

absl::Status RollbackJournal::Replace(const JournaledWrite& write, PageSource& source) {
  RETURN_IF_ERROR(WritePages(source, write.page_bytes, write.database_fd, paths_.database));
  const uint64_t new_size = uint64_t{write.commit} * write.page_bytes;
  ASSIGN_OR_RETURN(const uint64_t size, FileSize(write.database_fd, paths_.database));
  if (size != new_size && ::ftruncate(write.database_fd, static_cast<off_t>(new_size)) != 0) {
    return ErrnoStatus("truncate " + paths_.database, errno);
  }
  return SyncData(write.database_fd, paths_.database);
}

absl::Status RollbackJournal::End() {
  // Who has taken the name away has taken the journal away.
  if (!kept_.valid() || !IsInPlace()) {
    kept_.reset();
    ended_durably_ = false;
    return RemoveFile(paths_.journal);
  }
  constexpr std::array<std::byte, sqlite::kJournalHeaderBytes> kZeros{};
  return WriteAt(kept_.get(), kZeros, 0, paths_.journal);
}

absl::Status RollbackJournal::Settle() {
  if (ended_durably_) return absl::OkStatus();
  RETURN_IF_ERROR(kept_.valid() ? SyncData(kept_.get(), paths_.journal)
                                : SyncDirectory(paths_.directory));
  ended_durably_ = true;
  return absl::OkStatus();
}

absl::Status RollbackJournal::Remove() {
  if (!kept_.valid()) return absl::OkStatus();
  kept_.reset();
  return RemoveFile(paths_.journal);
}

}  // namespace litefs
