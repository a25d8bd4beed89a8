// Proxy: the HTTP proxy in front of an app (docs/HTTP.md, "The proxy").  Reads wait until this node
// has what the client has written elsewhere, writes go to the primary, everything else is passed on
// as it is, web sockets too.  One thread, a coroutine for each connection (connection.h).

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
  // Ends all connections.  ask's answers are of no use from then on, and must not come beside this
  // call.
  ~Proxy();
  Proxy(const Proxy&) = delete;
  Proxy& operator=(const Proxy&) = delete;

  int port() const;

 private:
  struct Implementation;
  explicit Proxy(ProxyOptions options);

  std::unique_ptr<Implementation> implementation_;
};

}  // namespace litefs::proxy
