#include "daemon/sqlite/file_lock.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <cerrno>
#include <utility>

#include "common/posix_io.h"
#include "common/sqlite_format.h"
#include "common/status_macros.h"

namespace litefs::sqlite {
namespace {

int Fcntl(int fd, int command, short type, uint64_t start, uint64_t length, struct flock* lock) {
  *lock = {};
  lock->l_type = type;
  lock->l_whence = SEEK_SET;
  lock->l_start = static_cast<off_t>(start);
  lock->l_len = static_cast<off_t>(length);
  int rc;
  do {
    rc = ::fcntl(fd, command, lock);
  } while (rc != 0 && errno == EINTR);
  return rc;
}

absl::Status LockError(const char* what, uint64_t start, uint64_t length) {
  return ErrnoStatus(fmt::format("{} bytes {}+{}", what, start, length), errno);
}

}  // namespace

absl::StatusOr<bool> TryLock(int fd, LockKind kind, uint64_t start, uint64_t length) {
  struct flock lock;
  const short type = kind == LockKind::kShared ? F_RDLCK : F_WRLCK;
  if (Fcntl(fd, F_OFD_SETLK, type, start, length, &lock) == 0) return true;
  if (errno == EAGAIN || errno == EACCES) return false;
  return LockError("lock", start, length);
}

absl::Status Unlock(int fd, uint64_t start, uint64_t length) {
  struct flock lock;
  if (Fcntl(fd, F_OFD_SETLK, F_UNLCK, start, length, &lock) == 0) return absl::OkStatus();
  return LockError("unlock", start, length);
}

absl::StatusOr<bool> IsLocked(int fd, uint64_t start, uint64_t length) {
  struct flock lock;
  if (Fcntl(fd, F_OFD_GETLK, F_WRLCK, start, length, &lock) == 0) return lock.l_type != F_UNLCK;
  return LockError("query the lock of", start, length);
}

int ExclusiveHolder(int fd) {
  struct flock lock;
  for (const auto& [start, length] :
       {std::pair<uint64_t, uint64_t>{kPendingByte, 1}, {kSharedFirst, kSharedBytes}}) {
    if (Fcntl(fd, F_OFD_GETLK, F_RDLCK, start, length, &lock) == 0 && lock.l_type != F_UNLCK) {
      return lock.l_pid;
    }
  }
  return 0;
}

absl::StatusOr<SharedLock> SharedLock::Take(int fd) {
  ASSIGN_OR_RETURN(const bool pending, TryLock(fd, LockKind::kShared, kPendingByte, 1));
  if (!pending) return absl::UnavailableError("database is locked: a writer waits for readers");
  absl::StatusOr<bool> shared = TryLock(fd, LockKind::kShared, kSharedFirst, kSharedBytes);
  const absl::Status unlocked = Unlock(fd, kPendingByte, 1);
  RETURN_IF_ERROR(shared.status());
  if (!*shared) return absl::UnavailableError("database is locked: a writer is at work");
  SharedLock lock(fd);
  RETURN_IF_ERROR(unlocked);
  return lock;
}

SharedLock::SharedLock(SharedLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

SharedLock& SharedLock::operator=(SharedLock&& other) noexcept {
  if (this != &other) {
    Release();
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

void SharedLock::Release() {
  // Unlocking a range of an open file cannot fail.
  if (fd_ >= 0) Unlock(std::exchange(fd_, -1), kSharedFirst, kSharedBytes).IgnoreError();
}

}  // namespace litefs::sqlite
