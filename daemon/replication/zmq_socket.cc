#include "daemon/replication/zmq_socket.h"

#include <fmt/format.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "common/check.h"
#include "daemon/replication/message.h"

namespace litefs::replication {
namespace {

namespace opt = zmq::sockopt;
using std::chrono::milliseconds;

// ---- Options
// ------------------------------------------------------------------------------------- A queue is
// bounded in messages here, and in bytes elsewhere: ROUTER by credit (a message costs at least
// kMessageOverheadBytes of at most kMaxWindowBytes), PUB by the publisher's budget.
constexpr int kServeQueueMessages = 2 * kMaxWindowBytes / kMessageOverheadBytes;
constexpr int kPublishQueueMessages = 128;
constexpr int kRequestQueueMessages = 1000;

// A peer that is silent for this long is gone, though TCP may not know it.
constexpr milliseconds kHeartbeatInterval{2000};
constexpr milliseconds kHeartbeatTimeout{6000};
constexpr milliseconds kHandshakeTimeout{5000};
constexpr milliseconds kConnectTimeout{5000};
constexpr milliseconds kReconnectFirst{50};
constexpr milliseconds kReconnectMost{2000};

constexpr size_t kMaxSubscriptionBytes = 256;

int Count(milliseconds duration) { return static_cast<int>(duration.count()); }

void SetCommonOptions(zmq::socket_t& socket) {
  socket.set(opt::linger, 0);  // closing never waits for a peer
  socket.set(opt::ipv6, true);
  socket.set(opt::heartbeat_ivl, Count(kHeartbeatInterval));
  socket.set(opt::heartbeat_timeout, Count(kHeartbeatTimeout));
  socket.set(opt::heartbeat_ttl, Count(kHeartbeatTimeout));
  socket.set(opt::handshake_ivl, Count(kHandshakeTimeout));
  socket.set(opt::connect_timeout, Count(kConnectTimeout));
  socket.set(opt::reconnect_ivl, Count(kReconnectFirst));
  socket.set(opt::reconnect_ivl_max, Count(kReconnectMost));
  socket.set(opt::immediate, true);  // nothing is queued for a connection that is not there
  socket.set(opt::backlog, 256);
}

// maxmsgsize bounds each frame; a peer that exceeds it is disconnected before it is allocated.
void SetQueues(zmq::socket_t& socket, int send, int receive, size_t max_frame_bytes) {
  socket.set(opt::sndhwm, send);
  socket.set(opt::rcvhwm, receive);
  socket.set(opt::maxmsgsize, static_cast<int64_t>(max_frame_bytes));
}

void SetOptions(zmq::socket_t& socket, ZmqSocket::Kind kind) {
  SetCommonOptions(socket);
  switch (kind) {
    case ZmqSocket::Kind::kPublish:
      SetQueues(socket, kPublishQueueMessages, kRequestQueueMessages, kMaxSubscriptionBytes);
      socket.set(opt::xpub_nodrop, false);  // one slow subscriber never stops the others
      socket.set(opt::xpub_verboser, 1);    // tell every subscription and its end
      break;
    case ZmqSocket::Kind::kSubscribe:
      SetQueues(socket, kRequestQueueMessages, kPublishQueueMessages, kMaxInlineBytes);
      socket.set(opt::conflate, false);
      break;
    case ZmqSocket::Kind::kServe:
      SetQueues(socket, kServeQueueMessages, kRequestQueueMessages, kMaxRequestBytes);
      socket.set(opt::router_mandatory, true);  // an unroutable message is an error, not a loss
      socket.set(opt::router_handover, false);  // nobody takes over another's identity
      break;
    case ZmqSocket::Kind::kPull:
      SetQueues(socket, kRequestQueueMessages, kServeQueueMessages, kChunkBytes);
      socket.set(opt::conflate, false);
      break;
  }
}
static_assert(kMaxHeaderBytes <= kChunkBytes && kChunkBytes <= kMaxInlineBytes);

zmq::socket_type TypeOf(ZmqSocket::Kind kind) {
  switch (kind) {
    case ZmqSocket::Kind::kPublish:
      return zmq::socket_type::xpub;
    case ZmqSocket::Kind::kSubscribe:
      return zmq::socket_type::sub;
    case ZmqSocket::Kind::kServe:
      return zmq::socket_type::router;
    case ZmqSocket::Kind::kPull:
      return zmq::socket_type::dealer;
  }
  CHECK(false);
}

absl::Status ZmqStatus(std::string_view context, const zmq::error_t& error) {
  const std::string message = fmt::format("{}: {}", context, error.what());
  switch (error.num()) {
    case EAGAIN:
      return absl::UnavailableError("");
    case EHOSTUNREACH:
      return absl::NotFoundError("");
    case EADDRINUSE:
      return absl::AlreadyExistsError(message);
    case EINVAL:
    case EPROTONOSUPPORT:
      return absl::InvalidArgumentError(message);
    default:
      return absl::UnknownError(message);
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<zmq::context_t>> NewContext() {
  try {
    auto context = std::make_unique<zmq::context_t>(1);
    context->set(zmq::ctxopt::ipv6, 1);
    return context;
  } catch (const zmq::error_t& error) {
    return ZmqStatus("create a ZeroMQ context", error);
  }
}

absl::StatusOr<ZmqSocket> ZmqSocket::Open(zmq::context_t& context, Kind kind) {
  try {
    zmq::socket_t socket(context, TypeOf(kind));
    SetOptions(socket, kind);
    return ZmqSocket(std::move(socket));
  } catch (const zmq::error_t& error) {
    return ZmqStatus("open a socket", error);
  }
}

absl::Status ZmqSocket::Bind(const std::string& endpoint) {
  try {
    socket_.bind(endpoint);
    return absl::OkStatus();
  } catch (const zmq::error_t& error) {
    return ZmqStatus("bind " + endpoint, error);
  }
}

absl::Status ZmqSocket::Connect(const std::string& endpoint) {
  try {
    socket_.connect(endpoint);
    return absl::OkStatus();
  } catch (const zmq::error_t& error) {
    return ZmqStatus("connect to " + endpoint, error);
  }
}

absl::Status ZmqSocket::Subscribe(std::string_view topic) {
  try {
    socket_.set(opt::subscribe, topic);
    return absl::OkStatus();
  } catch (const zmq::error_t& error) {
    return ZmqStatus("subscribe", error);
  }
}

std::string ZmqSocket::BoundEndpoint() const {
  try {
    return socket_.get(opt::last_endpoint);
  } catch (const zmq::error_t&) {
    return "";
  }
}

absl::Status ZmqSocket::Send(std::span<Frame> frames) {
  try {
    for (size_t i = 0; i < frames.size(); ++i) {
      const auto more = i + 1 < frames.size() ? zmq::send_flags::sndmore : zmq::send_flags::none;
      const auto sent = socket_.send(frames[i], zmq::send_flags::dontwait | more);
      // Only the first frame can be refused: the rest goes where that one went.
      if (!sent) return absl::UnavailableError("");
    }
    return absl::OkStatus();
  } catch (const zmq::error_t& error) {
    return ZmqStatus("send", error);
  }
}

bool ZmqSocket::HasRoom() const {
  try {
    return (socket_.get(opt::events) & ZMQ_POLLOUT) != 0;
  } catch (const zmq::error_t&) {
    return false;
  }
}

absl::StatusOr<bool> ZmqSocket::Next(Frame* frame) {
  for (;;) {
    try {
      return socket_.recv(*frame, zmq::recv_flags::dontwait).has_value();
    } catch (const zmq::error_t& error) {
      if (error.num() != EINTR) return ZmqStatus("receive", error);
    }
  }
}

absl::Status ZmqSocket::Receive(std::vector<Frame>* frames) {
  frames->clear();
  Frame frame;
  size_t count = 0;
  do {
    const absl::StatusOr<bool> got = Next(&frame);
    if (!got.ok()) return got.status();
    if (!*got) return absl::UnavailableError("");
    const bool more = frame.more();
    if (++count <= kMaxFrames) frames->push_back(std::move(frame));
    if (!more) break;
  } while (true);
  if (count <= kMaxFrames) return absl::OkStatus();
  frames->resize(1);
  return absl::InvalidArgumentError(fmt::format("malformed message: {} frames", count));
}

absl::StatusOr<ZmqSocket> ZmqSocket::Monitor(zmq::context_t& context) {
  static std::atomic<uint64_t> next_number{0};
  const std::string endpoint = fmt::format("inproc://monitor-{}", ++next_number);
  const int events = ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED;
  if (zmq_socket_monitor(socket_.handle(), endpoint.c_str(), events) != 0) {
    return ZmqStatus("monitor a socket", zmq::error_t());
  }
  try {
    zmq::socket_t monitor(context, zmq::socket_type::pair);
    monitor.set(opt::linger, 0);
    monitor.connect(endpoint);
    return ZmqSocket(std::move(monitor));
  } catch (const zmq::error_t& error) {
    return ZmqStatus("monitor a socket", error);
  }
}

std::optional<ZmqSocket::Event> ZmqSocket::ReadEvent() {
  std::vector<Frame> frames;  // event number (16 bits), value (32 bits); endpoint
  if (!Receive(&frames).ok() || frames.empty()) return std::nullopt;
  uint16_t event = 0;
  if (frames[0].size() >= sizeof(event)) std::memcpy(&event, frames[0].data(), sizeof(event));
  if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) return Event::kConnected;
  return event == ZMQ_EVENT_DISCONNECTED ? Event::kDisconnected : Event::kOther;
}

absl::StatusOr<int> Poll(std::span<zmq::pollitem_t> items, milliseconds timeout) {
  try {
    return zmq::poll(items.data(), items.size(), timeout);
  } catch (const zmq::error_t& error) {
    if (error.num() == EINTR) return 0;
    return ZmqStatus("poll", error);
  }
}

}  // namespace litefs::replication
