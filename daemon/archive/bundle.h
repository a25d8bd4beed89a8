// Bundle: several LTX files as one, so that a second's transactions cost one request and each can
// still be restored by itself (docs/ARCHIVE.md, "Bundles"):
//
//   the files, one after the other · their sizes, 8 bytes each · their number, 4 bytes · magic
//
// all numbers big-endian.

#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "ltx/byte_stream.h"

namespace litefs::archive {

inline constexpr char kBundleMagic[] = "LTXBUND1";  // on disk: never change
inline constexpr size_t kMaxBundleFiles = 65536;

// What follows the files.
std::vector<std::byte> BundleFooter(std::span<const uint64_t> sizes);

// A part of another source.
class SliceSource final : public ltx::ByteSource {
 public:
  // REQUIRES: the part lies within source, which must outlive it.
  SliceSource(ltx::ByteSource* source, uint64_t offset, uint64_t size)
      : source_(source), offset_(offset), size_(size) {}
  absl::Status ReadAt(std::span<std::byte> out, uint64_t offset) override;
  uint64_t size() const override { return size_; }

 private:
  ltx::ByteSource* const source_;
  const uint64_t offset_;
  const uint64_t size_;
};

// The files in a bundle.  kDataLoss if it is none.
absl::StatusOr<std::vector<SliceSource>> ReadBundle(ltx::ByteSource* source);

}  // namespace litefs::archive
