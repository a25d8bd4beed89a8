#include "daemon/archive/bundle.h"

#include <fmt/format.h>

#include <cstring>

#include "common/endian.h"
#include "common/status_macros.h"

namespace litefs::archive {
namespace {

constexpr size_t kMagicBytes = sizeof(kBundleMagic) - 1;
constexpr size_t kEndBytes = 4 + kMagicBytes;

}  // namespace

std::vector<std::byte> BundleFooter(std::span<const uint64_t> sizes) {
  std::vector<std::byte> out(sizes.size() * 8 + kEndBytes);
  std::byte* at = out.data();
  for (const uint64_t size : sizes) {
    StoreBig64(at, size);
    at += 8;
  }
  StoreBig32(at, static_cast<uint32_t>(sizes.size()));
  std::memcpy(at + 4, kBundleMagic, kMagicBytes);
  return out;
}

absl::Status SliceSource::ReadAt(std::span<std::byte> out, uint64_t offset) {
  if (offset > size_ || out.size() > size_ - offset) {
    return absl::OutOfRangeError("the file in the bundle ends before");
  }
  return source_->ReadAt(out, offset_ + offset);
}

absl::StatusOr<std::vector<SliceSource>> ReadBundle(ltx::ByteSource* source) {
  const uint64_t size = source->size();
  std::byte end[kEndBytes];
  if (size < kEndBytes) return absl::DataLossError("smaller than a bundle's end");
  RETURN_IF_ERROR(source->ReadAt(end, size - kEndBytes));
  if (std::memcmp(end + 4, kBundleMagic, kMagicBytes) != 0) {
    return absl::DataLossError("does not end as a bundle");
  }
  const uint64_t count = LoadBig32(end);
  if (count == 0 || count > kMaxBundleFiles || count * 8 > size - kEndBytes) {
    return absl::DataLossError(fmt::format("a bundle of {} files", count));
  }
  std::vector<std::byte> sizes(count * 8);
  const uint64_t files_end = size - kEndBytes - sizes.size();
  RETURN_IF_ERROR(source->ReadAt(sizes, files_end));
  std::vector<SliceSource> files;
  uint64_t offset = 0;
  for (size_t i = 0; i < count; ++i) {
    const uint64_t file_bytes = LoadBig64(sizes.data() + i * 8);
    if (file_bytes > files_end - offset)
      return absl::DataLossError("a bundle's sizes are too large");
    files.emplace_back(source, offset, file_bytes);
    offset += file_bytes;
  }
  if (offset != files_end) return absl::DataLossError("a bundle's sizes do not add up");
  return files;
}

}  // namespace litefs::archive
