#include "preload/shim_log.h"

#include <fcntl.h>

#include <cstdlib>
#include <cstring>

#include "common/raw_syscall.h"

namespace litefs::preload {
namespace {

constinit char path[4096] = {};

class Line {
 public:
  void Add(std::string_view text) {
    const size_t n = text.size() < sizeof(text_) - size_ ? text.size() : sizeof(text_) - size_;
    std::memcpy(text_ + size_, text.data(), n);
    size_ += n;
  }
  void Add(long number) {
    char digits[20];
    size_t at = sizeof(digits);
    do digits[--at] = static_cast<char>('0' + number % 10);
    while ((number /= 10) > 0);
    Add({digits + at, sizeof(digits) - at});
  }
  const char* data() const { return text_; }
  size_t size() const { return size_; }

 private:
  char text_[512];
  size_t size_ = 0;
};

}  // namespace

void OpenShimLog() {
  const char* name = getenv("LITEFS_PRELOAD_LOG");  // NOLINT(concurrency-mt-unsafe): at load
  if (name == nullptr || std::strlen(name) >= sizeof(path)) return;
  std::memcpy(path, name, std::strlen(name) + 1);
}

// The file is opened for each line: a descriptor kept open could be closed by the app and its
// number given to a file of the app's.
void ShimLog(std::string_view event, std::string_view detail) {
  if (path[0] == '\0') return;
  Line line;
  line.Add("litefs[");
  line.Add(RawSyscall(SYS_getpid));
  line.Add("] ");
  line.Add(event);
  line.Add(": ");
  line.Add(detail);
  line.Add("\n");
  const long fd =
      RawSyscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd < 0) return;
  RawSyscall(SYS_write, fd, line.data(), line.size());
  RawSyscall(SYS_close, fd);
}

}  // namespace litefs::preload
