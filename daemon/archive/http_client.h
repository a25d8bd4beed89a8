// HttpClient: libcurl for one server at a time, with deadlines, Stop, bounded
// bodies, and connections kept for the next request.  Any number of threads.

#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/archive/upload_body.h"

namespace litefs::archive {

class CurlHandle;
class CurlHandles;

struct HttpRequest {
  std::string method;                // GET, HEAD, PUT, POST, DELETE
  std::string url;                   // fully escaped; sent as it is
  std::vector<std::string> headers;  // "name: value"
  const UploadBody* body = nullptr;  // null: none
  std::string range;                 // "0-99"; empty: none
  int response_fd = -1;              // where a 2xx body goes, from its offset 0; else into memory
  uint64_t max_response_bytes = 8 << 20;  // in memory
  std::chrono::milliseconds timeout{};    // for all of it; 0: that of the options
};

struct HttpResponse {
  int status = 0;
  std::map<std::string, std::string> headers;  // by lower-case name
  std::string body;
  uint64_t body_bytes = 0;  // in memory or in response_fd
  std::string body_sha256;  // hexadecimal

  // A header's value, or "".
  const std::string& Header(const std::string& name) const;
};

class HttpClient {
 public:
  struct Options {
    std::string signing_scope;  // as CURLOPT_AWS_SIGV4; empty: requests are not signed
    std::string user;
    std::string password;
    std::string ca_file;  // PEM; empty: the system's
    // For the connection and for each request, which gets 1 s more for every 64
    // KiB moved.
    std::chrono::milliseconds timeout = std::chrono::seconds(30);
  };

  explicit HttpClient(Options options);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // Sends the request once and receives the whole answer, whatever its status.
  // kUnavailable: no, or only a part of, an answer in time.
  // kFailedPrecondition: the certificate is not trusted.  kDataLoss: a larger
  // answer than allowed.  kCancelled: Stop.
  absl::StatusOr<HttpResponse> Perform(const HttpRequest& request);

  // Makes Perform, under way or later, return kCancelled within about a second.
  void Stop() { stopped_ = true; }
  bool stopped() const { return stopped_; }
  void Resume() { stopped_ = false; }

 private:
  struct Transfer;

  void SetUp(CurlHandle* handle, Transfer* transfer);

  const Options options_;
  std::atomic<bool> stopped_ = false;
  const std::unique_ptr<CurlHandles> handles_;
};

// Percent-encodes everything but letters, digits and "-._~"; also '/', unless
// keep_slashes.
std::string PercentEncode(std::string_view text, bool keep_slashes);

}  // namespace litefs::archive
