// Context: what the ZeroMQ sockets of one end of replication share: the I/O thread, and who may be
// at the other end.  With keys, every socket opened on it speaks CURVE and nothing else: who binds
// lets in whom the list of peers names, who connects expects the key that is known for the
// endpoint.
//
// Any thread may open sockets on it; all must be closed before it ends.

#pragma once

#include <map>
#include <memory>
#include <string>
#include <zmq.hpp>

#include "absl/status/statusor.h"
#include "daemon/replication/curve_keys.h"
#include "daemon/replication/peer_list.h"
#include "daemon/replication/refusals.h"
#include "daemon/replication/zap_handler.h"

namespace litefs::replication {

// How a node proves who it is, and whom it believes.  By default not at all.
struct Security {
  CurveKeys keys;                                  // this node's; empty: no encryption
  std::map<std::string, std::string> server_keys;  // public keys of those connected to, by endpoint
  std::shared_ptr<PeerList> peers;                 // who may connect; nullptr: nobody

  bool encrypted() const { return !keys.secret_key.empty(); }
};

class ConnectionGuard;

class Context {
 public:
  static absl::StatusOr<std::unique_ptr<Context>> Open(Security security = {});
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  zmq::context_t& zmq() { return zmq_; }
  const Security& security() const { return security_; }
  ConnectionGuard& guard() { return *guard_; }
  Refusals& refusals() { return refusals_; }

 private:
  explicit Context(Security security);

  // Constant after Open.
  Security security_;
  Refusals refusals_;
  zmq::context_t zmq_{1};
  std::unique_ptr<ZapHandler> zap_;  // with keys
  std::unique_ptr<ConnectionGuard> guard_;
};

}  // namespace litefs::replication
