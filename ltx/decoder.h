// Decoder: reads one LTX file of any released encoding (v1-raw, v1-lz4, v2-frame, v3-frame,
// v3-block; docs/LTX.md section 0), strictly: whatever the specification's writer could not have
// written is refused, with an error that names the defect and the byte offset:
// "page-order: page 7 after page 9 at offset 4711".  Not thread-safe.
//
// Memory: a window of at most 128 KiB, the page numbers, and for LZ4 frames what liblz4 needs for
// the largest block size (8 MiB); whatever the file claims.
//
// Use: Open; Next until false; trailer().  Pages must not be believed before Next has returned
// false, since the file checksum stands at the end; VerifyFile does a whole pass first.

#pragma once

#include <functional>
#include <memory>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ltx/byte_stream.h"
#include "ltx/header.h"
#include "ltx/page_index.h"

namespace litefs::ltx {

enum class Encoding { kV1Raw, kV1Lz4, kV2Frame, kV3 };  // kV3: frames and blocks, page by page
const char* EncodingName(Encoding encoding);

class Decoder {
 public:
  // Reads the header and detects the encoding.  source must outlive the decoder.
  // Errors of content are kDataLoss; of reading, the source's.
  static absl::StatusOr<std::unique_ptr<Decoder>> Open(ByteSource* source);
  virtual ~Decoder() = default;

  virtual const Header& header() const = 0;
  virtual Encoding encoding() const = 0;

  // Reads the next page into page (header().page_bytes long) and sets *pgno.  Returns false after
  // the last page, when index, trailer and file checksum have been verified.
  virtual absl::StatusOr<bool> Next(PageNo* pgno, std::span<std::byte> page) = 0;

  // crc64 of the bytes of the page that Next has read last, as Encoder::AddPageWithCrc takes it.
  virtual uint64_t page_crc() const = 0;

  // REQUIRES: Next has returned false.
  virtual const Trailer& trailer() const = 0;
  virtual const PageIndex& index() const = 0;  // empty for v1
};

struct FileInfo {
  Header header;
  Trailer trailer;
  Encoding encoding = Encoding::kV3;
  uint64_t page_count = 0;
};

// Decodes source to its end, giving each page to visit, which may be null.
absl::StatusOr<FileInfo> DecodeFile(
    ByteSource& source,
    const std::function<absl::Status(PageNo, std::span<const std::byte>)>& visit);
inline absl::StatusOr<FileInfo> VerifyFile(ByteSource& source) {
  return DecodeFile(source, nullptr);
}

}  // namespace litefs::ltx
