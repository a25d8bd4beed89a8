// SftpClient: libcurl for one SSH server, with its host key checked, deadlines, Stop, and
// connections kept for the next request.  Any number of threads.

#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/archive/upload_body.h"

namespace litefs::archive {

class CurlHandle;
class CurlHandles;

// One exchange: the commands before, then the transfer of path, then the commands after; each only
// if what comes before it has succeeded.
struct SftpRequest {
  // A file: gets its bytes.  With a '/' at its end: gets the lines of the directory's listing.
  // Empty: moves nothing.
  std::string path = {};
  const UploadBody* upload = nullptr;  // puts these bytes there; missing directories are made
  std::string range = {};              // "0-99"; empty: the whole file
  int response_fd = -1;                // where the bytes go, from its offset 0; else into memory
  uint64_t max_response_bytes = 64 << 20;  // in memory
  std::vector<std::string> before = {};    // "rename A B", "rm A"; '*' in front: may fail
  std::vector<std::string> after = {};
};

struct SftpResponse {
  std::string body;
  uint64_t body_bytes = 0;  // in memory or in response_fd
};

class SftpClient {
 public:
  struct Options {
    std::string host;  // with the port, if it is not 22
    std::string user;
    std::string key_file;          // private, in OpenSSH's or PEM's format, without a passphrase
    std::string known_hosts_file;  // as OpenSSH's; the server's key must be in it
    // For the connection and for each request, which gets 1 s more for every 64 KiB moved.
    std::chrono::milliseconds timeout = std::chrono::seconds(30);
  };

  explicit SftpClient(Options options);
  ~SftpClient();
  SftpClient(const SftpClient&) = delete;
  SftpClient& operator=(const SftpClient&) = delete;

  // Sends the request once.
  // kNotFound: no such file or directory.  kOutOfRange: the range begins behind the file's end.
  // kPermissionDenied: of the file.  kFailedPrecondition: the host key is not the known one.
  // kAborted: a command has failed, or the connection broke before its answer; libcurl does not
  // tell which.  kUnavailable also: the user is not let in.
  // kResourceExhausted, kDataLoss, kUnavailable, kCancelled: object_store.h.
  absl::StatusOr<SftpResponse> Perform(const SftpRequest& request);

  // Makes Perform, under way or later, return kCancelled within about a second.
  void Stop() { stopped_ = true; }
  bool stopped() const { return stopped_; }

  // path as an argument of a command.
  static std::string Quote(std::string_view path);

 private:
  struct Transfer;

  absl::StatusOr<SftpResponse> PerformOnce(const SftpRequest& request);
  void SetUp(CurlHandle* handle, Transfer* transfer);
  absl::Status Failure(int code, const std::string& text) const;

  const Options options_;
  std::atomic<bool> stopped_ = false;
  const std::unique_ptr<CurlHandles> handles_;
};

}  // namespace litefs::archive
