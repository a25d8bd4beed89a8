#include "daemon/replication/zmq_socket.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "common/check.h"
#include "common/endian.h"
#include "common/posix_io.h"
#include "common/status_macros.h"
#include "common/unique_fd.h"
#include "daemon/replication/connection_guard.h"
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
// Of each who connects to a replica: what is beyond it waits in TCP.
constexpr int kAcceptQueueMessages = 1024;

// A peer that is silent for this long is gone, though TCP may not know it.
constexpr milliseconds kHeartbeatInterval{2000};
constexpr milliseconds kHeartbeatTimeout{6000};
constexpr milliseconds kHandshakeTimeout{5000};
constexpr milliseconds kConnectTimeout{5000};
constexpr milliseconds kReconnectFirst{50};
constexpr milliseconds kReconnectMost{2000};

constexpr size_t kMaxSubscriptionBytes = 256;
constexpr size_t kMaxTrailerBytes = 64;  // lengths of the parts, topic

// CurveZMQ (ZeroMQ RFC 26): what is around an encrypted frame, and the largest command of its
// handshake, to which MAXMSGSIZE applies too.
constexpr int64_t kCurveOverheadBytes = 64;
constexpr int64_t kMaxCurveCommandBytes = 1024;

constexpr std::string_view kZapDomain = "litefs";
constexpr int kZapEnforceDomain = 93;  // ZMQ_ZAP_ENFORCE_DOMAIN, which zmq.h calls a draft

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
      SetQueues(socket, kRequestQueueMessages, kPublishQueueMessages,
                kMaxInlineBytes + kMaxHeaderBytes + kMaxTrailerBytes);
      socket.set(opt::conflate, false);
      break;
    case ZmqSocket::Kind::kServe:
      SetQueues(socket, kServeQueueMessages, kRequestQueueMessages,
                kMaxRequestBytes + kForwardChunkBytes + kMaxTrailerBytes);
      socket.set(opt::router_mandatory, true);  // an unroutable message is an error, not a loss
      socket.set(opt::router_handover, false);  // nobody takes over another's identity
      break;
    case ZmqSocket::Kind::kMonitor:
      break;
    case ZmqSocket::Kind::kDial:
      SetQueues(socket, kServeQueueMessages, kRequestQueueMessages,
                kMaxRequestBytes + kForwardChunkBytes + kMaxTrailerBytes);
      socket.set(opt::conflate, false);
      break;
    case ZmqSocket::Kind::kAccept:
      SetQueues(socket, kRequestQueueMessages, kAcceptQueueMessages,
                kChunkBytes + kMaxHeaderBytes + kMaxTrailerBytes);
      socket.set(opt::router_mandatory, true);
      socket.set(opt::router_handover, false);
      break;
    case ZmqSocket::Kind::kPull:
      SetQueues(socket, kRequestQueueMessages, kServeQueueMessages,
                kChunkBytes + kMaxHeaderBytes + kMaxTrailerBytes);
      socket.set(opt::conflate, false);
      break;
  }
}
// What libzmq may hold of one connection that came in: its queue of requests, and of subscriptions
// hardly anything, since a replica has one; where files come in, the window that was granted.
constexpr uint64_t kRequestsAllowanceBytes = 2 << 20;
constexpr uint64_t kSubscriptionsAllowanceBytes = 64 << 10;
constexpr uint64_t kFilesAllowanceBytes = 2 * kWindowBytes;

uint64_t AllowanceOf(ZmqSocket::Kind kind) {
  if (kind == ZmqSocket::Kind::kPublish) return kSubscriptionsAllowanceBytes;
  return kind == ZmqSocket::Kind::kServe ? kRequestsAllowanceBytes : kFilesAllowanceBytes;
}

// The descriptor of the connection that a message came by; -1: unknown.
int ConnectionOf(const Frame& frame) {
  return zmq_msg_get(const_cast<Frame&>(frame).handle(), ZMQ_SRCFD);
}

void MakeRoomForCurve(zmq::socket_t& socket) {
  const int64_t bytes = socket.get(opt::maxmsgsize) + kCurveOverheadBytes;
  socket.set(opt::maxmsgsize, std::max(bytes, kMaxCurveCommandBytes));
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
    case ZmqSocket::Kind::kDial:
      return zmq::socket_type::dealer;
    case ZmqSocket::Kind::kAccept:
      return zmq::socket_type::router;
    case ZmqSocket::Kind::kMonitor:
      return zmq::socket_type::pair;
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

// Why the handshake of a socket that connects failed, or "" if trying again may help.
std::string RefusalText(uint16_t event, uint32_t value, const Security& security) {
  const bool encrypted = security.encrypted();
  if (event == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH) {
    return fmt::format("the peer does not let this node in: add its key {} to security.peers there",
                       security.keys.public_key);
  }
  if (event == ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL &&
      value == ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH) {
    return encrypted ? "the peer does not encrypt: set security.key-file there too"
                     : "the peer asks for a key: set security.key-file here";
  }
  if (event == ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL) {
    return fmt::format("the peer does not speak ZMTP 3 as this node does (error {:#x})", value);
  }
  // It closes the connection without a word if what it gets is encrypted for another key.
  if (event == ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL && encrypted && value != ETIMEDOUT) {
    return "the peer broke off the handshake: it has no key (set security.key-file there), or "
           "another than security.primary-key here";
  }
  return "";
}

// libzmq removes whatever has the name of a Unix socket before it binds it: a second daemon would
// take the place of the first, which never learned of it.
absl::Status CheckNotTaken(const std::string& endpoint) {
  constexpr std::string_view kScheme = "ipc://";
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  if (!endpoint.starts_with(kScheme)) return absl::OkStatus();
  const std::string_view path = std::string_view(endpoint).substr(kScheme.size());
  // What is too long, or abstract, or for libzmq to choose is its to refuse.
  if (path.empty() || path[0] == '@' || path == "*" || path.size() >= sizeof(address.sun_path)) {
    return absl::OkStatus();
  }
  path.copy(address.sun_path, path.size());
  const UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return ErrnoStatus("look who listens on " + endpoint, errno);
  const auto* const name = reinterpret_cast<const sockaddr*>(&address);
  // EAGAIN: it has more callers than it can take.
  if (::connect(fd.get(), name, sizeof(address)) != 0 && errno != EAGAIN) {
    struct stat other;
    if (errno == ENOENT || ::lstat(address.sun_path, &other) != 0) return absl::OkStatus();
    if (S_ISSOCK(other.st_mode)) return absl::OkStatus();  // of a daemon that has died
    return absl::AlreadyExistsError(
        fmt::format("bind {}: there is a file of that name that is no socket", endpoint));
  }
  return absl::AlreadyExistsError(fmt::format("bind {}: another process listens there", endpoint));
}

}  // namespace

absl::StatusOr<ZmqSocket> ZmqSocket::Open(Context& context, Kind kind) {
  try {
    zmq::socket_t socket(context.zmq(), TypeOf(kind));
    SetOptions(socket, kind);
    if (context.security().encrypted()) MakeRoomForCurve(socket);
    return ZmqSocket(std::move(socket), kind, &context);
  } catch (const zmq::error_t& error) {
    return ZmqStatus("open a socket", error);
  }
}

absl::Status ZmqSocket::Bind(const std::string& endpoint) {
  RETURN_IF_ERROR(CheckNotTaken(endpoint));
  const Security& security = context_->security();
  try {
    if (security.encrypted()) {
      socket_.set(opt::curve_server, true);
      socket_.set(opt::curve_publickey, security.keys.public_key);
      socket_.set(opt::curve_secretkey, security.keys.secret_key);
      socket_.set(opt::zap_domain, kZapDomain);
      const int on = 1;  // nobody is let in if the handler does not answer
      if (zmq_setsockopt(socket_.handle(), kZapEnforceDomain, &on, sizeof(on)) != 0) {
        return ZmqStatus("enforce authentication", zmq::error_t());
      }
    }
    RETURN_IF_ERROR(context_->guard().Watch(context_->zmq(), socket_, AllowanceOf(kind_)));
    socket_.bind(endpoint);
    return absl::OkStatus();
  } catch (const zmq::error_t& error) {
    return ZmqStatus("bind " + endpoint, error);
  }
}

absl::Status ZmqSocket::Connect(const std::string& endpoint) {
  const Security& security = context_->security();
  try {
    if (security.encrypted()) {
      const auto server_key = security.server_keys.find(endpoint);
      if (server_key == security.server_keys.end()) {
        return absl::FailedPreconditionError(
            fmt::format("connect to {}: its public key is not known", endpoint));
      }
      socket_.set(opt::curve_serverkey, server_key->second);
      socket_.set(opt::curve_publickey, security.keys.public_key);
      socket_.set(opt::curve_secretkey, security.keys.secret_key);
    }
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

// ---- Parts: one frame on the wire, split here
//
//   part 1 .. part n | be32 length of each | u8 n
//
// A subscription's topic is a prefix of the frame, so lengths stand at the end.  Not ZeroMQ's own
// multi-part messages: when a connection ends at the wrong moment, libzmq 4.3.4 finds the rest of
// one gone and aborts the process ("!_more", fq.cpp; libzmq issue 3663).

namespace {

// A joined message keeps its parts until it has left: their destructors count queued bytes.
struct Joined {
  std::unique_ptr<std::byte[]> data;
  std::vector<Frame> parts;
};

}  // namespace

Frame JoinParts(std::span<Frame> parts) {
  auto joined = std::make_unique<Joined>();
  size_t size = 1 + parts.size() * sizeof(uint32_t);
  for (const Frame& part : parts) size += part.size();
  joined->data = std::make_unique_for_overwrite<std::byte[]>(size);
  std::byte* at = joined->data.get();
  for (const Frame& part : parts) {
    if (part.size() != 0) std::memcpy(at, part.data(), part.size());
    at += part.size();
  }
  for (Frame& part : parts) {
    StoreBig32(at, static_cast<uint32_t>(part.size()));
    at += sizeof(uint32_t);
    joined->parts.push_back(std::move(part));
  }
  *at = static_cast<std::byte>(parts.size());
  const std::span<std::byte> data(joined->data.get(), size);
  return MakeFrameOver(data, std::move(joined));
}

bool SplitParts(const Frame& frame, std::vector<Frame>* parts) {
  const auto* const data = static_cast<const std::byte*>(frame.data());
  if (frame.size() == 0) return false;
  const auto count = static_cast<size_t>(data[frame.size() - 1]);
  const size_t trailer = 1 + count * sizeof(uint32_t);
  if (count == 0 || count > kMaxFrames || trailer > frame.size()) return false;
  const std::byte* const lengths = data + frame.size() - trailer;
  size_t at = 0;
  for (size_t i = 0; i < count; ++i) {
    const size_t length = LoadBig32(lengths + i * sizeof(uint32_t));
    if (length > frame.size() - trailer - at) return false;
    parts->emplace_back(data + at, length);
    at += length;
  }
  return at == frame.size() - trailer;
}

absl::Status ZmqSocket::Send(std::span<Frame> frames) {
  try {
    if (routes()) {  // the peer's routing id stays a frame of its own
      const auto sent =
          socket_.send(frames[0], zmq::send_flags::dontwait | zmq::send_flags::sndmore);
      if (!sent) return absl::UnavailableError("");
      frames = frames.subspan(1);
    }
    Frame joined = JoinParts(frames);
    // After a routing id the rest cannot be refused: it goes where that one went.
    const auto sent = socket_.send(joined, zmq::send_flags::dontwait);
    return sent ? absl::OkStatus() : absl::UnavailableError("");
  } catch (const zmq::error_t& error) {
    return ZmqStatus("send", error);
  }
}

void ZmqSocket::Blame() { context_->guard().Malformed(last_connection_); }

void ZmqSocket::Close() {
  // Its events end while somebody still takes them: libzmq's thread would wait for ever to tell of
  // a connection that ends just now.
  ConnectionGuard::Unwatch(socket_);
  socket_.close();
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
  const size_t expected = routes() ? 2 : 1;
  Frame frame;
  Frame last;
  size_t count = 0;
  size_t size_bytes = 0;
  last_connection_ = -1;
  bool more = true;
  for (; more; ++count) {
    const absl::StatusOr<bool> got = Next(&frame);
    if (!got.ok()) return got.status();
    if (!*got) return absl::UnavailableError("");
    more = frame.more();
    size_bytes += frame.size();
    // A ROUTER that was polled makes up the routing id's frame without this.
    if (last_connection_ < 0) last_connection_ = ConnectionOf(frame);
    if (count + 1 < expected) {
      frames->push_back(std::move(frame));
    } else {
      last = std::move(frame);
    }
  }
  // A subscription is never taken: libzmq keeps it.
  if (kind_ != Kind::kPublish) context_->guard().Delivered(last_connection_, size_bytes);
  if (count == expected && (kind_ == Kind::kPublish || SplitParts(last, frames))) {
    if (kind_ == Kind::kPublish) frames->push_back(std::move(last));  // a subscription
    return absl::OkStatus();
  }
  frames->resize(std::min(frames->size(), expected - 1));
  return absl::InvalidArgumentError(fmt::format("malformed message: {} frames", count));
}

absl::StatusOr<ZmqSocket> ZmqSocket::Monitor(Context& context) {
  static std::atomic<uint64_t> next_number{0};
  const std::string endpoint = fmt::format("inproc://monitor-{}", ++next_number);
  const int events = ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED |
                     ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |
                     ZMQ_EVENT_HANDSHAKE_FAILED_AUTH;
  if (zmq_socket_monitor(socket_.handle(), endpoint.c_str(), events) != 0) {
    return ZmqStatus("monitor a socket", zmq::error_t());
  }
  try {
    zmq::socket_t monitor(context.zmq(), zmq::socket_type::pair);
    monitor.set(opt::linger, 0);
    monitor.connect(endpoint);
    return ZmqSocket(std::move(monitor), Kind::kMonitor, &context);
  } catch (const zmq::error_t& error) {
    return ZmqStatus("monitor a socket", error);
  }
}

std::optional<ZmqSocket::Event> ZmqSocket::ReadEvent(std::string* why) {
  Frame frame;  // event number (16 bits), value (32 bits); then the endpoint
  if (const absl::StatusOr<bool> got = Next(&frame); !got.ok() || !*got) return std::nullopt;
  uint16_t event = 0;
  uint32_t value = 0;
  if (frame.size() == sizeof(event) + sizeof(value)) {
    std::memcpy(&event, frame.data(), sizeof(event));
    std::memcpy(&value, frame.data<std::byte>() + sizeof(event), sizeof(value));
  }
  while (frame.more()) {
    if (const absl::StatusOr<bool> got = Next(&frame); !got.ok() || !*got) break;
  }
  if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) return Event::kConnected;
  if (event == ZMQ_EVENT_DISCONNECTED) return Event::kDisconnected;
  const std::string text = RefusalText(event, value, context_->security());
  if (text.empty()) return Event::kOther;
  if (why != nullptr) *why = text;
  return Event::kRefused;
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
