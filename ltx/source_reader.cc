#include "ltx/source_reader.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/check.h"
#include "common/status_macros.h"

namespace litefs::ltx {

absl::Status Defect(const char* code, const std::string& what, uint64_t offset) {
  return absl::DataLossError(fmt::format("{}: {} at offset {}", code, what, offset));
}

SourceReader::SourceReader(ByteSource* source, uint64_t offset, uint64_t end)
    : source_(source), end_(end), offset_(offset) {
  CHECK(offset <= end && end <= source->size());
  if (const auto all = source->View(); !all.empty()) ready_ = all.subspan(offset, end - offset);
}

absl::StatusOr<std::span<const std::byte>> SourceReader::PeekSome() {
  if (ready_.empty() && remaining() != 0) RETURN_IF_ERROR(Fill(1));
  return ready_;
}

absl::Status SourceReader::Fill(size_t n) {
  CHECK(n <= kWindowBytes);
  if (n > remaining()) {
    return Defect("truncated", fmt::format("{} bytes where {} are needed", remaining(), n),
                  offset_);
  }
  const size_t kept = ready_.size();
  std::copy(ready_.begin(), ready_.end(), window_.begin());
  ready_ = {};
  window_.resize(std::min<uint64_t>(kWindowBytes, remaining()));
  const std::span<std::byte> window = window_;
  const absl::Status status = source_->ReadAt(window.subspan(kept), offset_ + kept);
  ready_ = window.first(status.ok() ? window.size() : kept);
  return status;
}

}  // namespace litefs::ltx
