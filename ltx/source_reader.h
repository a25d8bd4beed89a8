// SourceReader: reads a ByteSource forwards, in place if it is in memory, otherwise through a
// window of bounded size.  Not thread-safe. Also how decoders word their errors.

#pragma once

#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ltx/byte_stream.h"

namespace litefs::ltx {

// kDataLoss "code: what at offset N".
absl::Status Defect(const char* code, const std::string& what, uint64_t offset);

class SourceReader {
 public:
  static constexpr size_t kWindowBytes = 128 << 10;

  // source must outlive the reader.  REQUIRES: offset <= source->size()
  SourceReader(ByteSource* source, uint64_t offset)
      : SourceReader(source, offset, source->size()) {}
  // As if the source ended there.  REQUIRES: offset <= end <= source->size()
  SourceReader(ByteSource* source, uint64_t offset, uint64_t end);
  SourceReader(const SourceReader&) = delete;
  SourceReader& operator=(const SourceReader&) = delete;

  uint64_t offset() const { return offset_; }
  uint64_t remaining() const { return end_ - offset_; }

  // The next n bytes, until the next call; "truncated" if the source ends before.
  // REQUIRES: n <= kWindowBytes
  absl::StatusOr<std::span<const std::byte>> Peek(size_t n) {
    if (ready_.size() < n) {
      if (absl::Status status = Fill(n); !status.ok()) return status;
    }
    return ready_.first(n);
  }
  // The next bytes, as many as are cheap; none only at the end of the source.
  absl::StatusOr<std::span<const std::byte>> PeekSome();
  // REQUIRES: the last Peek or PeekSome returned at least n bytes.
  void Skip(size_t n) {
    ready_ = ready_.subspan(n);
    offset_ += n;
  }

 private:
  absl::Status Fill(size_t n);

  ByteSource* const source_;
  const uint64_t end_;
  uint64_t offset_;                   // in the source, of the next byte
  std::vector<std::byte> window_;     // empty if the source is in memory
  std::span<const std::byte> ready_;  // what has been read and not been skipped
};

}  // namespace litefs::ltx
