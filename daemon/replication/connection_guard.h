// ConnectionGuard: watches the connections that come in to bound sockets, from outside of libzmq,
// and ends those whose peers make it keep what nobody asked for.  libzmq bounds the size of a frame
// and the number of whole messages that wait; it does not bound how many frames a message has,
// which it keeps until the last one is there, nor how many topics a peer subscribes to.
//
// What libzmq holds of a connection is what the kernel has received for it (TCP_INFO), less what
// lies unread in the kernel, less the messages that the socket's owner has taken.  Where that
// exceeds the socket's allowance the connection is shut down, and libzmq frees what it held.  The
// descriptors are libzmq's own, known from the events of the sockets; each use first makes sure
// that the number still stands for the same connection.  (No duplicates: they would keep
// connections open that libzmq has closed.)
//
//   accepted ──► watched ──(data has come; then at most every 50 ms)──► measured
//
// It also reports peers that fail in the handshake to Refusals, with their address, and ends all
// connections when a key is taken off the list of peers, so that everybody proves his again.
//
// A thread of its own, idle while nothing comes in.  Unix sockets have no TCP_INFO: who may open
// them is trusted with this machine's memory.

#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>
#include <zmq.hpp>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/mutex.h"
#include "common/unique_fd.h"
#include "daemon/replication/peer_list.h"
#include "daemon/replication/refusals.h"
#include "daemon/replication/wakeup.h"

namespace litefs::replication {

inline constexpr size_t kMaxConnections = 1024;  // coming in, over all sockets of a context
inline constexpr int kMaxMalformedMessages = 8;  // of one connection

class ConnectionGuard {
 public:
  // peers (nullptr: no keys) and refusals outlive it.
  static absl::StatusOr<std::unique_ptr<ConnectionGuard>> Start(PeerList* peers,
                                                                Refusals* refusals);
  ~ConnectionGuard();
  ConnectionGuard(const ConnectionGuard&) = delete;
  ConnectionGuard& operator=(const ConnectionGuard&) = delete;

  // Watches the connections of socket, which is about to be bound.  On the socket's thread.
  absl::Status Watch(zmq::context_t& context, zmq::socket_t& socket, uint64_t allowance_bytes);
  // Lets go of them; before socket is closed.  On the socket's thread.
  static void Unwatch(zmq::socket_t& socket);

  // The owner of a socket has taken a message of so many bytes that came from connection fd
  // (ZMQ_SRCFD).  Any thread; an unknown fd has no effect.
  void Delivered(int fd, size_t bytes) EXCLUDES(mu_);
  // A message from fd was not understood: too many of them end the connection.
  void Malformed(int fd) EXCLUDES(mu_);

  // Connections now; for tests.
  size_t connections() const EXCLUDES(mu_);

 private:
  using Time = std::chrono::nanoseconds;  // Clock::Boot
  struct Connection {
    int fd = -1;         // libzmq's
    uint64_t inode = 0;  // what fd stood for when it was accepted
    std::string address;
    size_t monitor = 0;
    uint64_t allowance_bytes = 0;
    uint64_t delivered_bytes = 0;
    int malformed = 0;
    bool ended = false;
    Time since{};
    Time measure_at{};  // 0: when data comes
  };
  struct Monitor {
    zmq::socket_t socket;
    uint64_t allowance_bytes = 0;
    std::string failure;  // of the handshake whose connection ends next
  };

  ConnectionGuard(PeerList* peers, Refusals* refusals) : peers_(peers), refusals_(refusals) {}
  void Run();
  Time NextWakeup(Time now) const EXCLUDES(mu_);
  void TakeNewMonitors() EXCLUDES(mu_);
  void ReadMonitor(size_t index);
  void OnEvent(size_t index, uint16_t event, uint32_t value) EXCLUDES(mu_);
  void Accept(size_t index, int fd) EXCLUDES(mu_);
  void Forget(size_t index, int fd) EXCLUDES(mu_);
  void ReadArrivals(Time now) EXCLUDES(mu_);
  void MeasureLate(Time now) EXCLUDES(mu_);
  void Measure(Connection& connection, Time now) REQUIRES(mu_);
  void CheckPeers(Time now) EXCLUDES(mu_);
  void End(Connection& connection, const std::string& why);

  PeerList* const peers_;
  Refusals* const refusals_;
  UniqueFd epoll_;
  Wakeup wakeup_;

  // The thread's own.
  std::vector<std::unique_ptr<Monitor>> monitors_;
  Time check_peers_at_{};
  uint64_t removals_ = 0;

  mutable Mutex mu_;
  std::vector<std::unique_ptr<Monitor>> new_monitors_ GUARDED_BY(mu_);
  std::map<int, Connection> connections_ GUARDED_BY(mu_);  // by libzmq's descriptor
  bool stopping_ GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace litefs::replication
