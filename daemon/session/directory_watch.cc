#include "daemon/session/directory_watch.h"

#include <sys/inotify.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "common/posix_io.h"
#include "common/status_macros.h"

namespace litefs::session {
namespace {

constexpr uint32_t kRare = IN_MOVED_TO | IN_MOVED_FROM;
constexpr uint32_t kAll = kRare | IN_MODIFY | IN_CREATE | IN_DELETE;

}  // namespace

absl::StatusOr<DirectoryWatch> DirectoryWatch::Open(const std::string& directory) {
  DirectoryWatch watch(directory);
  watch.fd_.reset(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!watch.fd_.valid()) return ErrnoStatus("inotify (fs.inotify.max_user_instances)", errno);
  RETURN_IF_ERROR(watch.Arm());
  return watch;
}

absl::Status DirectoryWatch::SetMask(uint32_t mask) {
  // Of a directory that is watched already, the mask is replaced.
  if (::inotify_add_watch(fd_.get(), directory_.c_str(), mask | IN_ONLYDIR) >= 0) {
    return absl::OkStatus();
  }
  return ErrnoStatus("watch " + directory_ + " (fs.inotify.max_user_watches)", errno);
}

void DirectoryWatch::Disarm() {
  (void)SetMask(kRare);  // a failure costs wake-ups only
  std::array<char, 4096> events;
  while (::read(fd_.get(), events.data(), events.size()) > 0) {
  }
}

absl::Status DirectoryWatch::Arm() { return SetMask(kAll); }

}  // namespace litefs::session
