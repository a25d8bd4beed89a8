#include "ltx/source_reader.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/check.h"
#include "common/status_macros.h"

namespace litefs::ltx {

absl::Status Defect(const char* code, const std::string& what, uint64_t offset) {
  return absl::DataLossError(fmt::format("{}: {} at offset {}", code, what, offset));
}

absl::StatusOr<std::span<const std::byte>> SourceReader::PeekSome() {
  if (begin_ == window_.size() && remaining() != 0) RETURN_IF_ERROR(Fill(1));
  return std::span<const std::byte>(window_).subspan(begin_);
}

absl::Status SourceReader::Fill(size_t n) {
  CHECK(n <= kWindowBytes);
  if (n > remaining()) {
    return Defect("truncated", fmt::format("{} bytes where {} are needed", remaining(), n),
                  offset_);
  }
  const size_t kept = window_.size() - begin_;
  std::copy(window_.begin() + static_cast<ptrdiff_t>(begin_), window_.end(), window_.begin());
  begin_ = 0;
  window_.resize(std::min<uint64_t>(kWindowBytes, remaining()));
  const absl::Status status = source_->ReadAt(std::span(window_).subspan(kept), offset_ + kept);
  if (!status.ok()) window_.resize(kept);
  return status;
}

}  // namespace litefs::ltx
