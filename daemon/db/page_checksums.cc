#include "daemon/db/page_checksums.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>

#include "common/check.h"
#include "common/posix_io.h"
#include "common/status_macros.h"

namespace litefs::db {
namespace {

constexpr uint64_t kMagic = 0x3130736b63685843;  // never change: on disk
constexpr size_t kMinimumBytes = 4096;
constexpr size_t kMapStepBytes = 64 << 10;  // 8,192 pages

}  // namespace

absl::StatusOr<std::unique_ptr<PageChecksums>> PageChecksums::Open(const std::string& path) {
  ASSIGN_OR_RETURN(UniqueFd fd, OpenFile(path, O_RDWR | O_CREAT));
  ASSIGN_OR_RETURN(const uint64_t size, FileSize(fd.get(), path));
  std::unique_ptr<PageChecksums> table(new PageChecksums(std::move(fd), path));
  RETURN_IF_ERROR(table->Map(std::max<size_t>(kMinimumBytes, size)));
  Header& header = *table->header_;
  const bool usable =
      header.magic == kMagic &&
      sizeof(Header) + uint64_t{header.size_pages} * sizeof(uint64_t) <= table->mapped_bytes_;
  if (!usable) {
    header = Header{};
    header.magic = kMagic;
    header.database = ltx::kEmptyDatabaseChecksum;
  }
  return table;
}

PageChecksums::~PageChecksums() {
  if (header_ != nullptr) ::munmap(header_, mapped_bytes_);
}

absl::Status PageChecksums::Map(size_t bytes) {
  if (const int error = ::posix_fallocate(fd_.get(), 0, static_cast<off_t>(bytes)); error != 0) {
    return ErrnoStatus("reserve space for " + path_, error);
  }
  void* const map = header_ == nullptr
                        ? ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0)
                        : ::mremap(header_, mapped_bytes_, bytes, MREMAP_MAYMOVE);
  if (map == MAP_FAILED) return ErrnoStatus("map " + path_, errno);
  header_ = static_cast<Header*>(map);
  entries_ = reinterpret_cast<uint64_t*>(header_ + 1);
  mapped_bytes_ = bytes;
  return absl::OkStatus();
}

absl::Status PageChecksums::Reserve(ltx::PageNo size_pages) {
  const size_t need = sizeof(Header) + size_t{size_pages} * sizeof(uint64_t);
  if (need <= mapped_bytes_) return absl::OkStatus();
  const size_t grown = need + need / 8;
  return Map((grown + kMapStepBytes - 1) / kMapStepBytes * kMapStepBytes);
}

absl::Status PageChecksums::Resize(uint32_t page_bytes, ltx::PageNo size_pages) {
  RETURN_IF_ERROR(Reserve(size_pages));
  if (page_bytes != header_->page_bytes) {
    header_->size_pages = 0;
    header_->database = ltx::kEmptyDatabaseChecksum;
    header_->page_bytes = page_bytes;
  }
  const ltx::PageNo old = header_->size_pages;
  for (ltx::PageNo pgno = size_pages + 1; pgno <= old; ++pgno) Set(pgno, 0);
  if (size_pages > old) {
    std::fill(entries_ + old, entries_ + size_pages, 0);
  }
  header_->size_pages = size_pages;
  return absl::OkStatus();
}

void PageChecksums::Set(ltx::PageNo pgno, ltx::Checksum checksum) {
  CHECK(pgno >= 1 && pgno <= header_->size_pages);
  uint64_t& entry = entries_[pgno - 1];
  header_->database = ltx::kChecksumFlag | (header_->database ^ entry ^ checksum);
  entry = checksum;
}

void PageChecksums::Recompute() {
  uint64_t sum = 0;
  for (ltx::PageNo i = 0; i < header_->size_pages; ++i) sum ^= entries_[i];
  header_->database = ltx::kChecksumFlag | sum;
}

}  // namespace litefs::db
