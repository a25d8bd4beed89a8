// LZ4 frames, as files before today's blocks hold them, read piecewise (docs/LTX.md section 4; the
// frame's layout: LZ4 Frame Format Description 1.6).  Not thread-safe.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ltx/source_reader.h"

struct LZ4F_dctx_s;
struct XXH32_state_s;

namespace litefs::ltx {

// One LZ4 frame at a reader's position.  Reusable: Begin starts over.
//
// liblz4 decodes.  It does not see block checksums: the frame format has them over a block's
// compressed bytes, the Go library computes them over its content, and a file may come from either.
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
    void operator()(XXH32_state_s* sum) const;
  };
  // Where in a frame with block checksums: before a block's size, in its bytes, or after the end
  // mark.  kUnchecked: a frame without them.
  enum class Place { kUnchecked, kBlockSize, kBlock, kEnd };

  absl::Status FeedHeader(std::span<const std::byte> head, size_t* header_bytes);
  absl::Status HideBlockChecksums(std::span<const std::byte> header);
  absl::StatusOr<std::span<const std::byte>> NextInput();
  absl::Status FollowBlock(std::span<const std::byte> input, std::span<const std::byte> content);
  absl::Status CheckBlock();

  std::unique_ptr<LZ4F_dctx_s, Free> context_;
  SourceReader* reader_ = nullptr;
  bool ended_ = false;
  Place place_ = Place::kUnchecked;
  size_t block_left_ = 0;  // compressed bytes that liblz4 has not taken yet
  // Of the current block; made for the first frame that needs them.
  std::unique_ptr<XXH32_state_s, Free> block_sum_;
  std::unique_ptr<XXH32_state_s, Free> content_sum_;
};

}  // namespace litefs::ltx
