// A preloaded library that moves the wall clock of the process, and no other clock: CLOCK_REALTIME
// is off by as many nanoseconds (int64) as stand in the file $WALL_CLOCK_OFFSET, which may change
// at any time.  The file's second int64 counts the looks at a clock that was off, so that a test
// knows that its fault has fired.

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>

namespace {

struct Page {
  std::atomic<int64_t> offset;
  std::atomic<int64_t> looks;
};

Page* Map() {
  const char* const path = ::getenv("WALL_CLOCK_OFFSET");
  const int fd = path == nullptr ? -1 : ::open(path, O_RDWR | O_CLOEXEC);
  if (fd < 0) return nullptr;
  void* const page = ::mmap(nullptr, sizeof(Page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  ::close(fd);
  return page == MAP_FAILED ? nullptr : static_cast<Page*>(page);
}

int64_t Offset() {
  static Page* const page = Map();
  const int64_t offset = page == nullptr ? 0 : page->offset.load();
  if (offset != 0) ++page->looks;
  return offset;
}

}  // namespace

extern "C" int clock_gettime(clockid_t clock, timespec* time) noexcept {
  const int result = static_cast<int>(::syscall(SYS_clock_gettime, clock, time));
  if (result != 0 || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)) return result;
  const int64_t now = time->tv_sec * 1'000'000'000 + time->tv_nsec + Offset();
  *time = {.tv_sec = now / 1'000'000'000, .tv_nsec = now % 1'000'000'000};
  return 0;
}

extern "C" int gettimeofday(timeval* time, void*) noexcept {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  *time = {.tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / 1000};
  return 0;
}

extern "C" time_t time(time_t* out) noexcept {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  if (out != nullptr) *out = now.tv_sec;
  return now.tv_sec;
}
