#include "daemon/lease/http_client.h"

#include <curl/curl.h>
#include <fmt/format.h>
#include <strings.h>

#include <algorithm>
#include <memory>
#include <mutex>

#include "common/check.h"
#include "common/status_macros.h"

namespace litefs::lease {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

struct Receiver {
  const HttpRequest* request = nullptr;
  HttpResponse response;
  bool enough = false;
  bool too_long = false;
};

size_t OnBody(char* data, size_t size, size_t n, void* argument) {
  auto* const receiver = static_cast<Receiver*>(argument);
  if (receiver->response.body.size() + size * n > kMaxResponseBytes) {
    receiver->too_long = true;
    return 0;
  }
  receiver->response.body.append(data, size * n);
  if (receiver->request->on_body && !receiver->request->on_body(receiver->response.body)) {
    receiver->enough = true;
    return 0;  // ends the transfer
  }
  return size * n;
}

size_t OnHeader(char* data, size_t size, size_t n, void* argument) {
  constexpr std::string_view kIndex = "X-Consul-Index:";
  const std::string_view line(data, size * n);
  if (line.size() > kIndex.size() && ::strncasecmp(data, kIndex.data(), kIndex.size()) == 0) {
    std::string value(line.substr(kIndex.size()));
    std::erase_if(value, [](char c) { return c < '0' || c > '9'; });
    static_cast<Receiver*>(argument)->response.index = value;
  }
  return size * n;
}

struct EasyDeleter {
  void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
};
struct ListDeleter {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

}  // namespace

HttpClient::HttpClient()
    : multi_([] {
        static std::once_flag once;
        std::call_once(once, [] { CHECK(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK); });
        return curl_multi_init();
      }()) {
  CHECK(multi_ != nullptr);
}

HttpClient::~HttpClient() { curl_multi_cleanup(multi_); }

void HttpClient::Interrupt() {
  interrupted_ = true;
  curl_multi_wakeup(multi_);
}

// Runs the transfer to its end, CURLE_OK or CURLE_WRITE_ERROR (the receiver has had enough).
absl::Status HttpClient::Transfer(void* easy, steady_clock::time_point deadline) {
  while (true) {
    if (interrupted_) return absl::CancelledError("interrupted");
    int running = 0;
    if (const CURLMcode code = curl_multi_perform(multi_, &running); code != CURLM_OK) {
      return absl::InternalError(curl_multi_strerror(code));
    }
    int left = 0;
    while (const CURLMsg* message = curl_multi_info_read(multi_, &left)) {
      if (message->msg != CURLMSG_DONE || message->easy_handle != easy) continue;
      const CURLcode result = message->data.result;
      if (result == CURLE_OK || result == CURLE_WRITE_ERROR) return absl::OkStatus();
      return absl::UnavailableError(curl_easy_strerror(result));
    }
    const auto wait = std::chrono::ceil<milliseconds>(deadline - steady_clock::now());
    if (wait <= milliseconds(0)) return absl::UnavailableError("no answer in time");
    curl_multi_poll(multi_, nullptr, 0, static_cast<int>(std::min<int64_t>(wait.count(), 60'000)),
                    nullptr);
  }
}

absl::StatusOr<HttpResponse> HttpClient::Send(const HttpRequest& request, milliseconds timeout) {
  const auto deadline = steady_clock::now() + timeout;
  const std::unique_ptr<CURL, EasyDeleter> easy(curl_easy_init());
  CHECK(easy != nullptr);
  std::unique_ptr<curl_slist, ListDeleter> headers(curl_slist_append(nullptr, "Expect:"));
  for (const std::string& header : request.headers) {
    CHECK(curl_slist_append(headers.get(), header.c_str()) != nullptr);
  }
  Receiver receiver;
  receiver.request = &request;
  curl_easy_setopt(easy.get(), CURLOPT_URL, request.url.c_str());
  curl_easy_setopt(easy.get(), CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy.get(), CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy.get(), CURLOPT_NOPROXY, "*");
  curl_easy_setopt(easy.get(), CURLOPT_TCP_KEEPALIVE, 1L);
  curl_easy_setopt(easy.get(), CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(easy.get(), CURLOPT_CUSTOMREQUEST, request.method.c_str());
  if (request.method != "GET") {
    curl_easy_setopt(easy.get(), CURLOPT_POSTFIELDSIZE, static_cast<long>(request.body.size()));
    curl_easy_setopt(easy.get(), CURLOPT_POSTFIELDS, request.body.c_str());
  }
  curl_easy_setopt(easy.get(), CURLOPT_WRITEFUNCTION, &OnBody);
  curl_easy_setopt(easy.get(), CURLOPT_WRITEDATA, &receiver);
  curl_easy_setopt(easy.get(), CURLOPT_HEADERFUNCTION, &OnHeader);
  curl_easy_setopt(easy.get(), CURLOPT_HEADERDATA, &receiver);
  curl_multi_add_handle(multi_, easy.get());
  const absl::Status status = Transfer(easy.get(), deadline);
  curl_easy_getinfo(easy.get(), CURLINFO_RESPONSE_CODE, &receiver.response.status);
  curl_multi_remove_handle(multi_, easy.get());
  if (!status.ok()) {
    return absl::Status(status.code(),
                        fmt::format("{}: {}", request.url, std::string(status.message())));
  }
  if (receiver.too_long) {
    return absl::DataLossError(
        fmt::format("{}: the answer is longer than {} bytes", request.url, kMaxResponseBytes));
  }
  return std::move(receiver.response);
}

}  // namespace litefs::lease
