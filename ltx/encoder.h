// Encoder: writes one LTX v3 file (v3-block, docs/LTX.md): header, pages in ascending order, page
// index, trailer.  Reuse one Encoder for many files: Begin resets it and keeps its buffers, so that
// steady use allocates nothing.  Not thread-safe.

#pragma once

#include <span>
#include <vector>

#include "absl/status/status.h"
#include "ltx/byte_stream.h"
#include "ltx/header.h"
#include "ltx/page_index.h"

namespace litefs::ltx {

class Encoder {
 public:
  enum class Compression { kLz4, kLiteralsOnly };  // literals: a valid LZ4 block, no effort

  // Starts a file on sink, which must outlive Finish.  Fails if header breaks a rule.
  absl::Status Begin(ByteSink* sink, const Header& header,
                     Compression compression = Compression::kLz4);

  // Adds a page of header.page_bytes.  Fails if pgno is 0, does not ascend, is beyond commit or is
  // the lock page, or leaves a hole in a snapshot.
  // REQUIRES: Begin succeeded.
  absl::Status AddPage(PageNo pgno, std::span<const std::byte> page);

  // As AddPage, when the caller knows crc64(page) of the page's bytes alone: saves a pass.
  absl::Status AddPageWithCrc(PageNo pgno, std::span<const std::byte> page, uint64_t page_crc);

  // Writes index and trailer.  post_apply must be 0 without checksums, else have kChecksumFlag,
  // and kEmptyDatabaseChecksum if commit is 0.  For a checksummed snapshot it must equal the
  // checksum of the pages added, and the pages must reach commit.
  // Returns the trailer; bytes_written() is then the file's size.
  absl::StatusOr<Trailer> Finish(Checksum post_apply);

  uint64_t bytes_written() const { return offset_; }

 private:
  absl::Status Write(std::span<const std::byte> data);

  ByteSink* sink_ = nullptr;
  Header header_;
  Compression compression_ = Compression::kLz4;
  uint64_t offset_ = 0;
  uint64_t crc_ = 0;       // of everything the file checksum covers, so far
  Checksum database_ = 0;  // XOR of the pages added, for snapshots
  PageNo last_pgno_ = 0;
  PageIndex index_;
  std::vector<std::byte> block_;  // one compressed page with its header
};

}  // namespace litefs::ltx
