#include "daemon/session/listener.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "common/log.h"
#include "common/posix_io.h"
#include "common/status_macros.h"

namespace litefs::session {
namespace {

constexpr int kBacklog = 1024;
constexpr int64_t kReportMs = 60'000;
// Kept for files, or a quarter of the limit if that is less.  New descriptors are the lowest free
// numbers, so a high one says that nearly all are taken.
constexpr rlim_t kReservedDescriptors = 64;

int64_t NowMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

absl::StatusOr<UniqueFd> Listen(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    // A long path is reached through its directory's descriptor.
    const size_t slash = path.rfind('/');
    ASSIGN_OR_RETURN(const UniqueFd directory,
                     OpenFile(path.substr(0, slash), O_PATH | O_DIRECTORY));
    return Listen(fmt::format("/proc/self/fd/{}{}", directory.get(), path.substr(slash)));
  }
  UniqueFd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return ErrnoStatus("socket", errno);
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  ::unlink(path.c_str());  // left by a daemon that died: the directory's lock is ours
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 ||
      ::listen(fd.get(), kBacklog) != 0) {
    return ErrnoStatus("listen on " + path, errno);
  }
  return fd;
}

}  // namespace

absl::StatusOr<Listener> Listener::Open(const std::string& path) {
  Listener listener;
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return ErrnoStatus("limit of descriptors", errno);
  limit.rlim_cur = std::min<rlim_t>(limit.rlim_cur, INT32_MAX);
  listener.end_fd_ =
      static_cast<int>(limit.rlim_cur - std::min(kReservedDescriptors, limit.rlim_cur / 4));
  listener.spare_.reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  ASSIGN_OR_RETURN(listener.socket_, Listen(path));
  return listener;
}

UniqueFd Listener::Accept() {
  while (true) {
    UniqueFd fd(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (fd.valid() && fd.get() < end_fd_) return fd;
    if (fd.valid()) {
      ReportWant();
      continue;
    }
    if (errno == EMFILE || errno == ENFILE) SendOneAway();
    return {};
  }
}

// A connection that nobody takes would wake us up without end: the spare descriptor takes it.
void Listener::SendOneAway() {
  ReportWant();
  spare_.reset();
  UniqueFd(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC)).reset();
  spare_.reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
}

void Listener::ReportWant() {
  const int64_t now = NowMs();
  if (now < next_report_ms_) return;
  LogError("session",
           "no file descriptor is left for another session: raise the limit (ulimit -n, "
           "LimitNOFILE=)");
  next_report_ms_ = now + kReportMs;
}

}  // namespace litefs::session
