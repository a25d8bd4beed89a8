// ZapHandler: decides for libzmq which peers may connect to the sockets of one context: those whose
// public key is on the list.  ZeroMQ's authentication protocol (RFC 27): libzmq asks, once the
// handshake has proved that the peer has the key, at inproc://zeromq.zap.01:
//
//   request:  version "1.0" | request id | domain | address | identity | mechanism | credentials…
//   reply:    version "1.0" | request id | status | text | user id | metadata
//
// Credentials of CURVE are one frame, the public key's 32 bytes; any other mechanism is refused.
// The user id of the reply, which libzmq gives to every message of that peer, is the peer's name.
// A thread of its own, so that a handshake never waits for a busy server.

#pragma once

#include <memory>
#include <thread>
#include <vector>
#include <zmq.hpp>

#include "absl/status/statusor.h"
#include "common/mutex.h"
#include "daemon/replication/peer_list.h"
#include "daemon/replication/refusals.h"
#include "daemon/replication/wakeup.h"

namespace litefs::replication {

class ZapHandler {
 public:
  // Answers from now on, and must before the context's other sockets are bound.  context, peers
  // and refusals outlive it; the context's other sockets must be closed before it ends.
  static absl::StatusOr<std::unique_ptr<ZapHandler>> Start(zmq::context_t& context, PeerList* peers,
                                                           Refusals* refusals);
  ~ZapHandler();
  ZapHandler(const ZapHandler&) = delete;
  ZapHandler& operator=(const ZapHandler&) = delete;

 private:
  ZapHandler(zmq::socket_t socket, PeerList* peers, Refusals* refusals)
      : peers_(peers), refusals_(refusals), socket_(std::move(socket)) {}
  void Run();
  void Answer();
  // The name of the peer that a request is about, or "": refused.
  std::string NameOf(const std::vector<zmq::message_t>& request);

  PeerList* const peers_;
  Refusals* const refusals_;
  zmq::socket_t socket_;  // the thread's own, once it runs
  Wakeup wakeup_;

  Mutex mu_;
  bool stopping_ GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace litefs::replication
