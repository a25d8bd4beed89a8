// The command line's end of the daemon's socket: requests and replies in JSON (kControl,
// kControlReply of protocol.h; docs/IPC.md lists the requests).  Hosted code, for `litefs` and
// tests; the shim does not use it.  Not thread-safe.

#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "common/unique_fd.h"

namespace litefs {

struct ControlReply {
  int error = 0;     // errno of the request; json then says more: {"error": "…"}
  std::string json;  // whole, also where the daemon passed a long one by descriptor
  UniqueFd fd;       // of an `export`: the data; else invalid
};

class ControlConnection {
 public:
  // Connects to DIR/.litefs/socket.  kUnavailable: nobody listens there, or not in time.
  static absl::StatusOr<ControlConnection> Connect(const std::string& dir);

  // Sends one request and waits for its reply.  kUnavailable: the daemon is gone (the request may
  // or may not have been carried out); kDeadlineExceeded: no reply in time, after which the
  // connection is of no more use; kInvalidArgument: the request is longer than a message.
  absl::StatusOr<ControlReply> Request(std::string_view json, std::chrono::milliseconds timeout);

  // For poll(): readable, while no request is under way, means that the daemon is gone.
  int fd() const { return socket_.get(); }

 private:
  explicit ControlConnection(UniqueFd socket) : socket_(std::move(socket)) {}

  absl::StatusOr<ControlReply> Receive(uint64_t id, std::chrono::milliseconds timeout);

  UniqueFd socket_;
  uint64_t next_id_ = 1;
};

// Connect and one Request.
absl::StatusOr<ControlReply> ControlRequest(const std::string& dir, std::string_view json,
                                            std::chrono::milliseconds timeout);

}  // namespace litefs
