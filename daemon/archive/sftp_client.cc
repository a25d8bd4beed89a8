// libcurl accepts any server's key as long as it is told of no known ones, so SetUp always names
// the file; libcurl then refuses what is not in it.

#include "daemon/archive/sftp_client.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <utility>

#include "common/check.h"
#include "common/posix_io.h"

namespace litefs::archive {
namespace {

constexpr uint64_t kMinBytesPerSecond = 64 << 10;
constexpr size_t kMaxIdleHandles = 16;
constexpr long kFileMode = 0640;
constexpr long kDirectoryMode = 0750;

using Time = std::chrono::steady_clock::time_point;

void InitializeOnce() {
  static const CURLcode code = curl_global_init(CURL_GLOBAL_DEFAULT);
  CHECK(code == CURLE_OK);
}

curl_slist* MakeList(const std::vector<std::string>& lines) {
  curl_slist* list = nullptr;
  for (const std::string& line : lines) list = curl_slist_append(list, line.c_str());
  return list;
}

}  // namespace

struct SftpClient::Handle {
  Handle() : curl(curl_easy_init()) { CHECK(curl != nullptr); }
  ~Handle() {
    curl_easy_cleanup(curl);
    curl_slist_free_all(before);
    curl_slist_free_all(after);
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;

  CURL* const curl;
  curl_slist* before = nullptr;
  curl_slist* after = nullptr;
  std::array<char, CURL_ERROR_SIZE> error{};
};

// One request on its way.  The static functions are libcurl's callbacks.
struct SftpClient::Transfer {
  const SftpRequest& request;
  const std::atomic<bool>& stopped;
  const std::chrono::milliseconds timeout;
  const Time start = std::chrono::steady_clock::now();
  SftpResponse response = {};
  uint64_t sent = 0;
  bool timed_out = false;
  absl::Status error = absl::OkStatus();  // of a callback

  static size_t Read(char* out, size_t one, size_t count, void* self) {
    Transfer& transfer = *static_cast<Transfer*>(self);
    const HttpBody& body = *transfer.request.upload;
    const size_t size = std::min<uint64_t>(one * count, body.size - transfer.sent);
    if (body.data != nullptr) {
      std::memcpy(out, body.data + transfer.sent, size);
    } else {
      transfer.error = ReadExactAt(body.fd, {reinterpret_cast<std::byte*>(out), size},
                                   body.offset + transfer.sent, "the file to upload");
      if (!transfer.error.ok()) return CURL_READFUNC_ABORT;
    }
    transfer.sent += size;
    return size;
  }

  static size_t Write(char* data, size_t one, size_t count, void* self) {
    Transfer& transfer = *static_cast<Transfer*>(self);
    const std::span<const std::byte> part(reinterpret_cast<const std::byte*>(data), one * count);
    SftpResponse& response = transfer.response;
    if (transfer.request.response_fd >= 0) {
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
};

SftpClient::SftpClient(Options options) : options_(std::move(options)) { InitializeOnce(); }

SftpClient::~SftpClient() = default;

std::string SftpClient::Quote(std::string_view path) {
  std::string out = "\"";
  for (const char c : path) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

std::unique_ptr<SftpClient::Handle> SftpClient::TakeHandle() {
  const MutexLock lock(mu_);
  if (idle_.empty()) return std::make_unique<Handle>();
  std::unique_ptr<Handle> handle = std::move(idle_.back());
  idle_.pop_back();
  return handle;
}

void SftpClient::GiveBack(std::unique_ptr<Handle> handle) {
  const MutexLock lock(mu_);
  if (idle_.size() < kMaxIdleHandles) idle_.push_back(std::move(handle));
}

void SftpClient::SetUp(Handle& handle, Transfer& transfer) {
  CURL* const curl = handle.curl;
  const SftpRequest& request = transfer.request;
  curl_easy_reset(curl);
  curl_slist_free_all(std::exchange(handle.before, MakeList(request.before)));
  curl_slist_free_all(std::exchange(handle.after, MakeList(request.after)));
  handle.error[0] = '\0';
  const std::string url =
      fmt::format("sftp://{}{}", options_.host,
                  PercentEncode(request.path.empty() ? "/" : request.path, /*keep_slashes=*/true));
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, handle.error.data());
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "sftp");
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(options_.timeout.count()));
  curl_easy_setopt(curl, CURLOPT_USERNAME, options_.user.c_str());
  curl_easy_setopt(curl, CURLOPT_SSH_AUTH_TYPES, long{CURLSSH_AUTH_PUBLICKEY});
  curl_easy_setopt(curl, CURLOPT_SSH_PRIVATE_KEYFILE, options_.key_file.c_str());
  curl_easy_setopt(curl, CURLOPT_SSH_KNOWNHOSTS, options_.known_hosts_file.c_str());
  curl_easy_setopt(curl, CURLOPT_QUOTE, handle.before);
  curl_easy_setopt(curl, CURLOPT_POSTQUOTE, handle.after);
  curl_easy_setopt(curl, CURLOPT_NOBODY, request.path.empty() ? 1L : 0L);
  if (request.upload != nullptr) {
    curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(request.upload->size));
    curl_easy_setopt(curl, CURLOPT_READFUNCTION, &Transfer::Read);
    curl_easy_setopt(curl, CURLOPT_READDATA, &transfer);
    curl_easy_setopt(curl, CURLOPT_UPLOAD_BUFFERSIZE, 512L << 10);
    curl_easy_setopt(curl, CURLOPT_FTP_CREATE_MISSING_DIRS, 1L);
    curl_easy_setopt(curl, CURLOPT_NEW_FILE_PERMS, kFileMode);
    curl_easy_setopt(curl, CURLOPT_NEW_DIRECTORY_PERMS, kDirectoryMode);
  }
  if (!request.range.empty()) curl_easy_setopt(curl, CURLOPT_RANGE, request.range.c_str());
  curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, 512L << 10);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, &Transfer::Write);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &transfer);
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, &Transfer::Progress);
  curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &transfer);
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
  std::unique_ptr<Handle> handle = TakeHandle();
  Transfer transfer{.request = request, .stopped = stopped_, .timeout = options_.timeout};
  SetUp(*handle, transfer);
  const CURLcode code = curl_easy_perform(handle->curl);
  const absl::Status status =
      code == CURLE_OK ? absl::OkStatus() : Failure(code, handle->error.data(), transfer);
  // After a server's refusal the connection is as good as before.
  if (!absl::IsUnavailable(status)) GiveBack(std::move(handle));
  if (!status.ok()) return status;
  return std::move(transfer.response);
}

absl::Status SftpClient::Failure(int code, std::string_view detail,
                                 const Transfer& transfer) const {
  if (stopped_) return absl::CancelledError("stopped");
  if (!transfer.error.ok()) return transfer.error;
  if (transfer.timed_out) {
    return absl::UnavailableError(
        fmt::format("no complete answer within {} ms and 1 s for each {} KiB",
                    options_.timeout.count(), kMinBytesPerSecond >> 10));
  }
  const std::string text(detail.empty() ? curl_easy_strerror(static_cast<CURLcode>(code)) : detail);
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
