#include "ltx/lz4_frame.h"

#include <lz4frame.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <string_view>

#include "common/check.h"
#include "common/endian.h"
#include "common/status_macros.h"

namespace litefs::ltx {
namespace {

// magic · FLG · BD · [content size] · [dictionary id] · header checksum
constexpr uint32_t kFrameMagic = 0x184d2204;
constexpr size_t kMinFrameHeaderBytes = 7;
constexpr size_t kFlagsOffset = 4;
constexpr std::byte kBlockChecksumFlag{1 << 4};
// A block: size, data, checksum if the flag is set.  Size 0 is the end mark.
constexpr size_t kBlockSizeBytes = 4;
constexpr size_t kBlockChecksumBytes = 4;
constexpr uint32_t kStoredBlockFlag = 0x80000000;

absl::Status Lz4Defect(size_t result, uint64_t offset) {
  const std::string_view name = LZ4F_getErrorName(result);
  const bool is_checksum = name.find("hecksum") != std::string_view::npos;
  return Defect(is_checksum ? "lz4-checksum" : "decompress", std::string(name), offset);
}

}  // namespace

void Lz4FrameReader::Free::operator()(LZ4F_dctx_s* context) const {
  LZ4F_freeDecompressionContext(context);
}

void Lz4FrameReader::Free::operator()(XXH32_state_s* sum) const { XXH32_freeState(sum); }

absl::Status Lz4FrameReader::Begin(SourceReader* reader) {
  if (context_ == nullptr) {
    LZ4F_dctx* context = nullptr;
    CHECK(!LZ4F_isError(LZ4F_createDecompressionContext(&context, LZ4F_VERSION)));
    context_.reset(context);
  } else {
    LZ4F_resetDecompressionContext(context_.get());
  }
  reader_ = reader;
  ended_ = false;
  place_ = Place::kUnchecked;
  RETURN_IF_ERROR(reader->Peek(kMinFrameHeaderBytes).status());
  const uint64_t available = std::min<uint64_t>(LZ4F_HEADER_SIZE_MAX, reader->remaining());
  ASSIGN_OR_RETURN(const auto head, reader->Peek(available));
  // Not left to liblz4, which would skip over a "skippable" frame.
  if (LoadLittle32(head.data()) != kFrameMagic) {
    return Defect("lz4-frame", "no LZ4 frame", reader->offset());
  }
  size_t header_bytes = 0;
  RETURN_IF_ERROR(FeedHeader(head, &header_bytes));
  if ((head[kFlagsOffset] & kBlockChecksumFlag) != std::byte{0}) {
    RETURN_IF_ERROR(HideBlockChecksums(head.first(header_bytes)));
  }
  reader->Skip(header_bytes);
  return absl::OkStatus();
}

absl::Status Lz4FrameReader::FeedHeader(std::span<const std::byte> head, size_t* header_bytes) {
  LZ4F_frameInfo_t info;
  *header_bytes = head.size();
  const size_t result = LZ4F_getFrameInfo(context_.get(), &info, head.data(), header_bytes);
  if (!LZ4F_isError(result)) return absl::OkStatus();
  return Defect("lz4-frame", LZ4F_getErrorName(result), reader_->offset());
}

// header has been found valid.  Starts liblz4 again with one that differs in the flag.
absl::Status Lz4FrameReader::HideBlockChecksums(std::span<const std::byte> header) {
  std::array<std::byte, LZ4F_HEADER_SIZE_MAX> hidden;
  std::ranges::copy(header, hidden.begin());
  hidden[kFlagsOffset] &= ~kBlockChecksumFlag;
  const size_t summed = header.size() - kFlagsOffset - 1;
  hidden[header.size() - 1] =
      static_cast<std::byte>(XXH32(hidden.data() + kFlagsOffset, summed, 0) >> 8);
  LZ4F_resetDecompressionContext(context_.get());
  place_ = Place::kBlockSize;
  if (block_sum_ == nullptr) {
    block_sum_.reset(XXH32_createState());
    content_sum_.reset(XXH32_createState());
    CHECK(block_sum_ != nullptr && content_sum_ != nullptr);
  }
  size_t consumed = 0;
  return FeedHeader({hidden.data(), header.size()}, &consumed);
}

// What liblz4 gets next.  Empty: all that is ready, or, of a block that it has in whole, nothing.
absl::StatusOr<std::span<const std::byte>> Lz4FrameReader::NextInput() {
  if (place_ == Place::kBlockSize) {
    ASSIGN_OR_RETURN(const auto size, reader_->Peek(kBlockSizeBytes));
    return size.first(kBlockSizeBytes);
  }
  if (place_ == Place::kBlock && block_left_ == 0) return std::span<const std::byte>();
  ASSIGN_OR_RETURN(auto input, reader_->PeekSome());
  if (place_ == Place::kBlock) input = input.first(std::min(input.size(), block_left_));
  return input;
}

// liblz4 took input, and gave content, while there was room for more.
absl::Status Lz4FrameReader::FollowBlock(std::span<const std::byte> input,
                                         std::span<const std::byte> content) {
  if (place_ == Place::kBlockSize) {
    if (input.size() != kBlockSizeBytes) {
      return Defect("lz4-frame", "block size not read", reader_->offset());
    }
    const uint32_t size = LoadLittle32(input.data());
    place_ = size == 0 ? Place::kEnd : Place::kBlock;
    block_left_ = size & ~kStoredBlockFlag;
    XXH32_reset(block_sum_.get(), 0);
    XXH32_reset(content_sum_.get(), 0);
    return absl::OkStatus();
  }
  if (place_ != Place::kBlock) return absl::OkStatus();
  const bool is_over = block_left_ == 0 && content.empty();
  block_left_ -= input.size();
  XXH32_update(block_sum_.get(), input.data(), input.size());
  XXH32_update(content_sum_.get(), content.data(), content.size());
  return is_over ? CheckBlock() : absl::OkStatus();
}

absl::Status Lz4FrameReader::CheckBlock() {
  ASSIGN_OR_RETURN(const auto field, reader_->Peek(kBlockChecksumBytes));
  const uint32_t sum = LoadLittle32(field.data());
  if (sum != XXH32_digest(block_sum_.get()) && sum != XXH32_digest(content_sum_.get())) {
    return Defect("lz4-checksum", "block checksum mismatch", reader_->offset());
  }
  reader_->Skip(kBlockChecksumBytes);
  place_ = Place::kBlockSize;
  return absl::OkStatus();
}

absl::StatusOr<size_t> Lz4FrameReader::Read(std::span<std::byte> out) {
  size_t done = 0;
  while (done < out.size() && !ended_) {
    ASSIGN_OR_RETURN(const auto input, NextInput());
    size_t consumed = input.size();
    size_t produced = out.size() - done;
    const size_t result = LZ4F_decompress(context_.get(), out.data() + done, &produced,
                                          input.data(), &consumed, nullptr);
    if (LZ4F_isError(result)) return Lz4Defect(result, reader_->offset());
    reader_->Skip(consumed);
    RETURN_IF_ERROR(FollowBlock(input.first(consumed), out.subspan(done, produced)));
    done += produced;
    ended_ = result == 0;
    if (!ended_ && produced == 0 && reader_->remaining() == 0) {
      return Defect("truncated", "LZ4 frame without an end", reader_->offset());
    }
  }
  return done;
}

absl::StatusOr<bool> Lz4FrameReader::ReadEnd() {
  std::byte surplus;
  ASSIGN_OR_RETURN(const size_t n, Read({&surplus, 1}));
  return n == 0;
}

}  // namespace litefs::ltx
