// Why each step is there.  Temporary names are random and opened with O_EXCL, so that two writers
// of one name do not meet; they sit in the object's own directory, because rename and link do not
// cross file systems.  link(2) and not renameat2(RENAME_NOREPLACE), which NFS and others lack.  A
// link whose reply NFS lost, and repeats, says EEXIST although it was made: the link count tells.

#include "daemon/archive/file_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "common/hex.h"
#include "common/posix_io.h"
#include "common/status_macros.h"
#include "daemon/archive/directory_walk.h"

namespace litefs::archive {
namespace {

constexpr unsigned kFileMode = 0640;
constexpr unsigned kDirectoryMode = 0750;
constexpr size_t kCopyBytes = 256 << 10;

absl::StatusOr<std::string> RandomName() {
  uint64_t number = 0;
  if (getrandom(&number, sizeof(number), 0) != sizeof(number)) {
    return ErrnoStatus("getrandom", errno);
  }
  return std::string(kTemporaryPrefix) + Hex16(number);
}

int64_t Milliseconds(const timespec& time) {
  return int64_t{time.tv_sec} * 1000 + time.tv_nsec / 1'000'000;
}

std::string DirectoryOf(const std::string& path) { return path.substr(0, path.rfind('/')); }

// Removes a temporary file unless told that it has gone.
class TemporaryFile {
 public:
  explicit TemporaryFile(std::string path) : path_(std::move(path)) {}
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() { ::unlink(path_.c_str()); }  // ENOENT after a rename
  const std::string& path() const { return path_; }

 private:
  const std::string path_;
};

// The entries of the directory that are objects or directories.  What vanishes meanwhile, and what
// is neither, is left out.
absl::StatusOr<std::vector<DirectoryEntry>> ReadEntries(const std::string& directory) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(directory));
  std::vector<DirectoryEntry> entries;
  for (const std::string& name : names) {
    if (IsTemporaryName(name)) continue;
    struct stat st;
    const std::string path = directory + "/" + name;
    if (::stat(path.c_str(), &st) != 0) {
      if (errno == ENOENT) continue;
      return ErrnoStatus(path, errno);
    }
    if (S_ISDIR(st.st_mode)) entries.push_back({.name = name + "/"});
    if (S_ISREG(st.st_mode)) {
      entries.push_back({.name = name,
                         .size = static_cast<uint64_t>(st.st_size),
                         .modified_ms = Milliseconds(st.st_mtim)});
    }
  }
  return entries;
}

// Removes the old temporary files of one directory, and appends its sub-directories to the list.
absl::Status SweepDirectory(const std::string& directory, int64_t older_than_ms,
                            std::vector<std::string>* directories, size_t* removed) {
  auto names = ListDirectory(directory);
  if (absl::IsNotFound(names.status())) return absl::OkStatus();
  if (!names.ok()) return names.status();
  for (const std::string& name : *names) {
    const std::string path = directory + "/" + name;
    struct stat st;
    if (::lstat(path.c_str(), &st) != 0) continue;
    if (S_ISDIR(st.st_mode)) directories->push_back(path);
    if (!S_ISREG(st.st_mode) || !IsTemporaryName(name)) continue;
    if (Milliseconds(st.st_mtim) > older_than_ms) continue;
    if (::unlink(path.c_str()) == 0) {
      ++*removed;
    } else if (errno != ENOENT) {
      return ErrnoStatus(path, errno);
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<FileStore>> FileStore::Open(const std::string& root) {
  std::string path = root;
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  if (path == "/" || path.empty()) {
    return absl::InvalidArgumentError(
        fmt::format("\"{}\": an archive cannot be the root directory", root));
  }
  struct stat st;
  const size_t slash = path.rfind('/');
  const std::string parent =
      slash == std::string::npos ? "." : path.substr(0, std::max<size_t>(slash, 1));
  if (::stat(parent.c_str(), &st) != 0) {
    return ErrnoStatus(fmt::format("archive {}: its parent {}", path, parent), errno);
  }
  if (!S_ISDIR(st.st_mode)) {
    return absl::InvalidArgumentError(fmt::format("archive {}: not in a directory", path));
  }
  if (::stat(path.c_str(), &st) == 0 && !S_ISDIR(st.st_mode)) {
    return absl::InvalidArgumentError(fmt::format("archive {}: not a directory", path));
  }
  return std::unique_ptr<FileStore>(new FileStore(std::move(path)));
}

std::string FileStore::PathOf(std::string_view name) const {
  return fmt::format("{}/{}", root_, name);
}

absl::Status FileStore::CheckRunning() const {
  if (stopped_) return absl::CancelledError(fmt::format("{}: stopped", root_));
  return absl::OkStatus();
}

absl::Status FileStore::List(std::string_view prefix, std::string_view start_after,
                             const Visitor& visit) {
  return WalkDirectories(
      prefix, start_after,
      [this](const std::string& relative) -> absl::StatusOr<std::vector<DirectoryEntry>> {
        RETURN_IF_ERROR(CheckRunning());
        return ReadEntries(relative.empty() ? root_ : DirectoryOf(root_ + "/" + relative));
      },
      visit);
}

absl::StatusOr<UniqueFd> FileStore::OpenObject(std::string_view name) const {
  RETURN_IF_ERROR(CheckRunning());
  RETURN_IF_ERROR(CheckObjectName(name));
  const std::string path = PathOf(name);
  ASSIGN_OR_RETURN(UniqueFd fd, OpenFile(path, O_RDONLY | O_NONBLOCK));
  struct stat st;
  if (::fstat(fd.get(), &st) != 0) return ErrnoStatus(path, errno);
  if (!S_ISREG(st.st_mode)) return absl::NotFoundError(fmt::format("{}: not a file", path));
  return fd;
}

absl::StatusOr<std::string> FileStore::Get(std::string_view name, uint64_t offset,
                                           uint64_t length) {
  ASSIGN_OR_RETURN(const UniqueFd fd, OpenObject(name));
  ASSIGN_OR_RETURN(const uint64_t size, FileSize(fd.get(), name));
  std::string data(offset < size ? std::min(length, size - offset) : 0, '\0');
  RETURN_IF_ERROR(ReadExactAt(fd.get(), std::as_writable_bytes(std::span(data)), offset, name));
  return data;
}

absl::StatusOr<uint64_t> FileStore::GetToFile(std::string_view name, int fd) {
  ASSIGN_OR_RETURN(const UniqueFd from, OpenObject(name));
  std::vector<std::byte> buffer(kCopyBytes);
  uint64_t offset = 0;
  while (true) {
    RETURN_IF_ERROR(CheckRunning());
    ASSIGN_OR_RETURN(const size_t count, ReadAt(from.get(), buffer, offset, name));
    RETURN_IF_ERROR(WriteAt(fd, std::span(buffer).first(count), offset, name));
    offset += count;
    if (count < buffer.size()) return offset;
  }
}

absl::Status FileStore::Put(std::string_view name, std::span<const std::byte> data,
                            const PutOptions& options) {
  return Store(
      name, data.size(),
      [data](std::span<std::byte> out, uint64_t offset) -> absl::StatusOr<size_t> {
        std::copy_n(data.begin() + static_cast<ptrdiff_t>(offset), out.size(), out.begin());
        return out.size();
      },
      options);
}

absl::Status FileStore::PutFile(std::string_view name, int fd, uint64_t size,
                                const PutOptions& options) {
  return Store(
      name, size,
      [fd, name](std::span<std::byte> out, uint64_t offset) {
        return ReadAt(fd, out, offset, name);
      },
      options);
}

absl::Status FileStore::Store(std::string_view name, uint64_t size, const Reader& read,
                              const PutOptions& options) {
  RETURN_IF_ERROR(CheckRunning());
  RETURN_IF_ERROR(CheckObjectName(name));
  const std::string path = PathOf(name);
  if (options.if_none_match && ::access(path.c_str(), F_OK) == 0) {
    return absl::AlreadyExistsError(fmt::format("{}: exists", path));  // saves the copying
  }
  RETURN_IF_ERROR(MakeParents(name));
  ASSIGN_OR_RETURN(const std::string temporary_name, RandomName());
  // Errors name the object: the same failure is the same text, however often it is tried.
  const TemporaryFile temporary(DirectoryOf(path) + "/" + temporary_name);
  UniqueFd fd(::open(temporary.path().c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, kFileMode));
  if (!fd.valid()) return ErrnoStatus("create " + path, errno);
  std::vector<std::byte> buffer(std::min<uint64_t>(kCopyBytes, size));
  for (uint64_t offset = 0; offset < size;) {
    RETURN_IF_ERROR(CheckRunning());
    const std::span<std::byte> part =
        std::span(buffer).first(std::min<uint64_t>(buffer.size(), size - offset));
    ASSIGN_OR_RETURN(const size_t count, read(part, offset));
    if (count < part.size()) {
      return absl::InvalidArgumentError(
          fmt::format("{}: the file to store ends before its {} bytes", path, size));
    }
    RETURN_IF_ERROR(WriteAt(fd.get(), part, offset, path));
    offset += count;
  }
  if (::fsync(fd.get()) != 0) return ErrnoStatus(path, errno);
  // NFS and quotas may report a failed write no earlier than here.
  if (::close(fd.release()) != 0 && errno != EINTR) return ErrnoStatus(path, errno);
  return Publish(temporary.path(), name, options);
}

absl::Status FileStore::Publish(const std::string& temporary, std::string_view name,
                                const PutOptions& options) {
  const std::string path = PathOf(name);
  if (!options.if_none_match) {
    RETURN_IF_ERROR(Rename(temporary, path));
  } else if (::link(temporary.c_str(), path.c_str()) != 0) {
    const int error = errno;
    struct stat st;
    if (::stat(temporary.c_str(), &st) != 0 || st.st_nlink != 2) return ErrnoStatus(path, error);
  }
  return SyncDirectory(DirectoryOf(path));
}

absl::Status FileStore::MakeParents(std::string_view name) {
  std::string directory = root_;
  for (size_t slash = 0; slash != std::string_view::npos;) {
    if (::access(directory.c_str(), F_OK) != 0) {
      RETURN_IF_ERROR(MakeDirectory(directory, kDirectoryMode));
      const size_t parent_end = directory.rfind('/');
      RETURN_IF_ERROR(SyncDirectory(parent_end == std::string::npos ? "."
                                    : parent_end == 0               ? "/"
                                                      : directory.substr(0, parent_end)));
    }
    slash = name.find('/', slash + (slash > 0 ? 1 : 0));
    if (slash != std::string_view::npos) directory = PathOf(name.substr(0, slash));
  }
  return absl::OkStatus();
}

absl::Status FileStore::Delete(std::span<const std::string> names) {
  RETURN_IF_ERROR(CheckRunning());
  std::vector<std::string> directories;
  for (const std::string& name : names) {
    RETURN_IF_ERROR(CheckObjectName(name));
    const std::string path = PathOf(name);
    if (::unlink(path.c_str()) == 0) {
      directories.push_back(DirectoryOf(path));
    } else if (errno != ENOENT && errno != ENOTDIR) {
      return ErrnoStatus(path, errno);
    }
  }
  std::sort(directories.begin(), directories.end());
  directories.erase(std::unique(directories.begin(), directories.end()), directories.end());
  for (const std::string& directory : directories) RETURN_IF_ERROR(SyncDirectory(directory));
  return absl::OkStatus();
}

absl::StatusOr<size_t> FileStore::SweepUnfinished(std::chrono::seconds older_than) {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  const int64_t older_than_ms = Milliseconds(now) - older_than.count() * 1000;
  size_t removed = 0;
  std::vector<std::string> directories = {root_};
  while (!directories.empty()) {
    RETURN_IF_ERROR(CheckRunning());
    const std::string directory = std::move(directories.back());
    directories.pop_back();
    RETURN_IF_ERROR(SweepDirectory(directory, older_than_ms, &directories, &removed));
  }
  return removed;
}

}  // namespace litefs::archive
