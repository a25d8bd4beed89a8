#include "common/posix_io.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "common/status_macros.h"

namespace litefs {

absl::Status ErrnoStatus(std::string_view context, int error) {
  const std::string message = fmt::format("{}: {}", context, strerror(error));
  switch (error) {
    case ENOENT:
      return absl::NotFoundError(message);
    case EEXIST:
      return absl::AlreadyExistsError(message);
    case ENOSPC:
    case EDQUOT:
      return absl::ResourceExhaustedError(message);
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::PermissionDeniedError(message);
    case EAGAIN:
      return absl::UnavailableError(message);
    default:
      return absl::UnknownError(message);
  }
}

absl::StatusOr<UniqueFd> OpenFile(const std::string& path, int flags, unsigned mode) {
  int fd;
  do {
    fd = ::open(path.c_str(), flags | O_CLOEXEC, mode);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0) return ErrnoStatus("open " + path, errno);
  return UniqueFd(fd);
}

absl::StatusOr<size_t> ReadAt(int fd, std::span<std::byte> out, uint64_t offset,
                              std::string_view name) {
  size_t done = 0;
  while (done < out.size()) {
    const ssize_t n =
        ::pread(fd, out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoStatus("read " + std::string(name), errno);
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  return done;
}

absl::Status ReadExactAt(int fd, std::span<std::byte> out, uint64_t offset, std::string_view name) {
  ASSIGN_OR_RETURN(const size_t n, ReadAt(fd, out, offset, name));
  if (n == out.size()) return absl::OkStatus();
  return absl::OutOfRangeError(fmt::format("read {}: file ends at {}, wanted {} bytes at {}", name,
                                           offset + n, out.size(), offset));
}

absl::Status WriteAt(int fd, std::span<const std::byte> data, uint64_t offset,
                     std::string_view name) {
  size_t done = 0;
  while (done < data.size()) {
    const ssize_t n =
        ::pwrite(fd, data.data() + done, data.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoStatus("write " + std::string(name), errno);
    done += static_cast<size_t>(n);
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> FileSize(int fd, std::string_view name) {
  struct stat st;
  if (::fstat(fd, &st) != 0) return ErrnoStatus("stat " + std::string(name), errno);
  return static_cast<uint64_t>(st.st_size);
}

absl::Status SyncData(int fd, std::string_view name) {
  int rc;
  do {
    rc = ::fdatasync(fd);
  } while (rc != 0 && errno == EINTR);
  return rc == 0 ? absl::OkStatus() : ErrnoStatus("sync " + std::string(name), errno);
}

absl::Status SyncDirectory(const std::string& path) {
  ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile(path, O_RDONLY | O_DIRECTORY));
  return SyncData(fd.get(), path);
}

absl::Status Rename(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) == 0) return absl::OkStatus();
  return ErrnoStatus("rename " + from + " to " + to, errno);
}

absl::Status MakeDirectory(const std::string& path, unsigned mode) {
  if (::mkdir(path.c_str(), mode) == 0 || errno == EEXIST) return absl::OkStatus();
  return ErrnoStatus("create directory " + path, errno);
}

absl::StatusOr<std::vector<std::string>> ListDirectory(const std::string& path) {
  struct CloseDirectory {
    void operator()(DIR* dir) const { ::closedir(dir); }
  };
  const std::unique_ptr<DIR, CloseDirectory> dir(::opendir(path.c_str()));
  if (!dir) return ErrnoStatus("list " + path, errno);
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* entry = ::readdir(dir.get())) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
    errno = 0;
  }
  if (errno != 0) return ErrnoStatus("list " + path, errno);
  return names;
}

absl::StatusOr<std::string> ReadWholeFile(const std::string& path, size_t max_bytes) {
  ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile(path, O_RDONLY));
  ASSIGN_OR_RETURN(const uint64_t size, FileSize(fd.get(), path));
  if (size > max_bytes) {
    return absl::OutOfRangeError(
        fmt::format("read {}: {} bytes, at most {} expected", path, size, max_bytes));
  }
  std::string data(size, '\0');
  ASSIGN_OR_RETURN(const size_t n,
                   ReadAt(fd.get(), std::as_writable_bytes(std::span(data)), 0, path));
  data.resize(n);
  return data;
}

absl::Status WriteWholeFile(const std::string& path, std::string_view data) {
  const std::string temporary = path + ".tmp";
  {
    ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile(temporary, O_WRONLY | O_CREAT | O_TRUNC));
    RETURN_IF_ERROR(WriteAt(fd.get(), std::as_bytes(std::span(data)), 0, temporary));
    RETURN_IF_ERROR(SyncData(fd.get(), temporary));
  }
  RETURN_IF_ERROR(Rename(temporary, path));
  const size_t slash = path.rfind('/');
  return SyncDirectory(slash == std::string::npos ? "." : path.substr(0, slash + 1));
}

}  // namespace litefs
