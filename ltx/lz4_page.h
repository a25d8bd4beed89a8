// Pages as LZ4 blocks (docs/LTX.md section 4).  Not thread-safe.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace litefs::ltx {

// The largest LZ4 block that holds page_bytes bytes: all literals.
constexpr size_t MaxBlockBytes(size_t page_bytes) { return page_bytes + page_bytes / 255 + 16; }

// The block of a page that is all literals (Lz4BlockWriter::StoreLiterals): token, length, page.
// REQUIRES: page_bytes >= 15
constexpr size_t LiteralBlockBytes(size_t page_bytes) {
  return 1 + (page_bytes - 15) / 255 + 1 + page_bytes;
}

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

}  // namespace litefs::ltx
