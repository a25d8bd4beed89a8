#include "ipc/control_connection.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include "common/msgpack.h"
#include "common/posix_io.h"
#include "common/status_macros.h"
#include "ipc/protocol.h"

namespace litefs {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// The daemon accepts at once; longer means that its queue is full, or that it hangs.
constexpr timeval kConnectTimeout = {.tv_sec = 10, .tv_usec = 0};
constexpr size_t kMaxSpooledJsonBytes = 64 << 20;
constexpr size_t kFrameBytes = 32;  // array, type, id, string header

absl::Status Gone(int error) {
  return absl::UnavailableError(fmt::format("the daemon closed the connection{}{}",
                                            error == 0 ? "" : ": ",
                                            error == 0 ? "" : strerror(error)));
}

// Waits until the socket has a message or its end.
absl::Status WaitReadable(int fd, steady_clock::time_point deadline) {
  while (true) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - steady_clock::now());
    pollfd entry = {.fd = fd, .events = POLLIN, .revents = 0};
    const int n = ::poll(&entry, 1, static_cast<int>(std::max<int64_t>(left.count(), 0)));
    if (n > 0) return absl::OkStatus();
    if (n == 0) return absl::DeadlineExceededError("the daemon does not answer");
    if (errno != EINTR) return ErrnoStatus("poll", errno);
  }
}

// One message into buffer, and the descriptor that came with it.  An empty message is the end.
absl::StatusOr<std::string_view> ReceiveMessage(int socket, std::span<char> buffer, UniqueFd* fd) {
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control;
  iovec vector = {.iov_base = buffer.data(), .iov_len = buffer.size()};
  msghdr header = {};
  header.msg_iov = &vector;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  ssize_t n;
  do {
    n = ::recvmsg(socket, &header, MSG_CMSG_CLOEXEC);
  } while (n < 0 && errno == EINTR);
  if (n < 0) return Gone(errno);
  for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    int received;
    std::memcpy(&received, CMSG_DATA(c), sizeof(received));
    fd->reset(received);
  }
  if (n == 0) return Gone(0);
  if (header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
    return absl::DataLossError("the daemon's reply does not fit a message");
  }
  return std::string_view(buffer.data(), static_cast<size_t>(n));
}

absl::Status Unspool(ControlReply* reply) {
  if (reply->json != ipc::kJsonInDescriptor || !reply->fd.valid()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const uint64_t size, FileSize(reply->fd.get(), "the daemon's reply"));
  if (size > kMaxSpooledJsonBytes) return absl::DataLossError("the daemon's reply is too long");
  reply->json.resize(size);
  RETURN_IF_ERROR(ReadExactAt(reply->fd.get(), std::as_writable_bytes(std::span(reply->json)), 0,
                              "the daemon's reply"));
  reply->fd.reset();
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ControlConnection> ControlConnection::Connect(const std::string& dir) {
  std::string path = fmt::format("{}/{}/{}", dir, ipc::kControlDirectory, ipc::kSocketName);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  UniqueFd directory;
  if (path.size() >= sizeof(address.sun_path)) {
    // Reached by a shorter name.
    const std::string parent = fmt::format("{}/{}", dir, ipc::kControlDirectory);
    directory.reset(::open(parent.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!directory.valid() && errno == ENOENT) return absl::UnavailableError("no " + parent);
    if (!directory.valid()) return ErrnoStatus("open " + parent, errno);
    path = fmt::format("/proc/self/fd/{}/{}", directory.get(), ipc::kSocketName);
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);

  UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return ErrnoStatus("socket", errno);
  ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &kConnectTimeout, sizeof(kConnectTimeout));
  int rc;
  do {
    rc = ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  } while (rc != 0 && errno == EINTR);
  if (rc == 0) return ControlConnection(std::move(socket));
  if (errno == ENOENT || errno == ECONNREFUSED) {
    return absl::UnavailableError(fmt::format("connect {}: {}", path, strerror(errno)));
  }
  return ErrnoStatus("connect " + path, errno);
}

absl::StatusOr<ControlReply> ControlConnection::Request(std::string_view json,
                                                        std::chrono::milliseconds timeout) {
  std::vector<char> message(std::min(json.size() + kFrameBytes, ipc::kMaxMessageBytes));
  const uint64_t id = next_id_++;
  MessageWriter writer(message, 3);
  writer.Uint(static_cast<uint64_t>(ipc::MessageType::kControl));
  writer.Uint(id);
  writer.Text(json);
  if (writer.size() == 0) return absl::InvalidArgumentError("the request is too long");
  ssize_t n;
  do {
    n = ::send(socket_.get(), message.data(), writer.size(), MSG_NOSIGNAL);
  } while (n < 0 && errno == EINTR);
  if (n < 0) return Gone(errno);
  return Receive(id, timeout);
}

absl::StatusOr<ControlReply> ControlConnection::Receive(uint64_t id, milliseconds timeout) {
  const auto deadline = steady_clock::now() + timeout;
  std::vector<char> buffer(ipc::kMaxMessageBytes);
  while (true) {
    RETURN_IF_ERROR(WaitReadable(socket_.get(), deadline));
    ControlReply reply;
    ASSIGN_OR_RETURN(const std::string_view data, ReceiveMessage(socket_.get(), buffer, &reply.fd));
    std::array<MessageField, ipc::kMaxMessageFields> fields;
    const int count = DecodeMessage(data, fields);
    const std::span<const MessageField> all(fields);
    MessageReader reader(all.first(static_cast<size_t>(std::max(count, 0))));
    const uint64_t type = reader.Uint();
    const uint64_t reply_id = reader.Uint();
    reply.error = static_cast<int>(reader.Uint());
    reply.json = reader.Text();
    if (!reader.ok() || type != static_cast<uint64_t>(ipc::MessageType::kControlReply)) {
      return absl::DataLossError("the daemon's reply is no reply to a control request");
    }
    if (reply_id != id) continue;
    RETURN_IF_ERROR(Unspool(&reply));
    return reply;
  }
}

absl::StatusOr<ControlReply> ControlRequest(const std::string& dir, std::string_view json,
                                            std::chrono::milliseconds timeout) {
  ASSIGN_OR_RETURN(ControlConnection connection, ControlConnection::Connect(dir));
  return connection.Request(json, timeout);
}

}  // namespace litefs
