#include "daemon/db/database_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "common/posix_io.h"
#include "common/sqlite_format.h"
#include "common/status_macros.h"

namespace litefs::db {

absl::Status DatabaseFile::Refresh(bool* replaced) {
  *replaced = false;
  struct stat st;
  if (::stat(path_.c_str(), &st) != 0) {
    return ErrnoStatus("database " + path_, errno);
  }
  if (fd_.valid() && st.st_dev == device_ && st.st_ino == inode_) return absl::OkStatus();
  *replaced = fd_.valid();
  if (!S_ISREG(st.st_mode)) return absl::InvalidArgumentError(path_ + " is not a regular file");
  // Read and write: an exclusive or shared lock by fcntl needs the matching access.
  ASSIGN_OR_RETURN(fd_, OpenFile(path_, O_RDWR));
  if (::fstat(fd_.get(), &st) != 0) return ErrnoStatus("stat " + path_, errno);
  device_ = st.st_dev;
  inode_ = st.st_ino;
  return absl::OkStatus();
}

absl::StatusOr<sqlite::DbHeader> DatabaseFile::ReadHeader() const {
  std::array<std::byte, sqlite::kHeaderBytes> data;
  ASSIGN_OR_RETURN(const size_t n, ReadAt(fd_.get(), data, 0, path_));
  if (n == 0) return absl::NotFoundError(path_ + " is empty");
  if (n < data.size()) return absl::DataLossError(fmt::format("{} has only {} bytes", path_, n));
  return sqlite::ParseDbHeader(data);
}

absl::StatusOr<ltx::PageNo> DatabaseFile::SizePages(const sqlite::DbHeader& header) const {
  if (header.size_valid() && header.size_pages != 0) return header.size_pages;
  ASSIGN_OR_RETURN(const uint64_t bytes, FileSize(fd_.get(), path_));
  return static_cast<ltx::PageNo>(bytes / header.page_bytes);
}

absl::Status DatabaseFile::ReadPages(ltx::PageNo first, uint32_t page_bytes,
                                     std::span<std::byte> pages) const {
  const uint64_t offset = uint64_t{first - 1} * page_bytes;
  ASSIGN_OR_RETURN(const size_t n, ReadAt(fd_.get(), pages, offset, path_));
  std::memset(pages.data() + n, 0, pages.size() - n);
  return absl::OkStatus();
}

absl::StatusOr<int64_t> DatabaseFile::ModifiedNs() const {
  struct stat st;
  if (::fstat(fd_.get(), &st) != 0) return ErrnoStatus("stat " + path_, errno);
  return int64_t{st.st_mtim.tv_sec} * 1'000'000'000 + st.st_mtim.tv_nsec;
}

}  // namespace litefs::db
