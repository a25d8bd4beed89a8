// ByteSink and ByteSource: where an encoder writes and a decoder reads.  Not thread-safe.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace litefs::ltx {

class ByteSink {
 public:
  virtual ~ByteSink() = default;
  // Appends all of data.
  virtual absl::Status Append(std::span<const std::byte> data) = 0;
};

class ByteSource {
 public:
  virtual ~ByteSource() = default;
  // Reads exactly out.size() bytes at offset; kOutOfRange if the source ends before.
  virtual absl::Status ReadAt(std::span<std::byte> out, uint64_t offset) = 0;
  virtual uint64_t size() const = 0;
  // All of the source if it is in memory, which saves readers a copy; else nothing.
  virtual std::span<const std::byte> View() const { return {}; }
};

// Appends to a string that the caller owns.
class StringSink final : public ByteSink {
 public:
  explicit StringSink(std::string* out) : out_(out) {}
  absl::Status Append(std::span<const std::byte> data) override;

 private:
  std::string* const out_;
};

// Reads bytes that the caller owns.
class SpanSource final : public ByteSource {
 public:
  explicit SpanSource(std::span<const std::byte> data) : data_(data) {}
  explicit SpanSource(std::string_view data) : data_(std::as_bytes(std::span(data))) {}
  absl::Status ReadAt(std::span<std::byte> out, uint64_t offset) override;
  uint64_t size() const override { return data_.size(); }
  std::span<const std::byte> View() const override { return data_; }

 private:
  const std::span<const std::byte> data_;
};

// Buffers 256 KiB and writes to a file descriptor that the caller owns, at its file offset.
class FdSink final : public ByteSink {
 public:
  FdSink(int fd, std::string name);
  absl::Status Append(std::span<const std::byte> data) override;
  absl::Status Flush();  // must be called at the end
 private:
  const int fd_;
  const std::string name_;
  std::string buffer_;
};

// Reads a file descriptor that the caller owns, through a read-ahead buffer of 256 KiB.
class FdSource final : public ByteSource {
 public:
  // Takes the file's size at construction.
  static absl::StatusOr<FdSource> Open(int fd, std::string name);
  absl::Status ReadAt(std::span<std::byte> out, uint64_t offset) override;
  uint64_t size() const override { return size_; }

 private:
  FdSource(int fd, std::string name, uint64_t size);
  int fd_;
  std::string name_;
  uint64_t size_;
  std::string buffer_;
  uint64_t buffer_offset_ = 0;
};

}  // namespace litefs::ltx
