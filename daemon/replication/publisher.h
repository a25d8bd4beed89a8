// Publisher: the primary's PUB side.  Sends each new file once to everybody who listens, and never
// waits for anyone: what it holds for slow subscribers is bounded in messages (per subscriber) and
// in bytes (over all of them), and beyond that they miss messages, which they notice.
// For the server's thread.

#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/replication/chain.h"
#include "daemon/replication/counted_frame.h"
#include "daemon/replication/message.h"
#include "daemon/replication/zmq_socket.h"

namespace litefs::replication {

class Publisher {
 public:
  // Binds endpoint.  The context must outlive the publisher.
  static absl::StatusOr<std::unique_ptr<Publisher>> Open(Context& context,
                                                         const std::string& endpoint,
                                                         const Envelope& envelope);

  // Sends a new file: whole if it is small and there is room, else announced.
  void Publish(const std::string& database, const ChainFile& file, uint64_t sequence);
  void Send(const Beacon& beacon);
  // As PullServer's.
  void Renew(const Envelope& envelope);

  // Reads what subscribers asked for.  Returns whether one has come.
  bool ReadSubscriptions();
  bool has_subscribers() const { return subscribers_ > 0; }

  void Close() { socket_.Close(); }  // ends the use of it
  void* handle() { return socket_.handle(); }
  std::string endpoint() const { return socket_.BoundEndpoint(); }
  uint64_t announced_only() const { return announced_only_; }

 private:
  Publisher(ZmqSocket socket, Envelope envelope);

  // The whole file as a frame, or an empty one if it is not to be sent inline.
  Frame ReadPayload(const ChainFile& file);

  ZmqSocket socket_;
  Envelope envelope_;
  std::string topic_;
  int64_t subscribers_ = 0;
  uint64_t announced_only_ = 0;
  QueuedBytes queued_bytes_;  // over all subscribers; a frame in several queues counts once
};

}  // namespace litefs::replication
