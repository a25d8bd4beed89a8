#include "daemon/replication/connection_guard.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <utility>

#include "common/clock.h"
#include "common/log.h"
#include "common/posix_io.h"

namespace litefs::replication {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

// After data has come, the next look is this much later: what a peer can pile up in between is
// bounded by the speed of this machine.
constexpr milliseconds kMeasureSpacing{50};
constexpr std::chrono::seconds kCheckPeersSpacing{1};
// Heartbeats are delivered to nobody, and each message has a frame around it.
constexpr uint64_t kHeartbeatBytesPerSecond = 1024;
constexpr uint64_t kFrameBytes = 128;
constexpr int kMaxEventsATurn = 64;

nanoseconds Now() { return SystemClock().Boot(); }

// "10.0.0.7:41234", or where it cannot be told, as for Unix sockets, a word.
std::string AddressOf(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (::getpeername(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return "unknown";
  if (address.ss_family == AF_INET) {
    const auto* in = reinterpret_cast<const sockaddr_in*>(&address);
    ::inet_ntop(AF_INET, &in->sin_addr, text.data(), text.size());
    return fmt::format("{}:{}", text.data(), ntohs(in->sin_port));
  }
  if (address.ss_family != AF_INET6) return "unix-socket";
  const auto* in6 = reinterpret_cast<const sockaddr_in6*>(&address);
  if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
    ::inet_ntop(AF_INET, &in6->sin6_addr.s6_addr[12], text.data(), text.size());
    return fmt::format("{}:{}", text.data(), ntohs(in6->sin6_port));
  }
  ::inet_ntop(AF_INET6, &in6->sin6_addr, text.data(), text.size());
  return fmt::format("[{}]:{}", text.data(), ntohs(in6->sin6_port));
}

// The number of the socket behind fd; 0 if there is none.
uint64_t SocketInode(int fd) {
  struct stat st;
  return ::fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode) ? st.st_ino : 0;
}

// Ends a connection at once: the peer gets a reset, also while libzmq is not reading from it, which
// after shutdown(2) alone would wait for it.
void ResetPeer(int fd) {
  const sockaddr none{.sa_family = AF_UNSPEC, .sa_data = {}};
  if (::connect(fd, &none, sizeof(none)) != 0) ::shutdown(fd, SHUT_RDWR);
}

// What libzmq has read of a connection; 0 if the kernel does not count it.
uint64_t BytesRead(int fd) {
  tcp_info info{};
  socklen_t size = sizeof(info);
  int unread = 0;
  if (::ioctl(fd, FIONREAD, &unread) != 0) return 0;
  if (::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return 0;
  if (size < offsetof(tcp_info, tcpi_bytes_received) + sizeof(info.tcpi_bytes_received)) return 0;
  const uint64_t received = info.tcpi_bytes_received;
  return received - std::min(received, static_cast<uint64_t>(std::max(unread, 0)));
}

// Why a peer that connected did not get through the handshake; "" if that is said elsewhere.
std::string FailureText(uint16_t event, uint32_t value, bool encrypted) {
  if (event == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH) return "";  // by ZapHandler, with the key
  if (event == ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL) {
    return fmt::format("it broke off the handshake, or never ended it ({})",
                       zmq_strerror(static_cast<int>(value)));
  }
  if (value == ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH) {
    return encrypted ? "it does not encrypt: set security.key-file there"
                     : "it asks for keys, and this node has none: set security.key-file here";
  }
  if (value == ZMQ_PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC) {
    return "it has another public key for this node: litefs keygen --show prints the right one";
  }
  return fmt::format("it does not speak ZMTP 3 as this node does (error {:#x})", value);
}

}  // namespace

absl::StatusOr<std::unique_ptr<ConnectionGuard>> ConnectionGuard::Start(PeerList* peers,
                                                                        Refusals* refusals) {
  std::unique_ptr<ConnectionGuard> guard(new ConnectionGuard(peers, refusals));
  guard->epoll_.reset(::epoll_create1(EPOLL_CLOEXEC));
  if (!guard->epoll_.valid()) return ErrnoStatus("watch connections", errno);
  if (peers != nullptr) guard->removals_ = peers->removals();
  guard->thread_ = std::thread([raw = guard.get()] { raw->Run(); });
  return guard;
}

ConnectionGuard::~ConnectionGuard() {
  if (!thread_.joinable()) return;
  {
    MutexLock lock(mu_);
    stopping_ = true;
  }
  wakeup_.Signal();
  thread_.join();
}

absl::Status ConnectionGuard::Watch(zmq::context_t& context, zmq::socket_t& socket,
                                    uint64_t allowance_bytes) {
  static std::atomic<uint64_t> next_number{0};
  const std::string endpoint = fmt::format("inproc://guard-{}", ++next_number);
  const int events = ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_MONITOR_STOPPED |
                     ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |
                     ZMQ_EVENT_HANDSHAKE_FAILED_AUTH;
  try {
    if (zmq_socket_monitor(socket.handle(), endpoint.c_str(), events) != 0) throw zmq::error_t();
    auto monitor = std::make_unique<Monitor>();
    monitor->socket = zmq::socket_t(context, zmq::socket_type::pair);
    monitor->socket.set(zmq::sockopt::linger, 0);
    monitor->socket.connect(endpoint);
    monitor->allowance_bytes = allowance_bytes;
    MutexLock lock(mu_);
    new_monitors_.push_back(std::move(monitor));
  } catch (const zmq::error_t& error) {
    return absl::UnknownError(fmt::format("watch connections: {}", error.what()));
  }
  wakeup_.Signal();
  return absl::OkStatus();
}

void ConnectionGuard::Unwatch(zmq::socket_t& socket) {
  if (socket.handle() != nullptr) zmq_socket_monitor(socket.handle(), nullptr, 0);
}

void ConnectionGuard::Delivered(int fd, size_t bytes) {
  MutexLock lock(mu_);
  const auto it = connections_.find(fd);
  if (it != connections_.end()) it->second.delivered_bytes += bytes + kFrameBytes;
}

void ConnectionGuard::Malformed(int fd) {
  MutexLock lock(mu_);
  const auto it = connections_.find(fd);
  if (it == connections_.end() || ++it->second.malformed != kMaxMalformedMessages) return;
  End(it->second, fmt::format("it sent {} messages that make no sense", kMaxMalformedMessages));
}

size_t ConnectionGuard::connections() const {
  MutexLock lock(mu_);
  return connections_.size();
}

// ---- The thread
// ----------------------------------------------------------------------------------

void ConnectionGuard::Run() {
  for (;;) {
    std::vector<zmq::pollitem_t> items = {{nullptr, wakeup_.fd(), ZMQ_POLLIN, 0},
                                          {nullptr, epoll_.get(), ZMQ_POLLIN, 0}};
    for (const auto& monitor : monitors_) {
      items.push_back({monitor->socket.handle(), 0, ZMQ_POLLIN, 0});
    }
    const Time wait = NextWakeup(Now());
    const milliseconds timeout =
        wait == Time::max() ? milliseconds(-1) : std::chrono::ceil<milliseconds>(wait);
    try {
      zmq::poll(items.data(), items.size(), timeout);
      for (size_t i = 0; i < monitors_.size(); ++i) ReadMonitor(i);
    } catch (const zmq::error_t& error) {
      if (error.num() != EINTR) {
        LogError("replication", fmt::format("connections are no longer watched: {}", error.what()));
        break;
      }
    }
    wakeup_.Clear();
    {
      MutexLock lock(mu_);
      if (stopping_) break;
    }
    TakeNewMonitors();
    ReadArrivals(Now());
    MeasureLate(Now());
    CheckPeers(Now());
  }
  monitors_.clear();
  MutexLock lock(mu_);
  new_monitors_.clear();
  connections_.clear();
}

ConnectionGuard::Time ConnectionGuard::NextWakeup(Time now) const {
  MutexLock lock(mu_);
  Time next = Time::max();
  for (const auto& [fd, connection] : connections_) {
    if (connection.measure_at != Time(0)) next = std::min(next, connection.measure_at);
  }
  if (peers_ != nullptr && !connections_.empty()) next = std::min(next, check_peers_at_);
  return next == Time::max() ? next : std::max(next - now, Time(0));
}

void ConnectionGuard::TakeNewMonitors() {
  MutexLock lock(mu_);
  for (auto& monitor : new_monitors_) monitors_.push_back(std::move(monitor));
  new_monitors_.clear();
}

void ConnectionGuard::ReadMonitor(size_t index) {
  for (int i = 0; i < kMaxEventsATurn; ++i) {
    zmq::message_t frame;  // event number (16 bits), value (32 bits); then the endpoint
    if (!monitors_[index]->socket.recv(frame, zmq::recv_flags::dontwait)) return;
    uint16_t event = 0;
    uint32_t value = 0;
    if (frame.size() == sizeof(event) + sizeof(value)) {
      std::memcpy(&event, frame.data(), sizeof(event));
      std::memcpy(&value, frame.data<std::byte>() + sizeof(event), sizeof(value));
    }
    while (frame.more()) {
      if (!monitors_[index]->socket.recv(frame, zmq::recv_flags::dontwait)) break;
    }
    OnEvent(index, event, value);
  }
}

void ConnectionGuard::OnEvent(size_t index, uint16_t event, uint32_t value) {
  switch (event) {
    case ZMQ_EVENT_ACCEPTED:
      return Accept(index, static_cast<int>(value));
    case ZMQ_EVENT_DISCONNECTED:
      return Forget(index, static_cast<int>(value));
    case ZMQ_EVENT_MONITOR_STOPPED: {
      MutexLock lock(mu_);
      std::erase_if(connections_, [&](const auto& entry) { return entry.second.monitor == index; });
      return;
    }
    default:  // a handshake failed; that its connection has ended comes next
      monitors_[index]->failure = FailureText(event, value, peers_ != nullptr);
  }
}

void ConnectionGuard::Accept(size_t index, int fd) {
  Connection connection;
  connection.fd = fd;
  connection.inode = SocketInode(fd);
  if (connection.inode == 0) return;  // it is gone already
  connection.address = AddressOf(fd);
  connection.monitor = index;
  connection.allowance_bytes = monitors_[index]->allowance_bytes;
  connection.since = Now();
  epoll_event arrival{.events = EPOLLIN | EPOLLONESHOT, .data = {.fd = fd}};
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &arrival);
  MutexLock lock(mu_);
  Connection& watched = connections_[fd] = std::move(connection);
  if (connections_.size() > kMaxConnections) {
    End(watched, fmt::format("there are {} connections already", kMaxConnections));
  }
}

void ConnectionGuard::Forget(size_t index, int fd) {
  const std::string failure = std::exchange(monitors_[index]->failure, "");
  std::string address = "unknown";
  {
    MutexLock lock(mu_);
    const auto it = connections_.find(fd);
    if (it != connections_.end() && it->second.monitor == index) {
      address = it->second.address;
      connections_.erase(it);
    }
  }
  if (!failure.empty()) {
    refusals_->Add(fmt::format("address={} why=\"{}\"", address, failure));
  }
}

void ConnectionGuard::ReadArrivals(Time now) {
  std::array<epoll_event, kMaxEventsATurn> arrivals;
  const int count = ::epoll_wait(epoll_.get(), arrivals.data(), arrivals.size(), 0);
  MutexLock lock(mu_);
  for (int i = 0; i < count; ++i) {
    const auto it = connections_.find(arrivals[static_cast<size_t>(i)].data.fd);
    if (it != connections_.end()) it->second.measure_at = now + kMeasureSpacing;
  }
}

void ConnectionGuard::MeasureLate(Time now) {
  MutexLock lock(mu_);
  for (auto it = connections_.begin(); it != connections_.end();) {
    Connection& connection = it->second;
    if (connection.measure_at != Time(0) && now >= connection.measure_at) {
      if (SocketInode(connection.fd) != connection.inode) {  // closed, and it was not said
        it = connections_.erase(it);
        continue;
      }
      connection.measure_at = Time(0);
      Measure(connection, now);
      epoll_event arrival{.events = EPOLLIN | EPOLLONESHOT, .data = {.fd = connection.fd}};
      if (!connection.ended) ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, connection.fd, &arrival);
    }
    ++it;
  }
}

void ConnectionGuard::Measure(Connection& connection, Time now) {
  const auto age = std::chrono::duration_cast<std::chrono::seconds>(now - connection.since);
  const uint64_t granted = connection.allowance_bytes + connection.delivered_bytes +
                           static_cast<uint64_t>(age.count()) * kHeartbeatBytesPerSecond;
  const uint64_t read = BytesRead(connection.fd);
  if (read <= granted) return;
  End(connection,
      fmt::format("it sent {} bytes that nobody asked for", read - connection.delivered_bytes));
}

void ConnectionGuard::CheckPeers(Time now) {
  if (peers_ == nullptr || now < check_peers_at_) return;
  check_peers_at_ = now + kCheckPeersSpacing;
  if (const absl::Status status = peers_->Reload(); !status.ok()) {
    LogError("replication", std::string(status.message()));
  }
  if (std::exchange(removals_, peers_->removals()) == removals_) return;
  LogInfo("replication", "a key was taken off the list of peers: all connect anew");
  MutexLock lock(mu_);
  for (auto& [fd, connection] : connections_) {
    if (SocketInode(fd) == connection.inode) ResetPeer(fd);
  }
}

void ConnectionGuard::End(Connection& connection, const std::string& why) {
  if (std::exchange(connection.ended, true)) return;
  if (SocketInode(connection.fd) != connection.inode) return;  // gone by itself
  ResetPeer(connection.fd);  // libzmq sees it, and says that it has ended
  refusals_->Add(fmt::format("address={} why=\"{}\"", connection.address, why));
}

}  // namespace litefs::replication
