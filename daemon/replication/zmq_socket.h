// ZeroMQ sockets with every option set on purpose, in one place (zmq_socket.cc).  The exceptions of
// cppzmq end here as absl::Status; running out of memory is the one that is left to terminate.
// A socket belongs to one thread at a time.

#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>
#include <zmq.hpp>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/replication/context.h"

namespace litefs::replication {

using Frame = zmq::message_t;

// The frames of one message; more than this many are never part of one.
inline constexpr size_t kMaxFrames = 4;

inline std::string_view Text(const Frame& frame) {
  return {static_cast<const char*>(frame.data()), frame.size()};
}
inline std::span<const std::byte> Bytes(const Frame& frame) {
  return {static_cast<const std::byte*>(frame.data()), frame.size()};
}
inline Frame MakeFrame(std::string_view data) { return Frame(data.data(), data.size()); }

// A frame over data that owner keeps; ZeroMQ ends owner, on a thread of its own.
template <typename Owner>
Frame MakeFrameOver(std::span<std::byte> data, std::unique_ptr<Owner> owner);

// The parts of a message as the one frame that goes over the wire, and back (docs/REPLICATION.md,
// "Frames").  SplitParts appends to parts; false if frame is none of JoinParts'.
Frame JoinParts(std::span<Frame> parts);
bool SplitParts(const Frame& frame, std::vector<Frame>* parts);

class ZmqSocket {
 public:
  enum class Kind {
    kPublish,    // XPUB, primary: drops for a peer whose queue is full, and tells of subscriptions
    kSubscribe,  // SUB, replica
    kServe,      // ROUTER, primary
    kPull,       // DEALER, replica
    kDial,       // DEALER, primary: connects to a replica's kAccept
    kAccept,     // ROUTER, replica
    kMonitor,    // PAIR, made by Monitor
  };

  ZmqSocket() = default;
  // With the context's security; context outlives the socket.
  static absl::StatusOr<ZmqSocket> Open(Context& context, Kind kind);

  // Who binds is the one that lets peers in, or not (CURVE's server).
  absl::Status Bind(const std::string& endpoint);
  // kFailedPrecondition: peers are to be authenticated, and no key is known for endpoint.
  absl::Status Connect(const std::string& endpoint);
  absl::Status Subscribe(std::string_view topic);
  // The endpoint bound, with the port that was chosen for "*".
  std::string BoundEndpoint() const;

  // Sends the parts as one message, without waiting; they are consumed, also if it fails.
  // kUnavailable: the peer's queue is full, or nobody is connected.  kNotFound: no such peer.
  absl::Status Send(std::span<Frame> frames);

  // Whether Send would find room.
  bool HasRoom() const;

  // Takes one message if there is one; kUnavailable if not.  kInvalidArgument: it had more than
  // kMaxFrames frames and was discarded.
  absl::Status Receive(std::vector<Frame>* frames);

  // Opens a stream of events about this socket's connections, to be polled and read with
  // ReadEvent.  Close it after this socket.
  absl::StatusOr<ZmqSocket> Monitor(Context& context);
  // kRefused: the two do not come together, for the reason and with the way out that why says.
  enum class Event { kConnected, kDisconnected, kRefused, kOther };
  // For a monitor: the next event, or nullopt if none waits.
  std::optional<Event> ReadEvent(std::string* why = nullptr);

  // The last message received made no sense: from a peer that connected to this socket, too many of
  // them end the connection.
  void Blame();

  void Close();
  void* handle() { return socket_.handle(); }

 private:
  ZmqSocket(zmq::socket_t socket, Kind kind, Context* context)
      : socket_(std::move(socket)), kind_(kind), context_(context) {}
  // Whether a message begins with its peer's routing id.
  bool routes() const { return kind_ == Kind::kServe || kind_ == Kind::kAccept; }
  absl::StatusOr<bool> Next(Frame* frame);

  zmq::socket_t socket_;
  Kind kind_ = Kind::kPull;
  Context* context_ = nullptr;
  int last_connection_ = -1;  // the descriptor that the last message came by; -1: unknown
};

namespace internal {
// Orders the making of an owner before its end, by our own means: libzmq does so too, but a
// ThreadSanitizer that does not see inside it would not know.
inline std::atomic<uint64_t> owners_in_flight{0};
}  // namespace internal

template <typename Owner>
Frame MakeFrameOver(std::span<std::byte> data, std::unique_ptr<Owner> owner) {
  internal::owners_in_flight.fetch_add(1, std::memory_order_acq_rel);
  const auto end = [](void* /*data*/, void* hint) {
    internal::owners_in_flight.fetch_sub(1, std::memory_order_acq_rel);
    delete static_cast<Owner*>(hint);
  };
  return Frame(data.data(), data.size(), end, owner.release());
}

// Waits until an item is ready or the timeout has passed (negative: for ever).  Returns the number
// of items that are ready, 0 also after a signal.
absl::StatusOr<int> Poll(std::span<zmq::pollitem_t> items, std::chrono::milliseconds timeout);

}  // namespace litefs::replication
