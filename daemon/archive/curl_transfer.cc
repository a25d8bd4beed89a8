#include "daemon/archive/curl_transfer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <utility>

#include "common/check.h"
#include "common/posix_io.h"

namespace litefs::archive {
namespace {

constexpr uint64_t kMinBytesPerSecond = 64 << 10;
constexpr size_t kMaxIdleHandles = 16;

}  // namespace

CurlHandle::CurlHandle() : curl_(curl_easy_init()) { CHECK(curl_ != nullptr); }

CurlHandle::~CurlHandle() {
  curl_easy_cleanup(curl_);
  for (curl_slist* const list : lists_) curl_slist_free_all(list);
}

void CurlHandle::Reset() {
  curl_easy_reset(curl_);
  for (curl_slist* const list : lists_) curl_slist_free_all(list);
  lists_.clear();
  error_[0] = '\0';
  curl_easy_setopt(curl_, CURLOPT_ERRORBUFFER, error_.data());
}

curl_slist* CurlHandle::List(const std::vector<std::string>& lines) {
  curl_slist* list = nullptr;
  for (const std::string& line : lines) list = curl_slist_append(list, line.c_str());
  lists_.push_back(list);
  return list;
}

std::string CurlHandle::Detail(CURLcode code) const {
  return error_[0] != '\0' ? error_.data() : curl_easy_strerror(code);
}

CurlHandles::CurlHandles() {
  static const CURLcode code = curl_global_init(CURL_GLOBAL_DEFAULT);
  CHECK(code == CURLE_OK);
}

std::unique_ptr<CurlHandle> CurlHandles::Take() {
  const MutexLock lock(mu_);
  if (idle_.empty()) return std::make_unique<CurlHandle>();
  std::unique_ptr<CurlHandle> handle = std::move(idle_.back());
  idle_.pop_back();
  return handle;
}

void CurlHandles::GiveBack(std::unique_ptr<CurlHandle> handle) {
  const MutexLock lock(mu_);
  if (idle_.size() < kMaxIdleHandles) idle_.push_back(std::move(handle));
}

void CurlTransfer::SetUp(CurlHandle* handle) {
  CURL* const curl = handle->curl();
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(timeout_.count()));
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, &CurlTransfer::Progress);
  curl_easy_setopt(curl, CURLOPT_XFERINFODATA, this);
}

void CurlTransfer::SetUpload(CurlHandle* handle, const UploadBody* upload) {
  CURL* const curl = handle->curl();
  upload_ = upload;
  curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
  curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(upload->size));
  curl_easy_setopt(curl, CURLOPT_READFUNCTION, &CurlTransfer::Read);
  curl_easy_setopt(curl, CURLOPT_READDATA, this);
  curl_easy_setopt(curl, CURLOPT_SEEKFUNCTION, &CurlTransfer::Seek);
  curl_easy_setopt(curl, CURLOPT_SEEKDATA, this);
}

size_t CurlTransfer::Store(std::span<const std::byte> part, int fd, uint64_t max_bytes) {
  if (fd >= 0) {
    error_ = WriteAt(fd, part, body_bytes, "the file to download to");
  } else if (body_bytes + part.size() > max_bytes) {
    error_ = absl::DataLossError(fmt::format("the answer is above {} bytes", max_bytes));
  } else {
    body.append(reinterpret_cast<const char*>(part.data()), part.size());
  }
  body_bytes += part.size();
  return error_.ok() ? part.size() : 0;
}

absl::Status CurlTransfer::Failure() const {
  if (stopped_) return absl::CancelledError("stopped");
  if (!error_.ok()) return error_;
  if (!timed_out_) return absl::OkStatus();
  return absl::UnavailableError(
      fmt::format("no complete answer within {} ms and 1 s for each {} KiB", timeout_.count(),
                  kMinBytesPerSecond >> 10));
}

size_t CurlTransfer::Read(char* out, size_t one, size_t count, void* self) {
  CurlTransfer& transfer = *static_cast<CurlTransfer*>(self);
  const UploadBody& body = *transfer.upload_;
  const size_t size = std::min<uint64_t>(one * count, body.size - transfer.sent_);
  if (body.data != nullptr) {
    std::memcpy(out, body.data + transfer.sent_, size);
  } else {
    transfer.error_ = ReadExactAt(body.fd, {reinterpret_cast<std::byte*>(out), size},
                                  body.offset + transfer.sent_, "the file to upload");
    if (!transfer.error_.ok()) return CURL_READFUNC_ABORT;
  }
  transfer.sent_ += size;
  return size;
}

int CurlTransfer::Seek(void* self, curl_off_t offset, int origin) {
  CurlTransfer& transfer = *static_cast<CurlTransfer*>(self);
  if (origin != SEEK_SET || offset < 0 || static_cast<uint64_t>(offset) > transfer.upload_->size) {
    return CURL_SEEKFUNC_FAIL;
  }
  transfer.sent_ = static_cast<uint64_t>(offset);
  return CURL_SEEKFUNC_OK;
}

int CurlTransfer::Progress(void* self, curl_off_t, curl_off_t down, curl_off_t, curl_off_t up) {
  CurlTransfer& transfer = *static_cast<CurlTransfer*>(self);
  const uint64_t moved = static_cast<uint64_t>(down + up);
  const auto deadline = transfer.start_ + transfer.timeout_ +
                        std::chrono::milliseconds(moved * 1000 / kMinBytesPerSecond);
  transfer.timed_out_ = std::chrono::steady_clock::now() > deadline;
  return transfer.stopped_ || transfer.timed_out_ ? 1 : 0;
}

}  // namespace litefs::archive
