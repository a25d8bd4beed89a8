#include "preload/raw_calls.h"

#include <dlfcn.h>
#include <fcntl.h>

#include <cerrno>

#include "common/raw_syscall.h"

namespace litefs::preload::raw {
namespace {

// As libc returns a result: -1 and errno, or the value.
template <typename... Args>
long Call(long number, Args... args) {
  const long rc = RawSyscall(number, args...);
  if (rc >= 0) return rc;
  errno = static_cast<int>(-rc);
  return -1;
}

template <typename... Args>
int Int(long number, Args... args) {
  return static_cast<int>(Call(number, args...));
}

int PositionalFlags(int flags) { return flags | O_LARGEFILE; }

}  // namespace

int openat(int dir, const char* path, int flags, mode_t mode) {
  return Int(SYS_openat, dir, path, PositionalFlags(flags), mode);
}
int openat64(int dir, const char* path, int flags, mode_t mode) {
  return openat(dir, path, flags, mode);
}
int open(const char* path, int flags, mode_t mode) { return openat(AT_FDCWD, path, flags, mode); }
int open64(const char* path, int flags, mode_t mode) { return openat(AT_FDCWD, path, flags, mode); }
int creat(const char* path, mode_t mode) {
  return openat(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}
int creat64(const char* path, mode_t mode) { return creat(path, mode); }
int __open_2(const char* path, int flags) { return openat(AT_FDCWD, path, flags, 0); }
int __open64_2(const char* path, int flags) { return openat(AT_FDCWD, path, flags, 0); }
int __openat_2(int dir, const char* path, int flags) { return openat(dir, path, flags, 0); }
int __openat64_2(int dir, const char* path, int flags) { return openat(dir, path, flags, 0); }

int close(int fd) { return Int(SYS_close, fd); }
int close_range(unsigned first, unsigned last, int flags) {
  return Int(SYS_close_range, first, last, flags);
}
void closefrom(int first) { RawSyscall(SYS_close_range, first < 0 ? 0 : first, ~0U, 0); }
int dup(int fd) { return Int(SYS_dup, fd); }
int dup2(int from, int to) {
  if (from == to) return fcntl(from, F_GETFD, nullptr) < 0 ? -1 : to;
  return Int(SYS_dup3, from, to, 0);
}
int dup3(int from, int to, int flags) { return Int(SYS_dup3, from, to, flags); }
int fcntl(int fd, int cmd, void* arg) { return Int(SYS_fcntl, fd, cmd, arg); }
int fcntl64(int fd, int cmd, void* arg) { return Int(SYS_fcntl, fd, cmd, arg); }

ssize_t write(int fd, const void* data, size_t n) { return Call(SYS_write, fd, data, n); }
ssize_t pwrite(int fd, const void* data, size_t n, off_t at) {
  return Call(SYS_pwrite64, fd, data, n, at);
}
ssize_t pwrite64(int fd, const void* data, size_t n, off64_t at) {
  return Call(SYS_pwrite64, fd, data, n, at);
}
ssize_t writev(int fd, const iovec* parts, int n) { return Call(SYS_writev, fd, parts, n); }
// The kernel takes the position as a low and a high word; on 64 bits the low one is all of it.
ssize_t pwritev(int fd, const iovec* parts, int n, off_t at) {
  return Call(SYS_pwritev, fd, parts, n, at, 0);
}
ssize_t pwritev64(int fd, const iovec* parts, int n, off64_t at) {
  return raw::pwritev(fd, parts, n, at);
}
ssize_t pwritev2(int fd, const iovec* parts, int n, off_t at, int flags) {
  return Call(SYS_pwritev2, fd, parts, n, at, 0, flags);
}
ssize_t pwritev64v2(int fd, const iovec* parts, int n, off64_t at, int flags) {
  return raw::pwritev2(fd, parts, n, at, flags);
}

int ftruncate(int fd, off_t size) { return Int(SYS_ftruncate, fd, size); }
int ftruncate64(int fd, off64_t size) { return Int(SYS_ftruncate, fd, size); }
int fallocate(int fd, int mode, off_t at, off_t n) { return Int(SYS_fallocate, fd, mode, at, n); }
int fallocate64(int fd, int mode, off64_t at, off64_t n) { return fallocate(fd, mode, at, n); }
// Returns its error and leaves errno alone.
int posix_fallocate(int fd, off_t at, off_t n) {
  return static_cast<int>(-RawSyscall(SYS_fallocate, fd, 0, at, n));
}
int posix_fallocate64(int fd, off64_t at, off64_t n) { return posix_fallocate(fd, at, n); }
int fsync(int fd) { return Int(SYS_fsync, fd); }
int fdatasync(int fd) { return Int(SYS_fdatasync, fd); }

int unlinkat(int dir, const char* path, int flags) { return Int(SYS_unlinkat, dir, path, flags); }
int unlink(const char* path) { return unlinkat(AT_FDCWD, path, 0); }
int remove(const char* path) {
  const long rc = RawSyscall(SYS_unlinkat, AT_FDCWD, path, 0);
  if (rc == -EISDIR || rc == -EPERM) return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
  return static_cast<int>(rc < 0 ? (errno = static_cast<int>(-rc), -1) : 0);
}
// The one function without a system call beneath it.  Whoever calls dlopen is in a position to have
// dlsym called: it is no part of an allocator's start.
void* dlopen(const char* path, int flags) {
  using Dlopen = void* (*)(const char*, int);
  const auto real = reinterpret_cast<Dlopen>(dlsym(RTLD_NEXT, "dlopen"));
  return real == nullptr ? nullptr : real(path, flags);
}

}  // namespace litefs::preload::raw
