#include "daemon/archive/http_client.h"

#include <curl/curl.h>
#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>
#include <utility>

#include "common/check.h"
#include "common/status_macros.h"
#include "daemon/archive/curl_transfer.h"

namespace litefs::archive {
namespace {

constexpr size_t kMaxHeaderBytes = 64 << 10;

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

absl::Status Failure(CURLcode code, const std::string& text) {
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

}  // namespace

// One request on its way.  The static functions are libcurl's callbacks.
struct HttpClient::Transfer : CurlTransfer {
  Transfer(const HttpRequest& the_request, const std::atomic<bool>* stopped,
           std::chrono::milliseconds timeout)
      : CurlTransfer(stopped, timeout), request(the_request), digest(EVP_MD_CTX_new()) {
    CHECK(digest && EVP_DigestInit_ex(digest.get(), EVP_sha256(), nullptr) == 1);
  }

  const HttpRequest& request;
  HttpResponse response;
  size_t header_bytes = 0;
  const std::unique_ptr<EVP_MD_CTX, FreeDigest> digest;

  static size_t Header(char* data, size_t one, size_t count, void* self) {
    Transfer& transfer = *static_cast<Transfer*>(self);
    const std::string_view line(data, one * count);
    transfer.header_bytes += line.size();
    if (transfer.header_bytes > kMaxHeaderBytes) {
      transfer.Fail(absl::DataLossError("the answer's headers are too long"));
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
    CHECK(EVP_DigestUpdate(transfer.digest.get(), part.data(), part.size()) == 1);
    const bool to_file = transfer.response.status / 100 == 2;
    return transfer.Store(part, to_file ? transfer.request.response_fd : -1,
                          transfer.request.max_response_bytes);
  }

  HttpResponse TakeResponse() {
    std::array<uint8_t, 32> hash;
    CHECK(EVP_DigestFinal_ex(digest.get(), hash.data(), nullptr) == 1);
    for (const uint8_t byte : hash) response.body_sha256 += fmt::format("{:02x}", byte);
    response.body = std::move(body);
    response.body_bytes = body_bytes;
    return std::move(response);
  }
};

const std::string& HttpResponse::Header(const std::string& name) const {
  static const std::string empty;
  const auto found = headers.find(name);
  return found == headers.end() ? empty : found->second;
}

HttpClient::HttpClient(Options options)
    : options_(std::move(options)), handles_(std::make_unique<CurlHandles>()) {}

HttpClient::~HttpClient() = default;

void HttpClient::SetUp(CurlHandle* handle, Transfer* transfer) {
  CURL* const curl = handle->curl();
  const HttpRequest& request = transfer->request;
  handle->Reset();
  transfer->SetUp(handle);
  curl_easy_setopt(curl, CURLOPT_URL, request.url.c_str());
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, long{CURL_HTTP_VERSION_1_1});
  curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
  // Some servers never say "100 Continue".  (Without the header that asks for it, libcurl 7.88
  // signs wrongly.)
  curl_easy_setopt(curl, CURLOPT_EXPECT_100_TIMEOUT_MS, 50L);
  curl_easy_setopt(curl, CURLOPT_USERAGENT, "litefs");
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, handle->List(request.headers));
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
  if (request.body != nullptr) transfer->SetUpload(handle, request.body);
  curl_easy_setopt(curl, CURLOPT_NOBODY, request.method == "HEAD" ? 1L : 0L);
  curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request.method.c_str());
  if (!request.range.empty()) curl_easy_setopt(curl, CURLOPT_RANGE, request.range.c_str());
  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, &Transfer::Header);
  curl_easy_setopt(curl, CURLOPT_HEADERDATA, transfer);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, &Transfer::Write);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, transfer);
}

absl::StatusOr<HttpResponse> HttpClient::Perform(const HttpRequest& request) {
  if (stopped_) return absl::CancelledError("stopped");
  std::unique_ptr<CurlHandle> handle = handles_->Take();
  Transfer transfer(request, &stopped_, options_.timeout);
  SetUp(handle.get(), &transfer);
  const CURLcode code = curl_easy_perform(handle->curl());
  if (code != CURLE_OK) {
    RETURN_IF_ERROR(transfer.Failure());
    return Failure(code, handle->Detail(code));
  }
  handles_->GiveBack(std::move(handle));
  return transfer.TakeResponse();
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
