#include "ltx/lz4_page.h"

#include <fmt/format.h>
#include <lz4.h>
#include <lz4frame.h>

#include <algorithm>
#include <cstring>
#include <string_view>

#include "common/check.h"
#include "common/endian.h"
#include "common/status_macros.h"

namespace litefs::ltx {
namespace {

static_assert(MaxBlockBytes(65536) == LZ4_COMPRESSBOUND(65536));

constexpr uint32_t kFrameMagic = 0x184d2204;
constexpr size_t kMinFrameHeaderBytes = 7;
// How fast liblz4 gives up on bytes without matches.  On bench/ltx_codec_bench, pages of 4 KiB: 2
// is a fifth faster than 1, and files grow from 61.7 to 63.4 percent; 4 makes it 67.3.
constexpr int kAcceleration = 2;

// A literal run's length in the token, and what the bytes after it carry.
constexpr size_t kTokenLiterals = 15;
constexpr size_t kLengthByteMax = 255;

const char* AsChars(const std::byte* p) { return reinterpret_cast<const char*>(p); }
char* AsChars(std::byte* p) { return reinterpret_cast<char*>(p); }

}  // namespace

size_t Lz4BlockWriter::Compress(std::span<const std::byte> page, std::span<std::byte> out) {
  if (state_.empty()) state_.resize(static_cast<size_t>(LZ4_sizeofState()));
  const int n = LZ4_compress_fast_extState(state_.data(), AsChars(page.data()), AsChars(out.data()),
                                           static_cast<int>(page.size()),
                                           static_cast<int>(out.size()), kAcceleration);
  CHECK(n > 0);
  return static_cast<size_t>(n);
}

// One sequence without a match: token, length, literals.
size_t Lz4BlockWriter::StoreLiterals(std::span<const std::byte> page, std::span<std::byte> out) {
  CHECK(page.size() >= kTokenLiterals && out.size() >= MaxBlockBytes(page.size()));
  std::byte* p = out.data();
  *p++ = std::byte{kTokenLiterals << 4};
  size_t rest = page.size() - kTokenLiterals;
  for (; rest >= kLengthByteMax; rest -= kLengthByteMax) *p++ = std::byte{kLengthByteMax};
  *p++ = static_cast<std::byte>(rest);
  std::memcpy(p, page.data(), page.size());
  return static_cast<size_t>(p - out.data()) + page.size();
}

bool DecompressBlock(std::span<const std::byte> block, std::span<std::byte> page) {
  return LZ4_decompress_safe(AsChars(block.data()), AsChars(page.data()),
                             static_cast<int>(block.size()),
                             static_cast<int>(page.size())) == static_cast<int>(page.size());
}

void Lz4FrameReader::Free::operator()(LZ4F_dctx_s* context) const {
  LZ4F_freeDecompressionContext(context);
}

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
  RETURN_IF_ERROR(reader->Peek(kMinFrameHeaderBytes).status());
  const uint64_t available = std::min<uint64_t>(LZ4F_HEADER_SIZE_MAX, reader->remaining());
  ASSIGN_OR_RETURN(const auto head, reader->Peek(available));
  // Not left to liblz4, which would skip over a "skippable" frame.
  if (LoadLittle32(head.data()) != kFrameMagic) {
    return Defect("lz4-frame", "no LZ4 frame", reader->offset());
  }
  LZ4F_frameInfo_t info;
  size_t n = head.size();
  const size_t result = LZ4F_getFrameInfo(context_.get(), &info, head.data(), &n);
  if (LZ4F_isError(result)) {
    return Defect("lz4-frame", LZ4F_getErrorName(result), reader->offset());
  }
  reader->Skip(n);
  return absl::OkStatus();
}

absl::StatusOr<size_t> Lz4FrameReader::Read(std::span<std::byte> out) {
  size_t done = 0;
  while (done < out.size() && !ended_) {
    ASSIGN_OR_RETURN(const auto input, reader_->PeekSome());
    size_t consumed = input.size();
    size_t produced = out.size() - done;
    const size_t result = LZ4F_decompress(context_.get(), out.data() + done, &produced,
                                          input.data(), &consumed, nullptr);
    if (LZ4F_isError(result)) {
      const std::string_view name = LZ4F_getErrorName(result);
      const bool is_checksum = name.find("hecksum") != std::string_view::npos;
      return Defect(is_checksum ? "lz4-checksum" : "decompress", std::string(name),
                    reader_->offset());
    }
    reader_->Skip(consumed);
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
