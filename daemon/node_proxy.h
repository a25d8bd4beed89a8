// NodeProxy: the HTTP proxy as the configuration says, and what it asks its node, which the main
// thread answers.

#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/status.h"
#include "daemon/config.h"
#include "daemon/node.h"
#include "daemon/proxy/proxy.h"
#include "daemon/session/session_server.h"
#include "daemon/session/status_file.h"
#include "daemon/wait_requests.h"

namespace litefs {

class NodeProxy {
 public:
  // All must outlive the proxy, and server's tasks must not run after it.
  struct Parts {
    const Config* config = nullptr;
    session::SessionServer* server = nullptr;
    session::StatusFile* status = nullptr;
    Node* node = nullptr;
    WaitRequests* waits = nullptr;
  };
  explicit NodeProxy(const Parts& parts) : parts_(parts) {}
  NodeProxy(const NodeProxy&) = delete;
  NodeProxy& operator=(const NodeProxy&) = delete;

  // The main thread, as for all methods.  kAlreadyExists: the address is in use.  Nothing, if there
  // is to be no proxy.
  absl::Status Start();
  void Stop() { proxy_.reset(); }

  // Adds what its counters count (docs/HTTP.md).
  void AddCountersTo(nlohmann::json* json) const;
  // The "proxy" of litefs status; null without one.
  nlohmann::json StatusJson() const;

 private:
  void Wait(ltx::TxId txid, std::function<void(int error)> answer);
  ltx::TxId Position();

  const Parts parts_;
  std::unique_ptr<proxy::Proxy> proxy_;
};

}  // namespace litefs
