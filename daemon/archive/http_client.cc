// One easy handle a request in progress; idle ones keep their connection.  The
// deadline and Stop are looked at in libcurl's progress callback, which it
// calls at least once a second.

#include "daemon/archive/http_client.h"

#include <curl/curl.h>
#include <fmt/format.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>

#include "common/check.h"
#include "common/posix_io.h"

namespace litefs::archive {
namespace {

constexpr uint64_t kMinBytesPerSecond = 64 << 10;
constexpr size_t kMaxIdleHandles = 16;
constexpr size_t kMaxHeaderBytes = 64 << 10;

using Time = std::chrono::steady_clock::time_point;

void InitializeOnce() {
  static const CURLcode code = curl_global_init(CURL_GLOBAL_DEFAULT);
  CHECK(code == CURLE_OK);
}

struct FreeDigest {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};

std::string Lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

std::string_view Trim(std::string_view text) {
  const size_t start = std::min(text.find_first_not_of(" \t\r\n"), text.size());
  text.remove_prefix(start);
  return text.substr(0, text.find_last_not_of(" \t\r\n") + 1);
}

}  // namespace

struct HttpClient::Handle {
  Handle() : curl(curl_easy_init()) { CHECK(curl != nullptr); }
  ~Handle() {
    curl_easy_cleanup(curl);
    curl_slist_free_all(headers);
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;

  CURL* const curl;
  curl_slist* headers = nullptr;
  std::array<char, CURL_ERROR_SIZE> error{};
};

// One request on its way.  The static functions are libcurl's callbacks.
struct HttpClient::Transfer {
  const HttpRequest& request;
  const std::atomic<bool>& stopped;
  const std::chrono::milliseconds timeout;
  const Time start = std::chrono::steady_clock::now();
  HttpResponse response = {};
  uint64_t sent = 0;
  size_t header_bytes = 0;
  bool timed_out = false;
  absl::Status error = absl::OkStatus();  // of a callback
  std::unique_ptr<EVP_MD_CTX, FreeDigest> digest{EVP_MD_CTX_new()};

  void BeginBody() { CHECK(digest && EVP_DigestInit_ex(digest.get(), EVP_sha256(), nullptr) == 1); }

  static size_t Read(char* out, size_t one, size_t count, void* self) {
    Transfer& transfer = *static_cast<Transfer*>(self);
    const HttpBody& body = *transfer.request.body;
    const size_t size = std::min<uint64_t>(one * count, body.size - transfer.sent);
    if (body.data != nullptr) {
      std::memcpy(out, body.data + transfer.sent, size);
    } else if (const absl::Status status =
                   ReadExactAt(body.fd, {reinterpret_cast<std::byte*>(out), size},
                               body.offset + transfer.sent, "the file to upload");
               !status.ok()) {
      transfer.error = status;
      return CURL_READFUNC_ABORT;
    }
    transfer.sent += size;
    return size;
  }

  static int Seek(void* self, curl_off_t offset, int origin) {
    Transfer& transfer = *static_cast<Transfer*>(self);
    if (origin != SEEK_SET || offset < 0 ||
        static_cast<uint64_t>(offset) > transfer.request.body->size) {
      return CURL_SEEKFUNC_FAIL;
    }
    transfer.sent = static_cast<uint64_t>(offset);
    return CURL_SEEKFUNC_OK;
  }

  static size_t Header(char* data, size_t one, size_t count, void* self) {
    Transfer& transfer = *static_cast<Transfer*>(self);
    const std::string_view line(data, one * count);
    transfer.header_bytes += line.size();
    if (transfer.header_bytes > kMaxHeaderBytes) {
      transfer.error = absl::DataLossError("the answer's headers are too long");
      return 0;
    }
    if (line.starts_with("HTTP/")) {  // also after a "100 Continue"
      transfer.response.headers.clear();
      const size_t blank = std::min(line.find(' '), line.size() - 1);
      transfer.response.status = std::atoi(std::string(line.substr(blank + 1, 3)).c_str());
    }
    const size_t colon = line.find(':');
    if (colon != std::string_view::npos) {
      transfer.response.headers[Lower(line.substr(0, colon))] = Trim(line.substr(colon + 1));
    }
    return line.size();
  }

  static size_t Write(char* data, size_t one, size_t count, void* self) {
    Transfer& transfer = *static_cast<Transfer*>(self);
    const std::span<const std::byte> part(reinterpret_cast<const std::byte*>(data), one * count);
    HttpResponse& response = transfer.response;
    CHECK(EVP_DigestUpdate(transfer.digest.get(), part.data(), part.size()) == 1);
    if (transfer.request.response_fd >= 0 && response.status / 100 == 2) {
      transfer.error = WriteAt(transfer.request.response_fd, part, response.body_bytes,
                               "the file to download to");
    } else if (response.body_bytes + part.size() > transfer.request.max_response_bytes) {
      transfer.error = absl::DataLossError(
          fmt::format("the answer is above {} bytes", transfer.request.max_response_bytes));
    } else {
      response.body.append(data, part.size());
    }
    response.body_bytes += part.size();
    return transfer.error.ok() ? part.size() : 0;
  }

  static int Progress(void* self, curl_off_t, curl_off_t down, curl_off_t, curl_off_t up) {
    Transfer& transfer = *static_cast<Transfer*>(self);
    const uint64_t moved = static_cast<uint64_t>(down + up);
    const Time deadline = transfer.start + transfer.timeout +
                          std::chrono::milliseconds(moved * 1000 / kMinBytesPerSecond);
    transfer.timed_out = std::chrono::steady_clock::now() > deadline;
    return transfer.stopped || transfer.timed_out ? 1 : 0;
  }

  void EndBody() {
    std::array<uint8_t, 32> hash;
    CHECK(EVP_DigestFinal_ex(digest.get(), hash.data(), nullptr) == 1);
    for (const uint8_t byte : hash) response.body_sha256 += fmt::format("{:02x}", byte);
  }
};

const std::string& HttpResponse::Header(const std::string& name) const {
  static const std::string empty;
  const auto found = headers.find(name);
  return found == headers.end() ? empty : found->second;
}

HttpClient::HttpClient(Options options) : options_(std::move(options)) { InitializeOnce(); }

HttpClient::~HttpClient() = default;

std::unique_ptr<HttpClient::Handle> HttpClient::TakeHandle() {
  const MutexLock lock(mu_);
  if (idle_.empty()) return std::make_unique<Handle>();
  std::unique_ptr<Handle> handle = std::move(idle_.back());
  idle_.pop_back();
  return handle;
}

void HttpClient::GiveBack(std::unique_ptr<Handle> handle) {
  const MutexLock lock(mu_);
  if (idle_.size() < kMaxIdleHandles) idle_.push_back(std::move(handle));
}

void HttpClient::SetUp(Handle& handle, Transfer& transfer) {
  CURL* const curl = handle.curl;
  const HttpRequest& request = transfer.request;
  curl_easy_reset(curl);
  curl_slist_free_all(std::exchange(handle.headers, nullptr));
  for (const std::string& header : request.headers) {
    handle.headers = curl_slist_append(handle.headers, header.c_str());
  }
  handle.error[0] = '\0';
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, handle.error.data());
  curl_easy_setopt(curl, CURLOPT_URL, request.url.c_str());
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, long{CURL_HTTP_VERSION_1_1});
  curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  // Some servers never say "100 Continue".  (Without the header that asks for it, libcurl 7.88
  // signs wrongly.)
  curl_easy_setopt(curl, CURLOPT_EXPECT_100_TIMEOUT_MS, 50L);
  curl_easy_setopt(curl, CURLOPT_USERAGENT, "litefs");
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, handle.headers);
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(options_.timeout.count()));
  if (request.timeout.count() != 0) {  // to the millisecond, which the progress callback is not
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, static_cast<long>(request.timeout.count()));
  }
  if (!options_.ca_file.empty()) {
    curl_easy_setopt(curl, CURLOPT_CAINFO, options_.ca_file.c_str());
  }
  if (!options_.signing_scope.empty()) {
    curl_easy_setopt(curl, CURLOPT_AWS_SIGV4, options_.signing_scope.c_str());
    curl_easy_setopt(curl, CURLOPT_USERNAME, options_.user.c_str());
    curl_easy_setopt(curl, CURLOPT_PASSWORD, options_.password.c_str());
  }
  if (request.body != nullptr) {
    curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(request.body->size));
    curl_easy_setopt(curl, CURLOPT_READFUNCTION, &Transfer::Read);
    curl_easy_setopt(curl, CURLOPT_READDATA, &transfer);
    curl_easy_setopt(curl, CURLOPT_SEEKFUNCTION, &Transfer::Seek);
    curl_easy_setopt(curl, CURLOPT_SEEKDATA, &transfer);
  }
  curl_easy_setopt(curl, CURLOPT_NOBODY, request.method == "HEAD" ? 1L : 0L);
  curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request.method.c_str());
  if (!request.range.empty()) curl_easy_setopt(curl, CURLOPT_RANGE, request.range.c_str());
  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, &Transfer::Header);
  curl_easy_setopt(curl, CURLOPT_HEADERDATA, &transfer);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, &Transfer::Write);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &transfer);
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, &Transfer::Progress);
  curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &transfer);
}

absl::StatusOr<HttpResponse> HttpClient::Perform(const HttpRequest& request) {
  if (stopped_) return absl::CancelledError("stopped");
  std::unique_ptr<Handle> handle = TakeHandle();
  Transfer transfer{.request = request, .stopped = stopped_, .timeout = options_.timeout};
  transfer.BeginBody();
  SetUp(*handle, transfer);
  const CURLcode code = curl_easy_perform(handle->curl);
  if (code != CURLE_OK) return Failure(code, handle->error.data(), transfer);
  transfer.EndBody();
  GiveBack(std::move(handle));
  return std::move(transfer.response);
}

absl::Status HttpClient::Failure(int code, const char* detail, const Transfer& transfer) const {
  if (stopped_) return absl::CancelledError("stopped");
  if (!transfer.error.ok()) return transfer.error;
  if (transfer.timed_out) {
    return absl::UnavailableError(
        fmt::format("no complete answer within {} ms and 1 s for each {} KiB",
                    options_.timeout.count(), kMinBytesPerSecond >> 10));
  }
  const std::string text =
      *detail != '\0' ? detail : curl_easy_strerror(static_cast<CURLcode>(code));
  switch (code) {
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
      return absl::FailedPreconditionError(fmt::format("the server is not trusted: {}", text));
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
      return absl::InvalidArgumentError(text);
    default:
      return absl::UnavailableError(text);
  }
}

std::string PercentEncode(std::string_view text, bool keep_slashes) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = (byte < 0x80 && std::isalnum(byte) != 0) || c == '-' || c == '.' ||
                       c == '_' || c == '~' || (c == '/' && keep_slashes);
    if (plain) {
      out += c;
    } else {
      out += {'%', kDigits[byte >> 4], kDigits[byte & 15]};
    }
  }
  return out;
}

}  // namespace litefs::archive
