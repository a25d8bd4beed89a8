// One decoder for all encodings.  They differ in the page header (4 bytes, or 6 and perhaps a
// size), in the payload (raw, part of one LZ4 frame, an LZ4 frame, an LZ4 block) and in whether an
// index follows; the rest is the same:
//
//   header, { page header, payload }*, empty page header, [index], trailer
//
// The file checksum is computed along the way over the pages as decompressed.  What can be refused
// at once is (order and range of pages, bad compression); what needs the whole file comes after the
// file checksum, so that bit rot is reported as such.

#include "ltx/decoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <vector>

#include "common/check.h"
#include "common/endian.h"
#include "common/sqlite_format.h"
#include "common/status_macros.h"
#include "ltx/crc64.h"
#include "ltx/format.h"
#include "ltx/lz4_frame.h"
#include "ltx/lz4_page.h"
#include "ltx/page_checksum.h"
#include "ltx/source_reader.h"

namespace litefs::ltx {
namespace {

// Sizes of files without pages (docs/LTX.md section 9).
constexpr uint64_t kEmptyV1RawBytes = 120;
constexpr uint64_t kEmptyV2Bytes = 129;
constexpr uint64_t kEmptyV3Bytes = 131;

constexpr uint32_t kFrameMagicBig = 0x04224d18;
constexpr size_t kMinIndexBytes = 1 + kIndexLengthBytes;
static_assert(kHeaderBytes + kPageHeaderBytes + kMinIndexBytes + kTrailerBytes == kEmptyV3Bytes);
static_assert(MaxBlockBytes(sqlite::kMaxPageBytes) <= SourceReader::kWindowBytes);

struct PageHeader {
  PageNo pgno = 0;
  uint16_t flags = 0;
  uint32_t block_bytes = 0;  // with kPageFlagSize
};

// Which v2 or v3 encoding the first page frame, at kHeaderBytes, shows; kV1Raw if neither.
Encoding EncodingOfFirstFrame(std::span<const std::byte, 10> start) {
  const std::byte* const p = start.data();
  if (LoadBig32(p + 4) == kFrameMagicBig) return Encoding::kV2Frame;
  const uint16_t flags = LoadBig16(p + 4);
  if (flags == kPageFlagSize || (flags == 0 && LoadBig32(p + 6) == kFrameMagicBig)) {
    return Encoding::kV3;
  }
  return Encoding::kV1Raw;
}

// Whether an index of a plausible length, after an empty page header of v3, ends the file.
absl::StatusOr<bool> EndsWithIndex(ByteSource& source) {
  constexpr uint64_t kTailBytes = kIndexLengthBytes + kTrailerBytes;
  constexpr uint64_t kAroundBytes = kHeaderBytes + kPageHeaderBytes + kTailBytes;
  if (source.size() <= kAroundBytes) return false;
  std::array<std::byte, kIndexLengthBytes> field;
  RETURN_IF_ERROR(source.ReadAt(field, source.size() - kTailBytes));
  const uint64_t length = LoadBig64(field.data());
  if (length == 0 || length > source.size() - kAroundBytes) return false;
  std::array<std::byte, kPageHeaderBytes> end;
  RETURN_IF_ERROR(source.ReadAt(end, source.size() - kTailBytes - length - end.size()));
  return end == std::array<std::byte, kPageHeaderBytes>{};
}

// docs/LTX.md section 9, "Telling formats apart".
absl::StatusOr<Encoding> Detect(ByteSource& source, const Header& header) {
  const uint64_t size = source.size();
  std::array<std::byte, 10> start{};
  const auto n = std::min<uint64_t>(start.size(), size - kHeaderBytes);
  RETURN_IF_ERROR(source.ReadAt(std::span(start).first(n), kHeaderBytes));
  if ((header.flags & kFlagCompressLz4) != 0) {
    if (LoadBig32(start.data()) != kFrameMagicBig &&
        EncodingOfFirstFrame(start) != Encoding::kV1Raw) {
      return Defect("header-flags", "LZ4 flag of v1 in a later file", 4);
    }
    return Encoding::kV1Lz4;
  }
  if (size == kEmptyV1RawBytes) return Encoding::kV1Raw;
  if (size == kEmptyV2Bytes) return Encoding::kV2Frame;
  if (size == kEmptyV3Bytes) return Encoding::kV3;
  if (size > kEmptyV1RawBytes &&
      (size - kEmptyV1RawBytes) % (kOldPageHeaderBytes + header.page_bytes) == 0) {
    // The size of a v1-raw file, if the page block's end is before the trailer.  There v2 and v3
    // have the low half of their index's length, which no index under 4 GiB makes 0; so the file
    // checksum need not be asked.
    std::array<std::byte, kOldPageHeaderBytes> end;
    RETURN_IF_ERROR(source.ReadAt(end, size - kTrailerBytes - kOldPageHeaderBytes));
    if (LoadBig32(end.data()) == 0) return Encoding::kV1Raw;
  }
  const Encoding encoding = EncodingOfFirstFrame(start);
  if (encoding != Encoding::kV1Raw) return encoding;
  ASSIGN_OR_RETURN(const bool has_index, EndsWithIndex(source));
  return has_index ? Encoding::kV3 : Encoding::kV1Raw;
}

class FileDecoder final : public Decoder {
 public:
  FileDecoder(ByteSource* source, const Header& header, Encoding encoding, uint64_t header_crc)
      : reader_(source, kHeaderBytes),
        header_(header),
        encoding_(encoding),
        lock_page_(sqlite::LockPage(header.page_bytes)),
        checksummer_(header.page_bytes),
        crc_(header_crc) {}

  absl::Status Start() {
    return encoding_ == Encoding::kV1Lz4 ? frame_.Begin(&reader_) : absl::OkStatus();
  }

  const Header& header() const override { return header_; }
  Encoding encoding() const override { return encoding_; }
  absl::StatusOr<bool> Next(PageNo* pgno, std::span<std::byte> page) override;
  uint64_t page_crc() const override { return page_crc_; }
  const Trailer& trailer() const override { return trailer_; }
  const PageIndex& index() const override { return index_; }

 private:
  bool has_index() const { return encoding_ == Encoding::kV2Frame || encoding_ == Encoding::kV3; }

  absl::Status ReadPageHeader(PageHeader* head);
  absl::Status ReadOldPageHeader(PageHeader* head);
  absl::Status CheckPage(PageNo pgno, uint64_t offset) const;
  absl::Status ReadPayload(const PageHeader& head, std::span<std::byte> page);
  absl::Status ReadBlock(const PageHeader& head, std::span<std::byte> page);
  absl::Status ReadFrame(std::span<std::byte> page);
  absl::Status ReadStreamed(std::span<std::byte> out);
  absl::Status Finish();
  absl::Status FinishStream();
  absl::StatusOr<bool> ReadIndex();
  absl::Status CheckTrailer(uint64_t offset) const;

  // Constant after construction, but for the reader's position.
  SourceReader reader_;
  const Header header_;
  const Encoding encoding_;
  const PageNo lock_page_;
  const PageChecksummer checksummer_;

  Lz4FrameReader frame_;                        // the page's, or all pages' in v1-lz4
  uint64_t crc_;                                // of what the file checksum covers, so far
  Checksum database_ = kEmptyDatabaseChecksum;  // of the pages so far, for snapshots
  PageNo last_pgno_ = 0;
  uint64_t page_crc_ = 0;
  PageIndex index_;
  Trailer trailer_;
  bool done_ = false;
};

absl::StatusOr<bool> FileDecoder::Next(PageNo* pgno, std::span<std::byte> page) {
  CHECK(page.size() == header_.page_bytes);
  if (done_) return false;
  const uint64_t offset = reader_.offset();
  PageHeader head;
  RETURN_IF_ERROR(ReadPageHeader(&head));
  if (head.pgno == 0 && head.flags == 0) {
    RETURN_IF_ERROR(Finish());
    done_ = true;
    return false;
  }
  RETURN_IF_ERROR(ReadPayload(head, page));
  page_crc_ = Crc64(0, page);
  crc_ = checksummer_.Append(crc_, page_crc_);
  if (header_.is_snapshot() && header_.has_checksums()) {
    database_ = TogglePage(database_, checksummer_.FromCrc(head.pgno, page_crc_));
  }
  if (has_index()) {
    index_.push_back({.pgno = head.pgno, .offset = offset, .size = reader_.offset() - offset});
  }
  last_pgno_ = head.pgno;
  *pgno = head.pgno;
  return true;
}

absl::Status FileDecoder::ReadPageHeader(PageHeader* head) {
  if (encoding_ != Encoding::kV3) return ReadOldPageHeader(head);
  const uint64_t offset = reader_.offset();
  ASSIGN_OR_RETURN(auto bytes, reader_.Peek(kPageHeaderBytes));
  head->pgno = LoadBig32(bytes.data());
  head->flags = LoadBig16(bytes.data() + 4);
  if (head->pgno != 0 || head->flags != 0) {
    if (head->pgno == 0) return Defect("page-number", "page 0", offset);
    if ((head->flags & ~kPageFlagSize) != 0) {
      return Defect("page-flags", fmt::format("{:#06x}", head->flags), offset + 4);
    }
    RETURN_IF_ERROR(CheckPage(head->pgno, offset));
  }
  if ((head->flags & kPageFlagSize) != 0) {
    ASSIGN_OR_RETURN(bytes, reader_.Peek(kPageHeaderBytes + kSizeFieldBytes));
    head->block_bytes = LoadBig32(bytes.data() + kPageHeaderBytes);
  }
  crc_ = Crc64(crc_, bytes);
  reader_.Skip(bytes.size());
  return absl::OkStatus();
}

absl::Status FileDecoder::ReadOldPageHeader(PageHeader* head) {
  const uint64_t offset = reader_.offset();
  std::array<std::byte, kOldPageHeaderBytes> bytes;
  RETURN_IF_ERROR(ReadStreamed(bytes));
  head->pgno = LoadBig32(bytes.data());
  crc_ = Crc64(crc_, bytes);
  return head->pgno == 0 ? absl::OkStatus() : CheckPage(head->pgno, offset);
}

absl::Status FileDecoder::CheckPage(PageNo pgno, uint64_t offset) const {
  if (pgno > header_.commit) {
    return Defect("page-range", fmt::format("page {} of {}", pgno, header_.commit), offset);
  }
  if (pgno == lock_page_) return Defect("lock-page", fmt::format("page {}", pgno), offset);
  if (pgno <= last_pgno_) {
    return Defect("page-order", fmt::format("page {} after page {}", pgno, last_pgno_), offset);
  }
  if (header_.is_snapshot() && pgno != last_pgno_ + (last_pgno_ + 1 == lock_page_ ? 2 : 1)) {
    return Defect("snapshot-incomplete", fmt::format("page {} after page {}", pgno, last_pgno_),
                  offset);
  }
  return absl::OkStatus();
}

absl::Status FileDecoder::ReadPayload(const PageHeader& head, std::span<std::byte> page) {
  if ((head.flags & kPageFlagSize) != 0) return ReadBlock(head, page);
  return has_index() ? ReadFrame(page) : ReadStreamed(page);
}

absl::Status FileDecoder::ReadBlock(const PageHeader& head, std::span<std::byte> page) {
  if (head.block_bytes > MaxBlockBytes(page.size())) {
    return Defect("page-size-field", fmt::format("{} bytes", head.block_bytes),
                  reader_.offset() - kSizeFieldBytes);
  }
  ASSIGN_OR_RETURN(const auto block, reader_.Peek(head.block_bytes));
  if (!DecompressBlock(block, page)) {
    return Defect("decompress", fmt::format("page {}: not {} bytes", head.pgno, page.size()),
                  reader_.offset());
  }
  reader_.Skip(block.size());
  return absl::OkStatus();
}

absl::Status FileDecoder::ReadFrame(std::span<std::byte> page) {
  const uint64_t offset = reader_.offset();
  RETURN_IF_ERROR(frame_.Begin(&reader_));
  ASSIGN_OR_RETURN(const size_t n, frame_.Read(page));
  if (n == page.size()) {
    ASSIGN_OR_RETURN(const bool at_end, frame_.ReadEnd());
    if (at_end) return absl::OkStatus();
  }
  return Defect("decompress", fmt::format("LZ4 frame of other than {} bytes", page.size()), offset);
}

// Reads the page block of v1-raw, v1-lz4, and the page headers of v2.
absl::Status FileDecoder::ReadStreamed(std::span<std::byte> out) {
  if (encoding_ == Encoding::kV1Lz4) {
    ASSIGN_OR_RETURN(const size_t n, frame_.Read(out));
    if (n == out.size()) return absl::OkStatus();
    return Defect("truncated", "pages end inside their LZ4 frame", reader_.offset());
  }
  ASSIGN_OR_RETURN(const auto bytes, reader_.Peek(out.size()));
  std::ranges::copy(bytes, out.begin());
  reader_.Skip(bytes.size());
  return absl::OkStatus();
}

absl::Status FileDecoder::Finish() {
  bool index_agrees = true;
  const uint64_t index_offset = reader_.offset();
  if (has_index()) {
    ASSIGN_OR_RETURN(index_agrees, ReadIndex());
  } else {
    RETURN_IF_ERROR(FinishStream());
  }
  const uint64_t offset = reader_.offset();
  ASSIGN_OR_RETURN(const auto bytes, reader_.Peek(kTrailerBytes));
  trailer_ = DecodeTrailer(bytes.first<kTrailerBytes>());
  crc_ = Crc64(crc_, bytes.first(8));
  if (trailer_.file_checksum != (kChecksumFlag | crc_)) {
    return Defect(
        "file-checksum",
        fmt::format("{:016x}, content has {:016x}", trailer_.file_checksum, kChecksumFlag | crc_),
        offset + 8);
  }
  if (!index_agrees) return Defect("index", "does not agree with the pages", index_offset);
  return CheckTrailer(offset);
}

absl::Status FileDecoder::FinishStream() {
  if (encoding_ == Encoding::kV1Lz4) {
    ASSIGN_OR_RETURN(const bool at_end, frame_.ReadEnd());
    if (!at_end) return Defect("structure", "bytes after the last page", reader_.offset());
  }
  if (reader_.remaining() <= kTrailerBytes) return absl::OkStatus();
  return Defect("trailing-data", fmt::format("{} bytes", reader_.remaining() - kTrailerBytes),
                reader_.offset() + kTrailerBytes);
}

// Reads all up to the trailer, and returns whether it is the index of the pages seen, in the only
// form in which it is written.
absl::StatusOr<bool> FileDecoder::ReadIndex() {
  if (reader_.remaining() < kMinIndexBytes + kTrailerBytes) {
    return Defect("truncated", "no room for index and trailer", reader_.offset());
  }
  std::vector<std::byte> expected;
  EncodePageIndex(index_, &expected);
  uint64_t rest = reader_.remaining() - kTrailerBytes;
  bool agrees = rest == expected.size();
  for (size_t at = 0; rest != 0;) {
    ASSIGN_OR_RETURN(auto bytes, reader_.PeekSome());
    bytes = bytes.first(std::min<uint64_t>(bytes.size(), rest));
    crc_ = Crc64(crc_, bytes);
    agrees = agrees &&
             std::equal(bytes.begin(), bytes.end(), expected.begin() + static_cast<ptrdiff_t>(at));
    at += bytes.size();
    rest -= bytes.size();
    reader_.Skip(bytes.size());
  }
  return agrees;
}

absl::Status FileDecoder::CheckTrailer(uint64_t offset) const {
  const PageNo last = header_.commit == lock_page_ ? lock_page_ - 1 : header_.commit;
  if (header_.is_snapshot() && last_pgno_ != last) {
    return Defect("snapshot-incomplete", fmt::format("page {} is the last of {}", last_pgno_, last),
                  offset);
  }
  if (!header_.has_checksums()) {
    if (trailer_.post_apply == 0) return absl::OkStatus();
    return Defect("trailer", "post-apply checksum in a file without checksums", offset);
  }
  if ((trailer_.post_apply & kChecksumFlag) == 0) {
    return Defect("trailer", "post-apply checksum missing or without its flag bit", offset);
  }
  if ((header_.commit == 0 || header_.is_snapshot()) && trailer_.post_apply != database_) {
    return Defect("post-apply",
                  fmt::format("{:016x}, pages have {:016x}", trailer_.post_apply, database_),
                  offset);
  }
  return absl::OkStatus();
}

}  // namespace

const char* EncodingName(Encoding encoding) {
  switch (encoding) {
    case Encoding::kV1Raw:
      return "v1-raw";
    case Encoding::kV1Lz4:
      return "v1-lz4";
    case Encoding::kV2Frame:
      return "v2-frame";
    case Encoding::kV3:
      return "v3";
  }
  return "unknown";
}

absl::StatusOr<std::unique_ptr<Decoder>> Decoder::Open(ByteSource* source) {
  if (source->size() < kHeaderBytes) {
    return Defect("truncated", "file smaller than its header", source->size());
  }
  std::array<std::byte, kHeaderBytes> bytes;
  RETURN_IF_ERROR(source->ReadAt(bytes, 0));
  const absl::StatusOr<Header> header = DecodeHeader(bytes);
  if (!header.ok()) return absl::DataLossError(header.status().message());
  ASSIGN_OR_RETURN(const Encoding encoding, Detect(*source, *header));
  auto decoder = std::make_unique<FileDecoder>(source, *header, encoding, Crc64(0, bytes));
  RETURN_IF_ERROR(decoder->Start());
  return decoder;
}

absl::StatusOr<FileInfo> DecodeFile(
    ByteSource& source,
    const std::function<absl::Status(PageNo, std::span<const std::byte>)>& visit) {
  ASSIGN_OR_RETURN(const auto decoder, Decoder::Open(&source));
  FileInfo info{.header = decoder->header(), .trailer = {}, .encoding = decoder->encoding()};
  std::vector<std::byte> page(info.header.page_bytes);
  for (PageNo pgno = 0;; ++info.page_count) {
    ASSIGN_OR_RETURN(const bool more, decoder->Next(&pgno, page));
    if (!more) break;
    if (visit) RETURN_IF_ERROR(visit(pgno, page));
  }
  info.trailer = decoder->trailer();
  return info;
}

}  // namespace litefs::ltx
