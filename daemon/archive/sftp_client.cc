// libcurl accepts any server's key as long as it is told of no known ones, so SetUp always names
// the file; libcurl then refuses what is not in it.

#include "daemon/archive/sftp_client.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <span>
#include <utility>

#include "daemon/archive/curl_transfer.h"
#include "daemon/archive/http_client.h"

namespace litefs::archive {
namespace {

constexpr long kFileMode = 0640;
constexpr long kDirectoryMode = 0750;

}  // namespace

// One request on its way.
struct SftpClient::Transfer : CurlTransfer {
  Transfer(const SftpRequest& the_request, const std::atomic<bool>* stopped,
           std::chrono::milliseconds timeout)
      : CurlTransfer(stopped, timeout), request(the_request) {}

  const SftpRequest& request;

  static size_t Write(char* data, size_t one, size_t count, void* self) {
    Transfer& transfer = *static_cast<Transfer*>(self);
    return transfer.Store({reinterpret_cast<const std::byte*>(data), one * count},
                          transfer.request.response_fd, transfer.request.max_response_bytes);
  }
};

SftpClient::SftpClient(Options options)
    : options_(std::move(options)), handles_(std::make_unique<CurlHandles>()) {}

SftpClient::~SftpClient() = default;

std::string SftpClient::Quote(std::string_view path) {
  std::string out = "\"";
  for (const char c : path) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

void SftpClient::SetUp(CurlHandle* handle, Transfer* transfer) {
  CURL* const curl = handle->curl();
  const SftpRequest& request = transfer->request;
  handle->Reset();
  transfer->SetUp(handle);
  const std::string url =
      fmt::format("sftp://{}{}", options_.host,
                  PercentEncode(request.path.empty() ? "/" : request.path, /*keep_slashes=*/true));
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "sftp");
  curl_easy_setopt(curl, CURLOPT_USERNAME, options_.user.c_str());
  curl_easy_setopt(curl, CURLOPT_SSH_AUTH_TYPES, long{CURLSSH_AUTH_PUBLICKEY});
  curl_easy_setopt(curl, CURLOPT_SSH_PRIVATE_KEYFILE, options_.key_file.c_str());
  curl_easy_setopt(curl, CURLOPT_SSH_KNOWNHOSTS, options_.known_hosts_file.c_str());
  curl_easy_setopt(curl, CURLOPT_QUOTE, handle->List(request.before));
  curl_easy_setopt(curl, CURLOPT_POSTQUOTE, handle->List(request.after));
  curl_easy_setopt(curl, CURLOPT_NOBODY, request.path.empty() ? 1L : 0L);
  if (request.upload != nullptr) {
    transfer->SetUpload(handle, request.upload);
    curl_easy_setopt(curl, CURLOPT_UPLOAD_BUFFERSIZE, 512L << 10);
    curl_easy_setopt(curl, CURLOPT_FTP_CREATE_MISSING_DIRS, 1L);
    curl_easy_setopt(curl, CURLOPT_NEW_FILE_PERMS, kFileMode);
    curl_easy_setopt(curl, CURLOPT_NEW_DIRECTORY_PERMS, kDirectoryMode);
  }
  if (!request.range.empty()) curl_easy_setopt(curl, CURLOPT_RANGE, request.range.c_str());
  curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, 512L << 10);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, &Transfer::Write);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, transfer);
}

absl::StatusOr<SftpResponse> SftpClient::Perform(const SftpRequest& request) {
  absl::StatusOr<SftpResponse> response = PerformOnce(request);
  // When a connection breaks, libcurl reports what went wrong on it before.  So what is not found
  // is asked for again: on the same connection if it lives, or else on a new one, which has no
  // past.
  if (absl::IsNotFound(response.status())) response = PerformOnce(request);
  return response;
}

absl::StatusOr<SftpResponse> SftpClient::PerformOnce(const SftpRequest& request) {
  if (stopped_) return absl::CancelledError("stopped");
  std::unique_ptr<CurlHandle> handle = handles_->Take();
  Transfer transfer(request, &stopped_, options_.timeout);
  SetUp(handle.get(), &transfer);
  const CURLcode code = curl_easy_perform(handle->curl());
  absl::Status status;
  if (code != CURLE_OK) status = transfer.Failure();
  if (code != CURLE_OK && status.ok()) status = Failure(code, handle->Detail(code));
  // After a server's refusal the connection is as good as before.
  if (!absl::IsUnavailable(status)) handles_->GiveBack(std::move(handle));
  if (!status.ok()) return status;
  return SftpResponse{.body = std::move(transfer.body), .body_bytes = transfer.body_bytes};
}

absl::Status SftpClient::Failure(int code, const std::string& text) const {
  switch (code) {
    case CURLE_REMOTE_FILE_NOT_FOUND:
      return absl::NotFoundError(text);
    case CURLE_BAD_DOWNLOAD_RESUME:
    case CURLE_RANGE_ERROR:
      return absl::OutOfRangeError(text);
    case CURLE_QUOTE_ERROR:
      return absl::AbortedError(text);
    case CURLE_LOGIN_DENIED:  // also if the connection breaks at that moment
      return absl::UnavailableError(fmt::format("{} is not let in with the key {}: {}",
                                                options_.user, options_.key_file, text));
    case CURLE_REMOTE_ACCESS_DENIED:
      return absl::PermissionDeniedError(text);
    case CURLE_PEER_FAILED_VERIFICATION:
      return absl::FailedPreconditionError(
          fmt::format("the server is not trusted: its host key is not the one of {} ({})",
                      options_.known_hosts_file, text));
    case CURLE_REMOTE_DISK_FULL:
      return absl::ResourceExhaustedError(text);
    default:
      return absl::UnavailableError(text);
  }
}

}  // namespace litefs::archive
