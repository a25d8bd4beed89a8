// What the HTTP proxy is told, what it asks its node, and what it counts.

#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "ltx/types.h"

namespace litefs::proxy {

struct ProxyOptions {
  std::string host;  // an address or a name of this machine
  int port = 0;      // 0: any
  std::string target_host{};
  int target_port = 0;
  std::vector<std::string> passthrough{};  // globs of paths

  // ---- Of the node.  Each of the first three answers once, from any thread and with little delay
  // of its own, or never if the node is ending.  Any thread.
  template <typename T>
  using Ask = std::function<void(std::function<void(T)> answer)>;
  // Waits until the database has this transaction; 0, or ETIMEDOUT, EAGAIN: too many wait.
  std::function<void(ltx::TxId txid, std::function<void(int error)> answer)> wait{};
  Ask<ltx::TxId> position{};           // after all that is committed; 0: there is no such database
  Ask<std::string> primary_url{};      // of the primary's proxy; empty: not known
  std::function<bool()> is_primary{};  // does not wait
};

// Since the start, but for connections.
struct ProxyCounters {
  std::atomic<uint64_t> connections = 0;  // now
  std::atomic<uint64_t> refused_connections = 0;
  std::atomic<uint64_t> requests = 0;
  std::atomic<uint64_t> waits = 0;          // reads that waited for a transaction, or had it
  std::atomic<uint64_t> wait_timeouts = 0;  // of these: in vain
  std::atomic<uint64_t> redirects = 0;
  std::atomic<uint64_t> bad_requests = 0;
  std::atomic<uint64_t> bad_gateways = 0;  // the app did not answer
};

}  // namespace litefs::proxy
