// The exported entry points: five lines at most, no logic.  Each has a C++ name of its own and
// libc's name in the symbol table, so that variadic functions can be passed on as plain ones.

#include <dlfcn.h>
#include <fcntl.h>

#include "preload/interceptor.h"
#include "preload/real.h"

using litefs::preload::Call;
using litefs::preload::Interceptor;
using litefs::preload::real;
using litefs::preload::Watched;

#define HOOK(ret, name, params, args) \
  extern "C" __attribute__((visibility("default"))) ret litefs_##name params __asm__(#name);
#include "preload/hooks.def"
#undef HOOK

// ---- open
// ----------------------------------------------------------------------------------------

constexpr int kCreatFlags = O_CREAT | O_WRONLY | O_TRUNC;

int litefs_open(const char* path, int flags, mode_t mode) {
  if (Interceptor::RefusesOpen(AT_FDCWD, path, flags)) return -1;
  return Interceptor::Opened(real.open(path, flags, mode), flags);
}
int litefs_open64(const char* path, int flags, mode_t mode) {
  if (Interceptor::RefusesOpen(AT_FDCWD, path, flags)) return -1;
  return Interceptor::Opened(real.open64(path, flags, mode), flags);
}
int litefs_openat(int dir, const char* path, int flags, mode_t mode) {
  if (Interceptor::RefusesOpen(dir, path, flags)) return -1;
  return Interceptor::Opened(real.openat(dir, path, flags, mode), flags);
}
int litefs_openat64(int dir, const char* path, int flags, mode_t mode) {
  if (Interceptor::RefusesOpen(dir, path, flags)) return -1;
  return Interceptor::Opened(real.openat64(dir, path, flags, mode), flags);
}
int litefs_creat(const char* path, mode_t mode) {
  return Interceptor::Opened(real.creat(path, mode), kCreatFlags);
}
int litefs_creat64(const char* path, mode_t mode) {
  return Interceptor::Opened(real.creat64(path, mode), kCreatFlags);
}
int litefs___open_2(const char* path, int flags) {
  if (Interceptor::RefusesOpen(AT_FDCWD, path, flags)) return -1;
  return Interceptor::Opened(real.__open_2(path, flags), flags);
}
int litefs___open64_2(const char* path, int flags) {
  if (Interceptor::RefusesOpen(AT_FDCWD, path, flags)) return -1;
  return Interceptor::Opened(real.__open64_2(path, flags), flags);
}
int litefs___openat_2(int dir, const char* path, int flags) {
  if (Interceptor::RefusesOpen(dir, path, flags)) return -1;
  return Interceptor::Opened(real.__openat_2(dir, path, flags), flags);
}
int litefs___openat64_2(int dir, const char* path, int flags) {
  if (Interceptor::RefusesOpen(dir, path, flags)) return -1;
  return Interceptor::Opened(real.__openat64_2(dir, path, flags), flags);
}

// ---- Descriptors
// ---------------------------------------------------------------------------------

int litefs_close(int fd) {
  if (!Watched(fd)) [[likely]]
    return real.close(fd);
  Call call = Interceptor::BeginClose(fd);
  return call.refused() ? call.Refuse() : call.Finish(real.close(fd));
}
int litefs_close_range(unsigned first, unsigned last, int flags) {
  const int rc = real.close_range(first, last, flags);
  if (rc == 0 && (flags & CLOSE_RANGE_CLOEXEC) == 0) Interceptor::Closed(first, last);
  return rc;
}
void litefs_closefrom(int first) {
  real.closefrom(first);
  Interceptor::Closed(first < 0 ? 0 : static_cast<unsigned>(first), ~0U);
}
int litefs_dup(int fd) {
  if (!Watched(fd)) [[likely]]
    return real.dup(fd);
  return Interceptor::BeginDuplicate(fd).Finish(real.dup(fd));
}
int litefs_dup2(int from, int to) {
  if (!Watched(from) && !Watched(to)) [[likely]]
    return real.dup2(from, to);
  Call call = Interceptor::BeginReplace(from, to);
  return call.Finish(real.dup2(from, to));
}
int litefs_dup3(int from, int to, int flags) {
  if (!Watched(from) && !Watched(to)) [[likely]]
    return real.dup3(from, to, flags);
  Call call = Interceptor::BeginReplace(from, to);
  return call.Finish(real.dup3(from, to, flags));
}
int litefs_fcntl(int fd, int cmd, void* arg) {
  if (!Watched(fd)) [[likely]]
    return real.fcntl(fd, cmd, arg);
  return Interceptor::Control(real.fcntl, fd, cmd, arg);
}
int litefs_fcntl64(int fd, int cmd, void* arg) {
  if (!Watched(fd)) [[likely]]
    return real.fcntl64(fd, cmd, arg);
  return Interceptor::Control(real.fcntl64, fd, cmd, arg);
}

// ---- write
// ---------------------------------------------------------------------------------------

ssize_t litefs_write(int fd, const void* data, size_t n) {
  if (!Watched(fd)) [[likely]]
    return real.write(fd, data, n);
  Call call = Interceptor::BeginWrite(fd, data, n, -1);
  return call.refused() ? call.Refuse() : call.Finish(real.write(fd, data, n));
}
ssize_t litefs_pwrite(int fd, const void* data, size_t n, off_t at) {
  if (!Watched(fd)) [[likely]]
    return real.pwrite(fd, data, n, at);
  Call call = Interceptor::BeginWrite(fd, data, n, at);
  return call.refused() ? call.Refuse() : call.Finish(real.pwrite(fd, data, n, at));
}
ssize_t litefs_pwrite64(int fd, const void* data, size_t n, off64_t at) {
  if (!Watched(fd)) [[likely]]
    return real.pwrite64(fd, data, n, at);
  Call call = Interceptor::BeginWrite(fd, data, n, at);
  return call.refused() ? call.Refuse() : call.Finish(real.pwrite64(fd, data, n, at));
}
ssize_t litefs_writev(int fd, const iovec* parts, int n) {
  if (!Watched(fd)) [[likely]]
    return real.writev(fd, parts, n);
  Call call = Interceptor::BeginWriteV(fd, parts, n, -1);
  return call.refused() ? call.Refuse() : call.Finish(real.writev(fd, parts, n));
}
ssize_t litefs_pwritev(int fd, const iovec* parts, int n, off_t at) {
  if (!Watched(fd)) [[likely]]
    return real.pwritev(fd, parts, n, at);
  Call call = Interceptor::BeginWriteV(fd, parts, n, at);
  return call.refused() ? call.Refuse() : call.Finish(real.pwritev(fd, parts, n, at));
}
ssize_t litefs_pwritev64(int fd, const iovec* parts, int n, off64_t at) {
  if (!Watched(fd)) [[likely]]
    return real.pwritev64(fd, parts, n, at);
  Call call = Interceptor::BeginWriteV(fd, parts, n, at);
  return call.refused() ? call.Refuse() : call.Finish(real.pwritev64(fd, parts, n, at));
}
ssize_t litefs_pwritev2(int fd, const iovec* parts, int n, off_t at, int flags) {
  if (!Watched(fd)) [[likely]]
    return real.pwritev2(fd, parts, n, at, flags);
  Call call = Interceptor::BeginWriteV(fd, parts, n, at);
  return call.refused() ? call.Refuse() : call.Finish(real.pwritev2(fd, parts, n, at, flags));
}
ssize_t litefs_pwritev64v2(int fd, const iovec* parts, int n, off64_t at, int flags) {
  if (!Watched(fd)) [[likely]]
    return real.pwritev64v2(fd, parts, n, at, flags);
  Call call = Interceptor::BeginWriteV(fd, parts, n, at);
  return call.refused() ? call.Refuse() : call.Finish(real.pwritev64v2(fd, parts, n, at, flags));
}

// ---- Size
// ----------------------------------------------------------------------------------------

int litefs_ftruncate(int fd, off_t size) {
  if (!Watched(fd)) [[likely]]
    return real.ftruncate(fd, size);
  Call call = Interceptor::BeginTruncate(fd, size);
  return call.refused() ? call.Refuse() : call.Finish(real.ftruncate(fd, size));
}
int litefs_ftruncate64(int fd, off64_t size) {
  if (!Watched(fd)) [[likely]]
    return real.ftruncate64(fd, size);
  Call call = Interceptor::BeginTruncate(fd, size);
  return call.refused() ? call.Refuse() : call.Finish(real.ftruncate64(fd, size));
}
int litefs_fallocate(int fd, int mode, off_t at, off_t n) {
  if (!Watched(fd)) [[likely]]
    return real.fallocate(fd, mode, at, n);
  return Interceptor::BeginAllocate(fd).Finish(real.fallocate(fd, mode, at, n));
}
int litefs_fallocate64(int fd, int mode, off64_t at, off64_t n) {
  if (!Watched(fd)) [[likely]]
    return real.fallocate64(fd, mode, at, n);
  return Interceptor::BeginAllocate(fd).Finish(real.fallocate64(fd, mode, at, n));
}
int litefs_posix_fallocate(int fd, off_t at, off_t n) {
  if (!Watched(fd)) [[likely]]
    return real.posix_fallocate(fd, at, n);
  return Interceptor::BeginAllocate(fd).FinishErrno(real.posix_fallocate(fd, at, n));
}
int litefs_posix_fallocate64(int fd, off64_t at, off64_t n) {
  if (!Watched(fd)) [[likely]]
    return real.posix_fallocate64(fd, at, n);
  return Interceptor::BeginAllocate(fd).FinishErrno(real.posix_fallocate64(fd, at, n));
}

// ---- sync, unlink, dlopen
// ------------------------------------------------------------------------

int litefs_fsync(int fd) {
  if (!Watched(fd)) [[likely]]
    return real.fsync(fd);
  Call call = Interceptor::BeginSync(fd);
  return call.refused() ? call.Refuse() : call.Finish(real.fsync(fd));
}
int litefs_fdatasync(int fd) {
  if (!Watched(fd)) [[likely]]
    return real.fdatasync(fd);
  Call call = Interceptor::BeginSync(fd);
  return call.refused() ? call.Refuse() : call.Finish(real.fdatasync(fd));
}
int litefs_unlink(const char* path) {
  Call call = Interceptor::BeginUnlink(AT_FDCWD, path);
  return call.refused() ? call.Refuse() : call.Finish(real.unlink(path));
}
int litefs_unlinkat(int dir, const char* path, int flags) {
  Call call = Interceptor::BeginUnlink(dir, path);
  return call.refused() ? call.Refuse() : call.Finish(real.unlinkat(dir, path, flags));
}
int litefs_remove(const char* path) {
  Call call = Interceptor::BeginUnlink(AT_FDCWD, path);
  return call.refused() ? call.Refuse() : call.Finish(real.remove(path));
}
// PHP loads its SQLite with RTLD_DEEPBIND, which would hide it from every preload.  A tail jump:
// the real function looks at its return address to know whose search path counts.
void* litefs_dlopen(const char* path, int flags) {
  return real.dlopen(path, flags & ~RTLD_DEEPBIND);
}
