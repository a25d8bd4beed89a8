// HttpClient: requests to a lease server by libcurl, one at a time, each with a deadline, over
// connections that are kept.  Proxies of the environment are not used, redirects not followed.
//
// One thread calls Send; Interrupt and Resume are for any.

#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace litefs::lease {

inline constexpr size_t kMaxResponseBytes = 4 << 20;

struct HttpRequest {
  std::string method;  // GET, PUT, POST
  std::string url;
  std::string body{};
  std::vector<std::string> headers{};  // "Name: value"
  // Given the body so far whenever more of it has come; false: that is enough, the answer is
  // complete.
  std::function<bool(std::string_view body)> on_body{};
};

struct HttpResponse {
  long status = 0;
  std::string body;
  std::string index;  // the header X-Consul-Index
};

class HttpClient {
 public:
  HttpClient();
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // An answer of any status.  kUnavailable: none, in time or at all; the request may have had its
  // effect all the same.  kCancelled: interrupted.
  absl::StatusOr<HttpResponse> Send(const HttpRequest& request, std::chrono::milliseconds timeout);

  // The call in progress and all later ones return kCancelled, until Resume.
  void Interrupt();
  void Resume() { interrupted_ = false; }

 private:
  absl::Status Transfer(void* easy, std::chrono::steady_clock::time_point deadline);

  void* const multi_;  // CURLM, which keeps the connections
  std::atomic<bool> interrupted_ = false;
};

}  // namespace litefs::lease
