// HttpServer: the node's HTTP API on a local port (docs/HTTP.md): status, positions, metrics,
// health, events, and requests that change something.  A request takes one of a few threads; none
// of them wakes while nothing is asked.  The only file that knows cpp-httplib.

#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/mutex.h"
#include "daemon/http/event_feed.h"

namespace litefs::http {

class HttpServer {
 public:
  struct Answer {
    int error = 0;  // errno; 0: fine
    nlohmann::json json{};
  };
  struct Options {
    std::string host;  // an address or a name of this machine
    int port = 0;      // 0: any
    // Does what a control request (docs/IPC.md) asks, and answers once, from any thread; never if
    // the node is ending.
    std::function<void(const nlohmann::json& request, std::function<void(Answer)> answer)> ask;
    EventFeed* events = nullptr;  // must outlive the server
  };

  // Binds and begins to serve.  kAlreadyExists: the address is in use, or not this machine's.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(Options options);
  // Ends all requests, also those in progress.  Closes the event feed.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  int port() const;

 private:
  struct Implementation;
  explicit HttpServer(Options options);

  std::unique_ptr<Implementation> implementation_;
};

}  // namespace litefs::http
