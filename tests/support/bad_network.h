// Networks that misbehave: a forwarder of published messages that loses, repeats and reorders them,
// and a relay of bytes that can be cut.  Both listen on a loopback port and run a thread.

#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <zmq.hpp>

#include "common/unique_fd.h"
#include "daemon/replication/wakeup.h"

namespace litefs::replication {

// Between a PUB endpoint and its subscribers.
class BadPub {
 public:
  // Loses, repeats and holds back (until the next message) this share of messages each.
  BadPub(const std::string& upstream, double share, uint64_t seed);
  ~BadPub();
  const std::string& endpoint() const { return endpoint_; }
  uint64_t lost() const { return lost_; }
  void set_share(double share) { share_ = share; }

 private:
  void Run();
  void Forward();

  std::atomic<double> share_;
  std::mt19937_64 random_;
  zmq::context_t context_;
  zmq::socket_t in_;   // XSUB
  zmq::socket_t out_;  // XPUB
  std::string endpoint_;
  std::vector<std::vector<zmq::message_t>> held_;
  std::atomic<uint64_t> lost_{0};
  std::atomic<bool> stopping_{false};
  Wakeup wakeup_;
  std::thread thread_;
};

// Between a listening TCP port and its clients, one connection at a time.
class TcpRelay {
 public:
  explicit TcpRelay(int port);
  ~TcpRelay();
  std::string endpoint() const { return "tcp://127.0.0.1:" + std::to_string(port_); }
  // Cuts the connection once this many further bytes have come from the server; then serves anew.
  void CutAfter(uint64_t bytes) { cut_after_ = bytes; }
  uint64_t cuts() const { return cuts_; }

 private:
  void Run();
  void Serve(int client);
  bool Copy(int from, int to, bool count);

  const int target_;
  int port_ = 0;
  UniqueFd listener_;
  std::atomic<uint64_t> cut_after_{UINT64_MAX};
  std::atomic<uint64_t> cuts_{0};
  std::atomic<bool> stopping_{false};
  Wakeup wakeup_;
  std::thread thread_;
};

}  // namespace litefs::replication
