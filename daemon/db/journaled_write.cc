// The order of things, and why a kill is safe between any two of them:
//
//   1. the journal is written under a temporary name and synced     old content, no journal
//   2. renamed to DB-journal, the directory synced                  old content, hot journal
//   3. pages written, the file cut or extended, synced              some content, hot journal
//   4. the journal unlinked                                         new content, no journal
//
// The rename makes the journal whole from its first moment, so one sync does for what takes
// pager.c two (records, then the header's record count).  The unlink is not synced: if the machine
// dies and the journal is back, the old content is restored and the transaction applied again; the
// next transaction's rename and directory sync replace it for good.

#include "daemon/db/journaled_write.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
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

// Appends to a file through a buffer.
class BufferedWriter {
 public:
  BufferedWriter(int fd, const std::string& name) : fd_(fd), name_(name) {
    buffer_.reserve(kBufferBytes);
  }
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
  uint64_t offset_ = 0;
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

absl::Status WriteJournalTo(int fd, const std::string& name, const JournaledWrite& write,
                            const std::vector<ltx::PageNo>& pages, ltx::PageNo old_pages) {
  const sqlite::JournalHeader header{
      .record_count = static_cast<uint32_t>(pages.size()),
      .nonce = sqlite::RandomUint32(),
      .original_pages = old_pages,
      .page_bytes = write.old_page_bytes != 0 ? write.old_page_bytes : write.page_bytes,
  };
  BufferedWriter writer(fd, name);
  ASSIGN_OR_RETURN(const std::span<std::byte> sector, writer.Extend(sqlite::kJournalSectorBytes));
  sqlite::EncodeJournalHeader(header, sector.first<sqlite::kJournalHeaderBytes>());
  for (const ltx::PageNo pgno : pages) {
    ASSIGN_OR_RETURN(const std::span<std::byte> record, writer.Extend(header.page_bytes + 8));
    const std::span<std::byte> page = record.subspan(4, header.page_bytes);
    StoreBig32(record.data(), pgno);
    // The last page of a damaged file may be short; the rest of it is zeros.
    RETURN_IF_ERROR(ReadAt(write.database_fd, page, uint64_t{pgno - 1} * header.page_bytes,
                           write.paths->database)
                        .status());
    StoreBig32(record.last(4).data(), sqlite::JournalRecordChecksum(header.nonce, page));
  }
  return writer.Flush();
}

absl::Status PlaceJournal(const JournaledWrite& write, const PageSource& source) {
  const DatabasePaths& paths = *write.paths;
  ASSIGN_OR_RETURN(const uint64_t size, FileSize(write.database_fd, paths.database));
  ltx::PageNo old_pages = 0;
  if (write.old_page_bytes != 0) {
    old_pages = static_cast<ltx::PageNo>((size + write.old_page_bytes - 1) / write.old_page_bytes);
  }
  const std::string temporary = write.temporary_directory + "/" + paths.name + "-journal.tmp";
  RETURN_IF_ERROR(RemoveFile(temporary));
  ASSIGN_OR_RETURN(const UniqueFd fd, OpenSideFile(temporary, write.database_fd));
  const std::vector<ltx::PageNo> pages = PagesToSave(write, source, old_pages);
  RETURN_IF_ERROR(WriteJournalTo(fd.get(), temporary, write, pages, old_pages));
  RETURN_IF_ERROR(SyncData(fd.get(), temporary));
  RETURN_IF_ERROR(Rename(temporary, paths.journal));
  return SyncDirectory(paths.directory);
}

}  // namespace

absl::Status WritePages(PageSource& source, uint32_t page_bytes, int fd, const std::string& name) {
  const ltx::PageNo lock_page = sqlite::LockPage(page_bytes);
  const size_t max_run = kBufferBytes / page_bytes;
  std::vector<std::byte> run;
  ltx::PageNo first = 0;  // the page number of run's start
  const auto flush = [&]() -> absl::Status {
    if (run.empty()) return absl::OkStatus();
    const absl::Status status = WriteAt(fd, run, uint64_t{first - 1} * page_bytes, name);
    run.clear();
    return status;
  };
  for (size_t i = 0; i < source.count(); ++i) {
    const ltx::PageNo pgno = source.pgno(i);
    if (pgno == lock_page) continue;
    const size_t pages = run.size() / page_bytes;
    if (pgno != first + pages || pages == max_run) {
      RETURN_IF_ERROR(flush());
      first = pgno;
    }
    run.resize(run.size() + page_bytes);
    RETURN_IF_ERROR(source.Read(i, std::span(run).last(page_bytes)));
  }
  return flush();
}

absl::Status WriteWithJournal(const JournaledWrite& write, PageSource& source) {
  const DatabasePaths& paths = *write.paths;
  RETURN_IF_ERROR(PlaceJournal(write, source));
  RETURN_IF_ERROR(WritePages(source, write.page_bytes, write.database_fd, paths.database));
  const uint64_t new_size = uint64_t{write.commit} * write.page_bytes;
  ASSIGN_OR_RETURN(const uint64_t size, FileSize(write.database_fd, paths.database));
  if (size != new_size && ::ftruncate(write.database_fd, static_cast<off_t>(new_size)) != 0) {
    return ErrnoStatus("truncate " + paths.database, errno);
  }
  RETURN_IF_ERROR(SyncData(write.database_fd, paths.database));
  return RemoveFile(paths.journal);
}

}  // namespace litefs
