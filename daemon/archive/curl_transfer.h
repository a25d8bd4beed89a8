// What exchanges by libcurl have in common, whatever the protocol.
//
// CurlHandle: an easy handle, which keeps its connection, and what must live as long as its
// options.  CurlHandles: those that are idle.
// CurlTransfer: one exchange on its way: bytes out of memory or a file, bytes into memory or a
// file, the deadline and Stop, which are looked at in libcurl's progress callback, at least once a
// second.
//
// Only for the clients' sources: others need no curl.h.

#pragma once

#include <curl/curl.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/mutex.h"
#include "daemon/archive/upload_body.h"

namespace litefs::archive {

class CurlHandle {
 public:
  CurlHandle();
  ~CurlHandle();
  CurlHandle(const CurlHandle&) = delete;
  CurlHandle& operator=(const CurlHandle&) = delete;

  // Takes back all options; the connection stays.
  void Reset();
  // The lines as libcurl wants them, until Reset.
  curl_slist* List(const std::vector<std::string>& lines);
  // What the last exchange has said, or the text of code.
  std::string Detail(CURLcode code) const;

  CURL* curl() { return curl_; }

 private:
  CURL* const curl_;
  std::vector<curl_slist*> lists_;
  std::array<char, CURL_ERROR_SIZE> error_{};
};

// Any thread.
class CurlHandles {
 public:
  CurlHandles();
  std::unique_ptr<CurlHandle> Take() EXCLUDES(mu_);
  void GiveBack(std::unique_ptr<CurlHandle> handle) EXCLUDES(mu_);

 private:
  Mutex mu_;
  std::vector<std::unique_ptr<CurlHandle>> idle_ GUARDED_BY(mu_);
};

class CurlTransfer {
 public:
  // stopped must outlive the transfer.  timeout: and 1 s more for every 64 KiB moved.
  CurlTransfer(const std::atomic<bool>* stopped, std::chrono::milliseconds timeout)
      : stopped_(*stopped), timeout_(timeout) {}
  CurlTransfer(const CurlTransfer&) = delete;
  CurlTransfer& operator=(const CurlTransfer&) = delete;

  // Sets the options that are the same for all; a client adds its own, and its write callback.
  void SetUp(CurlHandle* handle);
  void SetUpload(CurlHandle* handle, const UploadBody* upload);
  // Stores what has come: in fd from its offset 0 on, or (fd < 0) in memory, at most max_bytes.
  // Returns what a write callback does.
  size_t Store(std::span<const std::byte> part, int fd, uint64_t max_bytes);
  // Ends the exchange, from a callback.
  void Fail(const absl::Status& error) { error_ = error; }
  // After it has failed: kCancelled, a callback's error, or that it took too long; OK: the
  // protocol's failure.
  absl::Status Failure() const;

  std::string body;         // what has come, in memory
  uint64_t body_bytes = 0;  // in memory or in fd

 private:
  static size_t Read(char* out, size_t one, size_t count, void* self);
  static int Seek(void* self, curl_off_t offset, int origin);
  static int Progress(void* self, curl_off_t, curl_off_t down, curl_off_t, curl_off_t up);

  const std::atomic<bool>& stopped_;
  const std::chrono::milliseconds timeout_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  const UploadBody* upload_ = nullptr;
  uint64_t sent_ = 0;
  bool timed_out_ = false;
  absl::Status error_;
};

}  // namespace litefs::archive
