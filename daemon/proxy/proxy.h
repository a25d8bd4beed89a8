// Proxy: the HTTP proxy in front of an app (docs/HTTP.md, "The proxy").  Reads wait until this node
// has what the client has written elsewhere, writes on a replica are redirected to the primary,
// everything else is passed on as it is, web sockets too.  One thread, which sleeps while nobody
// asks.
//
//   Proxy ──► Connection, one a client ──► Exchange, one a request ──► MessageRelay, both ways
//                                                                 └──► Tunnel, of a web socket
//
// Callbacks and not coroutines: those of GCC 12 are miscompiled (a co_await in a loop's condition
// resumes at an illegal instruction), and clang 14 does not take them with this library.

#pragma once

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/proxy/proxy_options.h"

namespace litefs::proxy {

class Proxy {
 public:
  // Binds and begins to serve.  kAlreadyExists: the address is in use, or not this machine's.
  static absl::StatusOr<std::unique_ptr<Proxy>> Start(ProxyOptions options);
  // Ends all connections.  The node's answers that come later do nothing; none must come beside
  // this call.
  ~Proxy();
  Proxy(const Proxy&) = delete;
  Proxy& operator=(const Proxy&) = delete;

  int port() const;
  const ProxyCounters& counters() const;  // any thread

 private:
  struct Implementation;
  explicit Proxy(ProxyOptions options);

  std::unique_ptr<Implementation> implementation_;
};

}  // namespace litefs::proxy
