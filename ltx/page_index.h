// The page index of an LTX v3 file: where each page's frame lies (docs/LTX.md section 5).

#pragma once

#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "ltx/byte_stream.h"
#include "ltx/types.h"

namespace litefs::ltx {

struct PageIndexEntry {
  PageNo pgno = 0;
  uint64_t offset = 0;  // bytes from the start of the file to the page's header
  uint64_t size = 0;    // bytes of the whole frame: page header, size field, payload

  friend bool operator==(const PageIndexEntry&, const PageIndexEntry&) = default;
};
using PageIndex = std::vector<PageIndexEntry>;

// Appends the index with its terminator and its 8-byte length to out.
void EncodePageIndex(const PageIndex& index, std::vector<std::byte>* out);

// What an entry takes of the encoded index.
size_t IndexEntryBytes(const PageIndexEntry& entry);

// Decodes the varint part (without the 8-byte length).  Fails on anything that does not ascend,
// overflows or is left over.
absl::StatusOr<PageIndex> DecodePageIndex(std::span<const std::byte> data);

// Finds the index of a v3 file from its end, without reading the pages.  Not verified against
// the file checksum: check the page's own checksum, or use Decoder.
absl::StatusOr<PageIndex> ReadPageIndex(ByteSource& source);

// Reads one page through the index: random access.  page.size() is the file's page size.
// kNotFound if the file does not have the page.
absl::Status ReadPage(ByteSource& source, const PageIndex& index, PageNo pgno,
                      std::span<std::byte> page);

}  // namespace litefs::ltx
