// What the HTTP proxy is told, and what it asks its node.

#pragma once

#include <chrono>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace litefs::proxy {

struct ProxyOptions {
  std::string host;  // an address or a name of this machine
  int port = 0;      // 0: any
  std::string target_host;
  int target_port = 0;
  std::string database;                  // whose position clients follow
  std::vector<std::string> passthrough;  // globs of paths
  std::chrono::milliseconds wait{5000};  // for a client's transaction, at most
  bool redirect = false;                 // a write on a replica: 307, or forwarded

  struct Answer {
    int error = 0;  // errno; 0: fine
    nlohmann::json json{};
  };
  // Does what a control request (docs/IPC.md) asks, and answers once, from any thread, or never if
  // the node is ending.  Any thread.
  std::function<void(const nlohmann::json& request, std::function<void(Answer)> answer)> ask;
  // Whether this node writes now.  Any thread; does not wait.
  std::function<bool()> is_primary;
};

}  // namespace litefs::proxy
