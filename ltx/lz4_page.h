// Pages as LZ4 blocks, and LZ4 frames read piecewise (docs/LTX.md section 4).  Not thread-safe.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ltx/source_reader.h"

struct LZ4F_dctx_s;

namespace litefs::ltx {

// The largest LZ4 block that holds page_bytes bytes: all literals.
constexpr size_t MaxBlockBytes(size_t page_bytes) { return page_bytes + page_bytes / 255 + 16; }

// Page to block.  Keeps the compressor's state, so that no call but the first allocates.
class Lz4BlockWriter {
 public:
  // Both return the block's size.  REQUIRES: out.size() >= MaxBlockBytes(page.size())
  size_t Compress(std::span<const std::byte> page, std::span<std::byte> out);
  static size_t StoreLiterals(std::span<const std::byte> page, std::span<std::byte> out);

 private:
  std::vector<std::byte> state_;
};

// Block to page.  False unless block decompresses to exactly page.size() bytes.
bool DecompressBlock(std::span<const std::byte> block, std::span<std::byte> page);

// One LZ4 frame at a reader's position.  Reusable: Begin starts over.
class Lz4FrameReader {
 public:
  // Reads the frame's header.  reader must outlive the use of the frame.
  absl::Status Begin(SourceReader* reader);
  // Reads up to out.size() bytes of content; fewer only at the end of the frame.
  absl::StatusOr<size_t> Read(std::span<std::byte> out);
  // Reads the frame's end mark and checksum.  False if there is content left.
  absl::StatusOr<bool> ReadEnd();

 private:
  struct Free {
    void operator()(LZ4F_dctx_s* context) const;
  };

  std::unique_ptr<LZ4F_dctx_s, Free> context_;
  SourceReader* reader_ = nullptr;
  bool ended_ = false;
};

}  // namespace litefs::ltx
