// { uvarint pgno, uvarint offset, uvarint size }* 00 be64(bytes up to here): docs/LTX.md section 5.

#include "ltx/page_index.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>

#include "common/endian.h"
#include "common/status_macros.h"
#include "ltx/format.h"
#include "ltx/header.h"
#include "ltx/lz4_frame.h"
#include "ltx/lz4_page.h"

namespace litefs::ltx {
namespace {

constexpr size_t kMaxVarintBytes = 10;
constexpr size_t kMinEntryBytes = 3;

void AppendVarint(uint64_t v, std::vector<std::byte>* out) {
  for (; v >= 0x80; v >>= 7) out->push_back(static_cast<std::byte>(v | 0x80));
  out->push_back(static_cast<std::byte>(v));
}

size_t VarintBytes(uint64_t v) {
  size_t n = 1;
  for (; v >= 0x80; v >>= 7) ++n;
  return n;
}

absl::Status IndexDefect(const std::string& what, size_t at) {
  return absl::DataLossError(fmt::format("index: {} at offset {} of the index", what, at));
}

// Reads the shortest form only, the one that AppendVarint writes.
absl::Status ReadVarint(std::span<const std::byte> data, size_t* at, uint64_t* v) {
  *v = 0;
  for (size_t i = 0; i < kMaxVarintBytes && *at < data.size(); ++i) {
    const auto byte = static_cast<uint64_t>(data[(*at)++]);
    if (i == kMaxVarintBytes - 1 && byte > 1) return IndexDefect("number over 64 bits", *at - 1);
    *v |= (byte & 0x7f) << (7 * i);
    if (byte < 0x80) {
      if (byte == 0 && i != 0) return IndexDefect("number not in its shortest form", *at - 1);
      return absl::OkStatus();
    }
  }
  return IndexDefect("number cut off", *at);
}

absl::Status CheckEntry(const PageIndexEntry& entry, uint64_t pgno, const PageIndexEntry* previous,
                        size_t at) {
  if (pgno > std::numeric_limits<PageNo>::max()) return IndexDefect("page number too large", at);
  if (previous != nullptr && pgno <= previous->pgno) {
    return IndexDefect(fmt::format("page {} after page {}", pgno, previous->pgno), at);
  }
  const uint64_t free_from = previous == nullptr ? kHeaderBytes : previous->offset + previous->size;
  if (entry.offset < free_from) return IndexDefect("frames overlap", at);
  if (entry.size > std::numeric_limits<uint64_t>::max() - entry.offset) {
    return IndexDefect("frame size overflows", at);
  }
  return absl::OkStatus();
}

// The payload of a frame without a size field: one LZ4 frame to the frame's end.
absl::Status DecodeLz4Frame(SourceReader* reader, std::span<std::byte> page) {
  Lz4FrameReader frame;
  RETURN_IF_ERROR(frame.Begin(reader));
  ASSIGN_OR_RETURN(const size_t n, frame.Read(page));
  ASSIGN_OR_RETURN(const bool at_end, frame.ReadEnd());
  if (n == page.size() && at_end) return absl::OkStatus();
  return Defect("decompress", fmt::format("not {} bytes", page.size()), reader->offset());
}

}  // namespace

void EncodePageIndex(const PageIndex& index, std::vector<std::byte>* out) {
  const size_t begin = out->size();
  for (const PageIndexEntry& entry : index) {
    AppendVarint(entry.pgno, out);
    AppendVarint(entry.offset, out);
    AppendVarint(entry.size, out);
  }
  AppendVarint(0, out);
  const size_t length = out->size() - begin;
  out->resize(out->size() + kIndexLengthBytes);
  StoreBig64(out->data() + out->size() - kIndexLengthBytes, length);
}

size_t IndexEntryBytes(const PageIndexEntry& entry) {
  return VarintBytes(entry.pgno) + VarintBytes(entry.offset) + VarintBytes(entry.size);
}

absl::StatusOr<PageIndex> DecodePageIndex(std::span<const std::byte> data) {
  PageIndex index;
  index.reserve(data.size() / kMinEntryBytes / 2);
  size_t at = 0;
  for (;;) {
    const size_t entry_at = at;
    uint64_t pgno = 0;
    RETURN_IF_ERROR(ReadVarint(data, &at, &pgno));
    if (pgno == 0) break;
    PageIndexEntry entry{.pgno = static_cast<PageNo>(pgno)};
    RETURN_IF_ERROR(ReadVarint(data, &at, &entry.offset));
    RETURN_IF_ERROR(ReadVarint(data, &at, &entry.size));
    RETURN_IF_ERROR(CheckEntry(entry, pgno, index.empty() ? nullptr : &index.back(), entry_at));
    index.push_back(entry);
  }
  if (at != data.size()) return IndexDefect("bytes after its end", at);
  return index;
}

absl::StatusOr<PageIndex> ReadPageIndex(ByteSource& source) {
  constexpr uint64_t kTailBytes = kIndexLengthBytes + kTrailerBytes;
  constexpr uint64_t kAroundBytes = kHeaderBytes + kPageHeaderBytes + kTailBytes;
  const uint64_t size = source.size();
  if (size < kAroundBytes + 1) return Defect("truncated", "no room for a page index", size);
  std::array<std::byte, kIndexLengthBytes> length_field;
  RETURN_IF_ERROR(source.ReadAt(length_field, size - kTailBytes));
  const uint64_t length = LoadBig64(length_field.data());
  if (length == 0 || length > size - kAroundBytes) {
    return Defect("index", fmt::format("length {}", length), size - kTailBytes);
  }
  std::vector<std::byte> data(kPageHeaderBytes + length);
  const uint64_t end_of_pages = size - kTailBytes - data.size();
  RETURN_IF_ERROR(source.ReadAt(data, end_of_pages));
  const std::span<const std::byte> all = data;
  if (std::ranges::any_of(all.first(kPageHeaderBytes),
                          [](std::byte b) { return b != std::byte{}; })) {
    return Defect("index", "no end of the pages before it", end_of_pages);
  }
  ASSIGN_OR_RETURN(PageIndex index, DecodePageIndex(all.subspan(kPageHeaderBytes)));
  if (!index.empty() && index.back().offset + index.back().size > end_of_pages) {
    return Defect("index", "frame beyond the end of the pages", end_of_pages + kPageHeaderBytes);
  }
  return index;
}

absl::Status ReadPage(ByteSource& source, const PageIndex& index, PageNo pgno,
                      std::span<std::byte> page) {
  const auto entry = std::ranges::lower_bound(index, pgno, {}, &PageIndexEntry::pgno);
  if (entry == index.end() || entry->pgno != pgno) {
    return absl::NotFoundError(fmt::format("page {} is not in the file", pgno));
  }
  if (entry->offset > source.size() || entry->size > source.size() - entry->offset) {
    return Defect("truncated", fmt::format("frame of page {}", pgno), entry->offset);
  }
  SourceReader reader(&source, entry->offset, entry->offset + entry->size);
  ASSIGN_OR_RETURN(const auto head, reader.Peek(kPageHeaderBytes));
  const uint16_t flags = LoadBig16(head.data() + 4);
  if (LoadBig32(head.data()) != pgno || (flags & ~kPageFlagSize) != 0) {
    return Defect("index", fmt::format("no frame of page {}", pgno), entry->offset);
  }
  reader.Skip(kPageHeaderBytes);
  if ((flags & kPageFlagSize) == 0) {
    RETURN_IF_ERROR(DecodeLz4Frame(&reader, page));
  } else {
    ASSIGN_OR_RETURN(const auto size_field, reader.Peek(kSizeFieldBytes));
    const uint32_t n = LoadBig32(size_field.data());
    if (n > MaxBlockBytes(page.size())) {
      return Defect("page-size-field", fmt::format("{} bytes", n), reader.offset());
    }
    reader.Skip(kSizeFieldBytes);
    ASSIGN_OR_RETURN(const auto block, reader.Peek(n));
    if (!DecompressBlock(block, page)) {
      return Defect("decompress", fmt::format("page {}", pgno), reader.offset());
    }
    reader.Skip(n);
  }
  if (reader.offset() == entry->offset + entry->size) return absl::OkStatus();
  return Defect("index", fmt::format("frame of page {} is not {} bytes", pgno, entry->size),
                entry->offset);
}

}  // namespace litefs::ltx
