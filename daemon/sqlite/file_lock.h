// SQLite's byte-range locks, taken as open-file-description locks (fcntl F_OFD_SETLK): they
// conflict with SQLite's own, belong to the descriptor's open file and not to the process, and so
// survive the closing of any other descriptor of the file.  They end with the last duplicate of
// the descriptor, or when the process dies.
//
// Nothing here blocks.  Any thread.

#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace litefs::sqlite {

enum class LockKind { kShared, kExclusive };

// Takes the lock, or converts the one that fd holds on the range.  False, and nothing changed, if
// somebody else's lock is in the way.  kShared needs a readable fd, kExclusive a writable one.
absl::StatusOr<bool> TryLock(int fd, LockKind kind, uint64_t start, uint64_t length);

absl::Status Unlock(int fd, uint64_t start, uint64_t length);

// Whether anybody but fd holds any lock, shared or exclusive, on the range.
absl::StatusOr<bool> IsLocked(int fd, uint64_t start, uint64_t length);

// The process that holds EXCLUSIVE or PENDING on a database file; -1 if by an open file description
// (no process), 0 if nobody does.
int ExclusiveHolder(int fd);

// SQLite's SHARED on a database file, taken as os_unix.c does.  Move-only.
class SharedLock {
 public:
  // kUnavailable while somebody holds PENDING or EXCLUSIVE.  fd must outlive the lock.
  static absl::StatusOr<SharedLock> Take(int fd);

  SharedLock(SharedLock&& other) noexcept;
  SharedLock& operator=(SharedLock&& other) noexcept;
  ~SharedLock() { Release(); }

  // Gives the lock back; also done by the destructor.
  void Release();
  // The lock outlives this object: it ends with fd, or is given back by Unlock.
  void Keep() { fd_ = -1; }

 private:
  explicit SharedLock(int fd) : fd_(fd) {}
  int fd_ = -1;
};

}  // namespace litefs::sqlite
