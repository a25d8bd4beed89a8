#include "ipc/control_client.h"

#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "ipc/client.h"
#include "ipc/codec.h"

namespace litefs::ipc {
namespace {

constexpr uint64_t kRequestId = 1;  // one request a connection

absl::Status ErrorStatus(const std::string& socket_path, int error) {
  // NOLINTNEXTLINE(concurrency-mt-unsafe): glibc keeps the text per thread
  const std::string text = socket_path + ": " + std::strerror(error);
  if (error == ETIMEDOUT) return absl::DeadlineExceededError(text);
  if (error == EMSGSIZE) return absl::InternalError(text);
  return absl::UnavailableError(text);
}

}  // namespace

absl::StatusOr<ControlResult> ControlRequest(const std::string& socket_path, std::string_view json,
                                             std::chrono::milliseconds timeout) {
  const int64_t deadline = MonotonicNow() + std::chrono::nanoseconds(timeout).count();
  std::vector<char> buffer(kMaxMessageBytes);
  const size_t size = Encode(Control{.id = kRequestId, .json = json}, buffer);
  if (size == 0) return absl::InvalidArgumentError("the request is longer than a message may be");
  const int connected = ConnectToSocket(socket_path);
  if (connected < 0) return ErrorStatus(socket_path, -connected);
  const UniqueFd socket(connected);

  if (const int rc = SendMessage(socket.get(), {buffer.data(), size}, deadline); rc < 0) {
    return ErrorStatus(socket_path, -rc);
  }
  int passed = -1;
  const int received = ReceiveMessage(socket.get(), buffer, deadline, &passed);
  ControlResult result;
  result.fd.reset(passed);
  if (received < 0) return ErrorStatus(socket_path, -received);
  ControlReply reply;
  if (!Decode({buffer.data(), static_cast<size_t>(received)}, &reply) || reply.id != kRequestId) {
    return absl::InternalError(socket_path + ": not an answer to the request");
  }
  result.error = static_cast<int>(reply.error);
  result.json = std::string(reply.json);
  return result;
}

}  // namespace litefs::ipc
