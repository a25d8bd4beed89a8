// The file checksum covers the pages uncompressed, the page checksum covers the same bytes behind
// the page number.  Since CRCs combine, each page is read once for both (PageChecksummer).

#include "ltx/encoder.h"

#include <fmt/format.h>

#include "common/check.h"
#include "common/endian.h"
#include "common/sqlite_format.h"
#include "common/status_macros.h"
#include "ltx/crc64.h"
#include "ltx/format.h"

namespace litefs::ltx {
namespace {

constexpr size_t kFrameHeaderBytes = kPageHeaderBytes + kSizeFieldBytes;

absl::Status Refuse(const char* code, const std::string& what) {
  return absl::InvalidArgumentError(fmt::format("{}: {}", code, what));
}

}  // namespace

absl::Status Encoder::Begin(ByteSink* sink, const Header& header, Compression compression) {
  RETURN_IF_ERROR(Validate(header));
  if ((header.flags & kFlagCompressLz4) != 0) return Refuse("header-flags", "LZ4 flag of v1");
  sink_ = sink;
  if (header.page_bytes != header_.page_bytes) checksummer_ = PageChecksummer(header.page_bytes);
  header_ = header;
  compression_ = compression;
  offset_ = 0;
  crc_ = 0;
  database_ = kEmptyDatabaseChecksum;
  last_pgno_ = 0;
  index_.clear();
  frame_.resize(kFrameHeaderBytes + MaxBlockBytes(header.page_bytes));
  const auto bytes = Encode(header);
  crc_ = Crc64(crc_, bytes);
  return Write(bytes);
}

absl::Status Encoder::Write(std::span<const std::byte> data) {
  offset_ += data.size();
  return sink_->Append(data);
}

absl::Status Encoder::CheckPage(PageNo pgno, std::span<const std::byte> page) const {
  const PageNo lock_page = sqlite::LockPage(header_.page_bytes);
  if (page.size() != header_.page_bytes) {
    return Refuse("page-size", fmt::format("page {} has {} bytes", pgno, page.size()));
  }
  if (pgno == 0) return Refuse("page-number", "page 0");
  if (pgno > header_.commit) {
    return Refuse("page-range", fmt::format("page {} of {}", pgno, header_.commit));
  }
  if (pgno == lock_page) return Refuse("lock-page", fmt::format("page {}", pgno));
  if (pgno <= last_pgno_) {
    return Refuse("page-order", fmt::format("page {} after page {}", pgno, last_pgno_));
  }
  if (header_.is_snapshot() && pgno != last_pgno_ + (last_pgno_ + 1 == lock_page ? 2 : 1)) {
    return Refuse("snapshot-incomplete", fmt::format("page {} after page {}", pgno, last_pgno_));
  }
  return absl::OkStatus();
}

absl::Status Encoder::AddPage(PageNo pgno, std::span<const std::byte> page) {
  return AddPageWithCrc(pgno, page, Crc64(0, page));
}

absl::Status Encoder::AddPageWithCrc(PageNo pgno, std::span<const std::byte> page,
                                     uint64_t page_crc) {
  RETURN_IF_ERROR(CheckPage(pgno, page));
  const std::span<std::byte> block = std::span(frame_).subspan(kFrameHeaderBytes);
  const size_t block_bytes = compression_ == Compression::kLz4
                                 ? blocks_.Compress(page, block)
                                 : Lz4BlockWriter::StoreLiterals(page, block);
  StoreBig32(frame_.data(), pgno);
  StoreBig16(frame_.data() + 4, kPageFlagSize);
  StoreBig32(frame_.data() + kPageHeaderBytes, static_cast<uint32_t>(block_bytes));
  const std::span<const std::byte> frame = std::span(frame_).first(kFrameHeaderBytes + block_bytes);

  crc_ = Crc64(crc_, frame.first(kFrameHeaderBytes));
  crc_ = checksummer_.Append(crc_, page_crc);
  if (header_.is_snapshot() && header_.has_checksums()) {
    database_ = TogglePage(database_, checksummer_.FromCrc(pgno, page_crc));
  }
  last_pgno_ = pgno;
  index_.push_back({.pgno = pgno, .offset = offset_, .size = frame.size()});
  return Write(frame);
}

absl::Status Encoder::CheckPostApply(Checksum post_apply) const {
  if (!header_.has_checksums()) {
    if (post_apply == 0) return absl::OkStatus();
    return Refuse("trailer", "post-apply checksum in a file without checksums");
  }
  if ((post_apply & kChecksumFlag) == 0) {
    return Refuse("trailer", "post-apply checksum missing or without its flag bit");
  }
  const bool is_empty = header_.commit == 0;
  if ((is_empty || header_.is_snapshot()) && post_apply != database_) {
    return Refuse("post-apply", fmt::format("{:016x}, pages have {:016x}", post_apply, database_));
  }
  return absl::OkStatus();
}

absl::StatusOr<Trailer> Encoder::Finish(Checksum post_apply) {
  RETURN_IF_ERROR(CheckPostApply(post_apply));
  const PageNo lock_page = sqlite::LockPage(header_.page_bytes);
  const PageNo last = header_.commit == lock_page ? lock_page - 1 : header_.commit;
  if (header_.is_snapshot() && last_pgno_ != last) {
    return Refuse("snapshot-incomplete",
                  fmt::format("page {} is the last of {}", last_pgno_, last));
  }
  tail_.assign(kPageHeaderBytes, std::byte{});
  EncodePageIndex(index_, &tail_);
  Trailer trailer{.post_apply = post_apply};
  auto bytes = Encode(trailer);
  crc_ = Crc64(Crc64(crc_, tail_), std::span(bytes).first(8));
  trailer.file_checksum = kChecksumFlag | crc_;
  bytes = Encode(trailer);
  tail_.insert(tail_.end(), bytes.begin(), bytes.end());
  RETURN_IF_ERROR(Write(tail_));
  return trailer;
}

uint64_t LiteralSnapshotBytes(uint32_t page_bytes, PageNo commit) {
  const uint64_t frame_bytes = kFrameHeaderBytes + LiteralBlockBytes(page_bytes);
  uint64_t offset = kHeaderBytes;
  uint64_t index_bytes = 1 + kIndexLengthBytes;  // its end and its length
  for (uint64_t pgno = 1; pgno <= commit; ++pgno) {
    if (pgno == sqlite::LockPage(page_bytes)) continue;
    index_bytes +=
        IndexEntryBytes({.pgno = static_cast<PageNo>(pgno), .offset = offset, .size = frame_bytes});
    offset += frame_bytes;
  }
  return offset + kPageHeaderBytes + index_bytes + kTrailerBytes;
}

}  // namespace litefs::ltx
