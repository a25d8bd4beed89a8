#include "ltx/byte_stream.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "common/posix_io.h"
#include "common/status_macros.h"

namespace litefs::ltx {
namespace {

constexpr size_t kBufferBytes = 256 << 10;

absl::Status PastEnd(uint64_t offset, size_t n, uint64_t size) {
  return absl::OutOfRangeError(
      fmt::format("read of {} bytes at offset {}: only {} there", n, offset, size));
}

bool IsInside(uint64_t offset, size_t n, uint64_t size) {
  return offset <= size && n <= size - offset;
}

}  // namespace

absl::Status StringSink::Append(std::span<const std::byte> data) {
  out_->append(reinterpret_cast<const char*>(data.data()), data.size());
  return absl::OkStatus();
}

absl::Status SpanSource::ReadAt(std::span<std::byte> out, uint64_t offset) {
  if (!IsInside(offset, out.size(), data_.size())) {
    return PastEnd(offset, out.size(), data_.size());
  }
  if (!out.empty()) std::memcpy(out.data(), data_.data() + offset, out.size());
  return absl::OkStatus();
}

FdSink::FdSink(int fd, std::string name) : fd_(fd), name_(std::move(name)) {
  buffer_.reserve(kBufferBytes);
}

absl::Status FdSink::Append(std::span<const std::byte> data) {
  while (!data.empty()) {
    const size_t n = std::min(data.size(), kBufferBytes - buffer_.size());
    buffer_.append(reinterpret_cast<const char*>(data.data()), n);
    data = data.subspan(n);
    if (buffer_.size() == kBufferBytes) RETURN_IF_ERROR(Flush());
  }
  return absl::OkStatus();
}

absl::Status FdSink::Flush() {
  size_t done = 0;
  while (done < buffer_.size()) {
    const ssize_t n = ::write(fd_, buffer_.data() + done, buffer_.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoStatus("write " + name_, errno);
    done += static_cast<size_t>(n);
  }
  buffer_.clear();
  return absl::OkStatus();
}

absl::StatusOr<FdSource> FdSource::Open(int fd, std::string name) {
  ASSIGN_OR_RETURN(const uint64_t size, FileSize(fd, name));
  return FdSource(fd, std::move(name), size);
}

FdSource::FdSource(int fd, std::string name, uint64_t size)
    : fd_(fd), name_(std::move(name)), size_(size) {}

absl::Status FdSource::ReadAt(std::span<std::byte> out, uint64_t offset) {
  if (!IsInside(offset, out.size(), size_)) return PastEnd(offset, out.size(), size_);
  if (out.size() >= kBufferBytes / 4) return ReadExactAt(fd_, out, offset, name_);
  if (offset < buffer_offset_ || !IsInside(offset - buffer_offset_, out.size(), buffer_.size())) {
    buffer_.resize(std::min<uint64_t>(kBufferBytes, size_ - offset));
    buffer_offset_ = offset;
    const absl::Status status =
        ReadExactAt(fd_, std::as_writable_bytes(std::span(buffer_)), offset, name_);
    if (!status.ok()) {
      buffer_.clear();
      return status;
    }
  }
  std::memcpy(out.data(), buffer_.data() + (offset - buffer_offset_), out.size());
  return absl::OkStatus();
}

}  // namespace litefs::ltx
