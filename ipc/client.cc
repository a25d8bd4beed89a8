#include "ipc/client.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include <cerrno>
#include <cstring>

#include "common/raw_syscall.h"
#include "ipc/protocol.h"

namespace litefs::ipc {
namespace {

constexpr int64_t kNanosPerSecond = 1'000'000'000;

int64_t ClockNow(clockid_t clock) {
  timespec now{};
  RawSyscall(SYS_clock_gettime, clock, &now);
  return now.tv_sec * kNanosPerSecond + now.tv_nsec;
}

// 0 when the descriptor is ready for events, -ETIMEDOUT, or another -errno.
int WaitFor(int fd, short events, int64_t deadline) {
  for (;;) {
    const int64_t left = deadline - MonotonicNow();
    if (left <= 0) return -ETIMEDOUT;
    const timespec timeout{left / kNanosPerSecond, left % kNanosPerSecond};
    pollfd entry{fd, events, 0};
    const long rc = RawSyscall(SYS_ppoll, &entry, 1, &timeout, nullptr, 0);
    if (rc > 0) return 0;
    if (rc < 0 && rc != -EINTR) return static_cast<int>(rc);
  }
}

// A text built in a fixed buffer; a text that does not fit leaves ok false.
class PathBuilder {
 public:
  explicit PathBuilder(std::span<char> out) : out_(out) {}
  PathBuilder& Append(std::string_view text) {
    if (size_ + text.size() >= out_.size()) ok_ = false;
    if (!ok_) return *this;
    std::memcpy(out_.data() + size_, text.data(), text.size());
    size_ += text.size();
    out_[size_] = '\0';
    return *this;
  }
  PathBuilder& Append(int number) {
    char digits[12];
    size_t at = sizeof(digits);
    do digits[--at] = static_cast<char>('0' + number % 10);
    while ((number /= 10) > 0);
    return Append(std::string_view(digits + at, sizeof(digits) - at));
  }
  bool ok() const { return ok_; }
  size_t size() const { return size_; }

 private:
  std::span<char> out_;
  size_t size_ = 0;
  bool ok_ = true;
};

int ConnectSocket(const sockaddr_un& address) {
  const long fd = RawSyscall(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return static_cast<int>(fd);
  const long rc = RawSyscall(SYS_connect, fd, &address, sizeof(address));
  if (rc == 0) return static_cast<int>(fd);
  RawSyscall(SYS_close, fd);
  return static_cast<int>(rc);
}

// A descriptor that came as ancillary data, or -1.
int PassedDescriptor(const msghdr& header) {
  const cmsghdr* control = CMSG_FIRSTHDR(&header);
  if (control == nullptr || control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS ||
      control->cmsg_len < CMSG_LEN(sizeof(int))) {
    return -1;
  }
  int fd;
  std::memcpy(&fd, CMSG_DATA(control), sizeof(fd));
  return fd;
}

}  // namespace

int64_t MonotonicNow() { return ClockNow(CLOCK_MONOTONIC); }
uint64_t BootTimeNow() { return static_cast<uint64_t>(ClockNow(CLOCK_BOOTTIME)); }

void Pause(int64_t nanoseconds) {
  const timespec timeout{nanoseconds / kNanosPerSecond, nanoseconds % kNanosPerSecond};
  RawSyscall(SYS_ppoll, nullptr, 0, &timeout, nullptr, 0);
}

// A path too long for sun_path (108 bytes) is reached by way of a descriptor on its directory.
int ConnectToSocket(std::string_view path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (PathBuilder(address.sun_path).Append(path).ok()) return ConnectSocket(address);
  const size_t slash = path.rfind('/');
  char directory[4096];
  if (slash == path.npos || !PathBuilder(directory).Append({path.data(), slash}).ok()) {
    return -ENAMETOOLONG;
  }
  const long dir = RawSyscall(SYS_openat, AT_FDCWD, directory, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
  if (dir < 0) return static_cast<int>(dir);
  int result = -ENAMETOOLONG;
  path.remove_prefix(slash);
  if (PathBuilder(address.sun_path)
          .Append("/proc/self/fd/")
          .Append(static_cast<int>(dir))
          .Append(path)
          .ok()) {
    result = ConnectSocket(address);
  }
  RawSyscall(SYS_close, dir);
  return result;
}

int ConnectTo(std::string_view directory) {
  char path[4096];
  PathBuilder builder(path);
  builder.Append(directory).Append("/").Append(kControlDirectory).Append("/").Append(kSocketName);
  return builder.ok() ? ConnectToSocket({path, builder.size()}) : -ENAMETOOLONG;
}

int OpenStatus(std::string_view directory) {
  char path[4096];
  PathBuilder builder(path);
  builder.Append(directory).Append("/").Append(kControlDirectory).Append("/").Append(kStatusName);
  if (!builder.ok()) return -ENAMETOOLONG;
  return static_cast<int>(
      RawSyscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0));
}

int SendMessage(int fd, std::span<const char> message, int64_t deadline) {
  for (;;) {
    const long rc = RawSyscall(SYS_sendto, fd, message.data(), message.size(),
                               MSG_NOSIGNAL | MSG_DONTWAIT, nullptr, 0);
    if (rc >= 0) return 0;
    if (rc == -EINTR) continue;
    if (rc != -EAGAIN) return static_cast<int>(rc);
    if (const int waited = WaitFor(fd, POLLOUT, deadline); waited < 0) return waited;
  }
}

int ReceiveMessage(int fd, std::span<char> buffer, int64_t deadline, int* passed_fd) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  for (;;) {
    iovec part{buffer.data(), buffer.size()};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof(control);
    const long rc = RawSyscall(SYS_recvmsg, fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (rc == -EAGAIN) {
      if (const int waited = WaitFor(fd, POLLIN, deadline); waited < 0) return waited;
    } else if (rc != -EINTR) {
      if (rc < 0) return static_cast<int>(rc);
      const int passed = PassedDescriptor(header);
      const int error = rc == 0 ? -ECONNRESET : (header.msg_flags & MSG_TRUNC) ? -EMSGSIZE : 0;
      if (passed >= 0 && (passed_fd == nullptr || error != 0)) RawSyscall(SYS_close, passed);
      if (passed_fd != nullptr) *passed_fd = error == 0 ? passed : -1;
      return error != 0 ? error : static_cast<int>(rc);
    }
  }
}

bool IsIdle(int fd) {
  char byte;
  return RawSyscall(SYS_recvfrom, fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT, nullptr, nullptr) ==
         -EAGAIN;
}

}  // namespace litefs::ipc
