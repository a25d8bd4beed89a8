#include "daemon/db/incoming_file.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <span>
#include <utility>

#include "common/check.h"
#include "common/log.h"
#include "common/posix_io.h"
#include "common/sqlite_format.h"
#include "common/status_macros.h"
#include "ltx/page_checksum.h"

namespace litefs::db {
namespace {

constexpr size_t kWriteBytes = 1 << 20;
// What a disk may want of addresses, offsets and lengths that go past the page cache.
constexpr size_t kAlignment = 4096;

absl::StatusOr<UniqueFd> UncachedFile(const std::string& directory) {
  absl::StatusOr<UniqueFd> fd = OpenFile(directory, O_TMPFILE | O_RDWR | O_DIRECT);
  return fd.ok() ? std::move(fd) : OpenFile(directory, O_TMPFILE | O_RDWR);
}

// From now on as any other file.
absl::Status UseCache(int fd) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags >= 0 && ::fcntl(fd, F_SETFL, flags & ~O_DIRECT) == 0) return absl::OkStatus();
  return ErrnoStatus("a new database", errno);
}

}  // namespace

// The file as a decoder reads it: it waits for what has not come.
class IncomingFile::Source final : public ltx::ByteSource {
 public:
  explicit Source(IncomingFile* file) : file_(file) {}
  absl::Status ReadAt(std::span<std::byte> out, uint64_t offset) override {
    if (offset > size() || out.size() > size() - offset) {
      return absl::OutOfRangeError("received file: read past its end");
    }
    RETURN_IF_ERROR(file_->AwaitArrival(offset + out.size()));
    return ReadExactAt(file_->fd_.get(), out, offset, "received file");
  }
  uint64_t size() const override { return file_->size_bytes_; }

 private:
  IncomingFile* const file_;
};

// Writes pages that follow each other, many at once.
class IncomingFile::Writer {
 public:
  explicit Writer(int fd)
      : fd_(fd), data_(static_cast<std::byte*>(std::aligned_alloc(kAlignment, kWriteBytes))) {
    CHECK(data_ != nullptr);
  }
  // The lock page, which no snapshot has, is left out or written as zeros.
  absl::Status Add(std::span<const std::byte> page) {
    std::copy(page.begin(), page.end(), data_.get() + size_);
    size_ += page.size();  // which divides kWriteBytes
    return size_ == kWriteBytes ? Flush() : absl::OkStatus();
  }
  absl::Status Finish() {
    RETURN_IF_ERROR(UseCache(fd_));  // of the rest, whose length is any
    return Flush();
  }

 private:
  struct Free {
    void operator()(std::byte* data) const { std::free(data); }
  };
  absl::Status Flush() {
    RETURN_IF_ERROR(WriteAt(fd_, {data_.get(), size_}, offset_, "a new database"));
    offset_ += std::exchange(size_, 0);
    return absl::OkStatus();
  }

  const int fd_;
  const std::unique_ptr<std::byte, Free> data_;
  size_t size_ = 0;
  uint64_t offset_ = 0;
};

absl::StatusOr<std::shared_ptr<IncomingFile>> IncomingFile::Begin(int fd, uint64_t size_bytes,
                                                                  const std::string& directory) {
  UniqueFd own(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!own.valid()) return ErrnoStatus("received file", errno);
  std::shared_ptr<IncomingFile> file(new IncomingFile(std::move(own), size_bytes));
  if (!directory.empty()) {
    ASSIGN_OR_RETURN(UniqueFd out, UncachedFile(directory));
    MutexLock lock(file->mu_);
    file->made_ = false;
    file->writer_ = std::thread(
        [self = file.get(), to = std::move(out)]() mutable { self->Make(std::move(to)); });
  }
  file->verifier_ = std::thread([self = file.get()] { self->Verify(); });
  return file;
}

IncomingFile::~IncomingFile() {
  {
    MutexLock lock(mu_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  if (verifier_.joinable()) verifier_.join();
  if (writer_.joinable()) writer_.join();
}

absl::Status IncomingFile::Arrived(uint64_t bytes) {
  MutexLock lock(mu_);
  arrived_ = bytes;
  changed_.NotifyAll();
  return verified_ ? result_.status() : absl::OkStatus();
}

absl::StatusOr<ltx::FileInfo> IncomingFile::Finish() {
  MutexLock lock(mu_);
  while (!verified_) changed_.Wait(mu_);
  return result_;
}

std::unique_ptr<NewDatabase> IncomingFile::TakeDatabase() {
  MutexLock lock(mu_);
  while (!made_) changed_.Wait(mu_);
  return std::move(database_);
}

absl::Status IncomingFile::AwaitArrival(uint64_t bytes) {
  MutexLock lock(mu_);
  while (arrived_ < bytes && !stopping_) changed_.Wait(mu_);
  return stopping_ ? absl::CancelledError("received file: given up") : absl::OkStatus();
}

absl::StatusOr<ltx::FileInfo> IncomingFile::Decode(const Visit& visit) {
  Source source(this);
  ASSIGN_OR_RETURN(const auto decoder, ltx::Decoder::Open(&source));
  ltx::FileInfo info{.header = decoder->header(), .trailer = {}, .encoding = decoder->encoding()};
  std::vector<std::byte> page(info.header.page_bytes);
  for (ltx::PageNo pgno = 0;; ++info.page_count) {
    ASSIGN_OR_RETURN(const bool more, decoder->Next(&pgno, page));
    if (!more) break;
    if (visit) RETURN_IF_ERROR(visit(*decoder, pgno, page));
  }
  info.trailer = decoder->trailer();
  return info;
}

void IncomingFile::Verify() {
  absl::StatusOr<ltx::FileInfo> result = Decode(nullptr);
  MutexLock lock(mu_);
  result_ = std::move(result);
  verified_ = true;
  changed_.NotifyAll();
}

// What the writer decodes need not be believed: TakeDatabase comes after Finish.
absl::Status IncomingFile::Write(NewDatabase* database) {
  Writer writer(database->fd.get());
  std::vector<std::byte> zeros;
  const auto add = [&](const ltx::Decoder& decoder, ltx::PageNo pgno,
                       std::span<const std::byte> page) -> absl::Status {
    if (!decoder.header().is_snapshot() || !decoder.header().has_checksums()) {
      return absl::FailedPreconditionError("no snapshot");
    }
    if (pgno == database->sums.size() + 2) {  // the lock page is between
      zeros.resize(page.size());
      database->sums.push_back(0);
      RETURN_IF_ERROR(writer.Add(zeros));
    }
    database->sums.push_back(ltx::PageChecksum(pgno, page));
    return writer.Add(page);
  };
  ASSIGN_OR_RETURN(const ltx::FileInfo info, Decode(add));
  if (database->sums.empty()) return absl::FailedPreconditionError("no pages");
  database->sums.resize(info.header.commit, 0);  // the last one may be the lock page
  database->page_bytes = info.header.page_bytes;
  database->size_pages = info.header.commit;
  database->position = {info.header.max_txid, info.trailer.post_apply};
  return writer.Finish();
}

// Without room for both, the file comes first: it is applied when there is.
void IncomingFile::Make(UniqueFd fd) {
  auto database = std::make_unique<NewDatabase>();
  database->fd = std::move(fd);
  const absl::Status status = Write(database.get());
  if (!status.ok()) database.reset();
  if (absl::IsResourceExhausted(status)) LogWarn("apply", status.ToString());
  MutexLock lock(mu_);
  database_ = std::move(database);
  made_ = true;
  changed_.NotifyAll();
}

}  // namespace litefs::db
