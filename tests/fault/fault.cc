// A library for LD_PRELOAD that makes one file call of a process go wrong, for the tests that sweep
// over all of them.  Below the shim (LD_PRELOAD="liblitefs.so fault.so") it stands where the kernel
// does; alone it serves the daemon.
//
//   FAULT="ACTION WHEN N DIRECTORY"   ACTION  kill, exit, or an error: ENOSPC, EDQUOT, EIO, EINTR
//                                     WHEN    before, after (of kill and exit), always (an error,
//                                     on) N       the N-th call, from 1, that names or has open a
//                                     file
//                                             below DIRECTORY and that can fail like this
//   FAULT_LOG=FILE                    gets 8 bytes: the number of calls so far; 0: nothing fired
//   yet,
//                                     else the number that fired; and the name of that call
//
// Calls counted: open for writing, the write family, truncate, allocate, sync, unlink, rename,
// mkdir, link; for kill and exit also close and locks.

#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

struct Log {
  std::atomic<uint32_t> calls;
  std::atomic<uint32_t> fired;
  char name[56];
};

enum class When { kBefore, kAfter, kAlways };

struct Plan {
  int error = 0;  // 0: the process ends
  bool exit = false;
  When when = When::kBefore;
  uint32_t number = 0;
  char directory[PATH_MAX] = {};
  size_t directory_bytes = 0;
  Log* log = nullptr;
};
Plan plan;

int ErrorNamed(const char* name) {
  if (std::strcmp(name, "ENOSPC") == 0) return ENOSPC;
  if (std::strcmp(name, "EDQUOT") == 0) return EDQUOT;
  if (std::strcmp(name, "EIO") == 0) return EIO;
  if (std::strcmp(name, "EINTR") == 0) return EINTR;
  return 0;
}

[[noreturn]] void Refuse(const char* why) {
  dprintf(2, "fault.so: %s\n", why);
  _exit(99);
}

__attribute__((constructor)) void Load() {
  const char* const text = getenv("FAULT");
  const char* const log = getenv("FAULT_LOG");
  if (text == nullptr || log == nullptr) return;
  char action[16];
  char when[16];
  if (sscanf(text, "%15s %15s %u %4095s", action, when, &plan.number, plan.directory) != 4) {
    Refuse("FAULT is malformed");
  }
  plan.error = ErrorNamed(action);
  plan.exit = std::strcmp(action, "exit") == 0;
  plan.when = std::strcmp(when, "after") == 0    ? When::kAfter
              : std::strcmp(when, "always") == 0 ? When::kAlways
                                                 : When::kBefore;
  plan.directory_bytes = std::strlen(plan.directory);
  const int fd = static_cast<int>(syscall(SYS_openat, AT_FDCWD, log, O_RDWR | O_CREAT, 0644));
  if (fd < 0 || syscall(SYS_ftruncate, fd, sizeof(Log)) != 0) Refuse("FAULT_LOG cannot be opened");
  void* const page = mmap(nullptr, sizeof(Log), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  syscall(SYS_close, fd);
  if (page == MAP_FAILED) Refuse("FAULT_LOG cannot be mapped");
  plan.log = static_cast<Log*>(page);
  unsetenv("FAULT");  // not for the children
}

bool Below(const char* path) {
  return std::strncmp(path, plan.directory, plan.directory_bytes) == 0 &&
         (path[plan.directory_bytes] == '/' || path[plan.directory_bytes] == '\0');
}

bool Concerns(int fd) {
  if (plan.log == nullptr || fd < 0) return false;
  char link[40];
  char path[PATH_MAX];
  snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
  const ssize_t n = readlink(link, path, sizeof(path) - 1);
  if (n <= 0) return false;
  path[n] = '\0';
  return Below(path);
}

bool Concerns(int dir, const char* path) {
  if (plan.log == nullptr || path == nullptr) return false;
  return path[0] == '/' ? Below(path) : dir != AT_FDCWD && Concerns(dir);
}

void End() {
  if (plan.exit) _exit(77);
  syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
  for (;;) pause();
}

// What a call can suffer.
enum Suffers { kOnlyDeath = 0, kNoSpace = 1, kIo = 2, kInterrupt = 4 };

bool Eligible(int suffers) {
  switch (plan.error) {
    case 0:
      return true;
    case ENOSPC:
    case EDQUOT:
      return (suffers & kNoSpace) != 0;
    case EIO:
      return (suffers & kIo) != 0;
    default:
      return (suffers & kInterrupt) != 0;
  }
}

template <typename Call>
auto Run(bool concerned, int suffers, const char* name, Call call) -> decltype(call()) {
  if (!concerned || !Eligible(suffers)) return call();
  const int saved = errno;
  const uint32_t number = plan.log->calls.fetch_add(1) + 1;
  const bool mine = number == plan.number || (plan.when == When::kAlways && number > plan.number);
  if (!mine) {
    errno = saved;
    return call();
  }
  if (plan.log->fired.exchange(number) == 0) {
    std::strncpy(plan.log->name, name, sizeof(plan.log->name) - 1);
  }
  if (plan.error != 0) {
    errno = plan.error;
    return static_cast<decltype(call())>(-1);
  }
  if (plan.when != When::kAfter) End();
  errno = saved;
  const auto result = call();
  End();
  return result;
}

template <typename Function>
Function* Next(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

constexpr int kWriting = kNoSpace | kIo | kInterrupt;
bool ForWriting(int flags) { return (flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT) != 0; }

}  // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))
#define NEXT(name) static auto* const next = Next<decltype(name)>(#name)

#define OPEN(name)                                                             \
  EXPORT int name(const char* path, int flags, ...) {                          \
    NEXT(name);                                                                \
    va_list list;                                                              \
    va_start(list, flags);                                                     \
    const int mode = va_arg(list, int);                                        \
    va_end(list);                                                              \
    return Run(ForWriting(flags) && Concerns(AT_FDCWD, path), kWriting, #name, \
               [&] { return next(path, flags, mode); });                       \
  }
OPEN(open)
OPEN(open64)
#define OPENAT(name)                                                      \
  EXPORT int name(int dir, const char* path, int flags, ...) {            \
    NEXT(name);                                                           \
    va_list list;                                                         \
    va_start(list, flags);                                                \
    const int mode = va_arg(list, int);                                   \
    va_end(list);                                                         \
    return Run(ForWriting(flags) && Concerns(dir, path), kWriting, #name, \
               [&] { return next(dir, path, flags, mode); });             \
  }
OPENAT(openat)
OPENAT(openat64)

#define ON_FD(ret, name, suffers, params, ...)                                   \
  EXPORT ret name params {                                                       \
    NEXT(name);                                                                  \
    return Run(Concerns(fd), suffers, #name, [&] { return next(__VA_ARGS__); }); \
  }
ON_FD(ssize_t, write, kWriting, (int fd, const void* p, size_t n), fd, p, n)
ON_FD(ssize_t, pwrite, kWriting, (int fd, const void* p, size_t n, off_t at), fd, p, n, at)
ON_FD(ssize_t, pwrite64, kWriting, (int fd, const void* p, size_t n, off64_t at), fd, p, n, at)
ON_FD(ssize_t, writev, kWriting, (int fd, const iovec* p, int n), fd, p, n)
ON_FD(ssize_t, pwritev, kWriting, (int fd, const iovec* p, int n, off_t at), fd, p, n, at)
ON_FD(ssize_t, pwritev64, kWriting, (int fd, const iovec* p, int n, off64_t at), fd, p, n, at)
ON_FD(int, ftruncate, kWriting, (int fd, off_t n) noexcept, fd, n)
ON_FD(int, ftruncate64, kWriting, (int fd, off64_t n) noexcept, fd, n)
ON_FD(int, fallocate, kWriting, (int fd, int mode, off_t at, off_t n), fd, mode, at, n)
ON_FD(int, fallocate64, kWriting, (int fd, int mode, off64_t at, off64_t n), fd, mode, at, n)
ON_FD(int, fsync, kWriting, (int fd), fd)
ON_FD(int, fdatasync, kWriting, (int fd), fd)
ON_FD(int, close, kOnlyDeath, (int fd), fd)

#define LOCK(name)                                                                           \
  EXPORT int name(int fd, int command, ...) {                                                \
    NEXT(name);                                                                              \
    va_list list;                                                                            \
    va_start(list, command);                                                                 \
    void* const argument = va_arg(list, void*);                                              \
    va_end(list);                                                                            \
    const bool lock = command == F_SETLK || command == F_SETLKW || command == F_OFD_SETLK || \
                      command == F_OFD_SETLKW;                                               \
    return Run(lock && Concerns(fd), kOnlyDeath, #name,                                      \
               [&] { return next(fd, command, argument); });                                 \
  }
LOCK(fcntl)
LOCK(fcntl64)

EXPORT int unlink(const char* path) noexcept {
  NEXT(unlink);
  return Run(Concerns(AT_FDCWD, path), kIo, "unlink", [&] { return next(path); });
}
EXPORT int unlinkat(int dir, const char* path, int flags) noexcept {
  NEXT(unlinkat);
  return Run(Concerns(dir, path), kIo, "unlinkat", [&] { return next(dir, path, flags); });
}
EXPORT int rename(const char* from, const char* to) noexcept {
  NEXT(rename);
  return Run(Concerns(AT_FDCWD, to), kNoSpace | kIo, "rename", [&] { return next(from, to); });
}
EXPORT int mkdir(const char* path, mode_t mode) noexcept {
  NEXT(mkdir);
  return Run(Concerns(AT_FDCWD, path), kNoSpace | kIo, "mkdir", [&] { return next(path, mode); });
}
EXPORT int link(const char* from, const char* to) noexcept {
  NEXT(link);
  return Run(Concerns(AT_FDCWD, to), kNoSpace | kIo, "link", [&] { return next(from, to); });
}
