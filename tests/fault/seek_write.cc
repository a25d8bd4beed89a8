// A library for LD_PRELOAD, above the shim, that makes of any program one that writes by lseek and
// write and never syncs, as some builds of SQLite do.

#include <dlfcn.h>
#include <sys/types.h>
#include <unistd.h>

extern "C" __attribute__((visibility("default"))) ssize_t pwrite64(int fd, const void* data,
                                                                   size_t n, off64_t at) {
  if (lseek64(fd, at, SEEK_SET) < 0) return -1;
  return write(fd, data, n);
}
extern "C" __attribute__((visibility("default"))) ssize_t pwrite(int fd, const void* data, size_t n,
                                                                 off_t at) {
  return pwrite64(fd, data, n, at);
}
extern "C" __attribute__((visibility("default"))) int fsync(int) { return 0; }
extern "C" __attribute__((visibility("default"))) int fdatasync(int) { return 0; }
