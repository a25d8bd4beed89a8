#include "tests/support/bad_network.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <vector>

#include "common/check.h"

namespace litefs::replication {
namespace {

sockaddr_in Loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

std::vector<zmq::message_t> ReceiveAll(zmq::socket_t& socket) {
  std::vector<zmq::message_t> frames;
  do {
    zmq::message_t frame;
    if (!socket.recv(frame, zmq::recv_flags::dontwait)) return {};
    frames.push_back(std::move(frame));
  } while (frames.back().more());
  return frames;
}

void SendCopy(zmq::socket_t& socket, std::vector<zmq::message_t>& frames) {
  for (size_t i = 0; i < frames.size(); ++i) {
    zmq::message_t copy;
    copy.copy(frames[i]);
    socket.send(copy, i + 1 < frames.size() ? zmq::send_flags::sndmore : zmq::send_flags::none);
  }
}

}  // namespace

BadPub::BadPub(const std::string& upstream, double share, uint64_t seed)
    : share_(share),
      random_(seed),
      in_(context_, zmq::socket_type::xsub),
      out_(context_, zmq::socket_type::xpub) {
  in_.set(zmq::sockopt::linger, 0);
  out_.set(zmq::sockopt::linger, 0);
  in_.connect(upstream);
  out_.bind("tcp://127.0.0.1:*");
  endpoint_ = out_.get(zmq::sockopt::last_endpoint);
  thread_ = std::thread([this] { Run(); });
}

BadPub::~BadPub() {
  stopping_ = true;
  wakeup_.Signal();
  thread_.join();
}

void BadPub::Run() {
  std::array<zmq::pollitem_t, 3> items = {{{in_.handle(), 0, ZMQ_POLLIN, 0},
                                           {out_.handle(), 0, ZMQ_POLLIN, 0},
                                           {nullptr, wakeup_.fd(), ZMQ_POLLIN, 0}}};
  while (!stopping_) {
    zmq::poll(items.data(), items.size(), std::chrono::milliseconds(-1));
    if (items[0].revents != 0) Forward();
    if (items[1].revents == 0) continue;
    for (auto request = ReceiveAll(out_); !request.empty(); request = ReceiveAll(out_)) {
      SendCopy(in_, request);
    }
  }
  held_.clear();
  in_.close();
  out_.close();
}

void BadPub::Forward() {
  std::uniform_real_distribution<double> chance(0, 1);
  for (auto message = ReceiveAll(in_); !message.empty(); message = ReceiveAll(in_)) {
    if (chance(random_) < share_) {
      ++lost_;
      continue;
    }
    if (chance(random_) < share_) {
      held_.push_back(std::move(message));
      continue;
    }
    SendCopy(out_, message);
    if (chance(random_) < share_) SendCopy(out_, message);
    for (auto& late : held_) SendCopy(out_, late);
    held_.clear();
  }
}

TcpRelay::TcpRelay(int port) : target_(port), listener_(::socket(AF_INET, SOCK_STREAM, 0)) {
  sockaddr_in address = Loopback(0);
  socklen_t size = sizeof(address);
  auto* raw = reinterpret_cast<sockaddr*>(&address);
  CHECK(::bind(listener_.get(), raw, size) == 0 && ::listen(listener_.get(), 8) == 0);
  CHECK(::getsockname(listener_.get(), raw, &size) == 0);
  port_ = ntohs(address.sin_port);
  thread_ = std::thread([this] { Run(); });
}

TcpRelay::~TcpRelay() {
  stopping_ = true;
  wakeup_.Signal();
  thread_.join();
}

void TcpRelay::Run() {
  while (!stopping_) {
    std::array<pollfd, 2> fds = {{{listener_.get(), POLLIN, 0}, {wakeup_.fd(), POLLIN, 0}}};
    ::poll(fds.data(), fds.size(), -1);
    if (fds[0].revents == 0) continue;
    const UniqueFd client(::accept(listener_.get(), nullptr, nullptr));
    if (client.valid()) Serve(client.get());
  }
}

void TcpRelay::Serve(int client) {
  const UniqueFd server(::socket(AF_INET, SOCK_STREAM, 0));
  const sockaddr_in address = Loopback(target_);
  if (::connect(server.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return;
  }
  while (!stopping_) {
    std::array<pollfd, 3> fds = {
        {{client, POLLIN, 0}, {server.get(), POLLIN, 0}, {wakeup_.fd(), POLLIN, 0}}};
    ::poll(fds.data(), fds.size(), -1);
    if (fds[0].revents != 0 && !Copy(client, server.get(), false)) return;
    if (fds[1].revents != 0 && !Copy(server.get(), client, true)) return;
  }
}

bool TcpRelay::Copy(int from, int to, bool count) {
  std::array<char, 16384> buffer;
  const ssize_t n = ::recv(from, buffer.data(), buffer.size(), 0);
  if (n <= 0) return false;
  if (count && cut_after_ != UINT64_MAX) {
    if (cut_after_ < static_cast<uint64_t>(n)) {
      cut_after_ = UINT64_MAX;
      ++cuts_;
      return false;
    }
    cut_after_ -= static_cast<uint64_t>(n);
  }
  for (ssize_t done = 0; done < n;) {
    const ssize_t sent = ::send(to, buffer.data() + done, n - done, MSG_NOSIGNAL);
    if (sent <= 0) return false;
    done += sent;
  }
  return true;
}

}  // namespace litefs::replication
