// Encoder: writes one LTX v3 file (v3-block, docs/LTX.md): header, pages in ascending order, page
// index, trailer.  Reuse one Encoder for many files: Begin resets it and keeps its buffers, so that
// steady use allocates nothing.  Not thread-safe.

#pragma once

#include <span>
#include <vector>

#include "absl/status/status.h"
#include "ltx/byte_stream.h"
#include "ltx/header.h"
#include "ltx/lz4_page.h"
#include "ltx/page_checksum.h"
#include "ltx/page_index.h"

namespace litefs::ltx {

class Encoder {
 public:
  enum class Compression { kLz4, kLiteralsOnly };  // literals: a valid LZ4 block, no effort

  // Starts a file on sink, which must outlive Finish.  Fails if header breaks a rule, or has
  // kFlagCompressLz4, which v3 does not know.  All of the encoder's own errors are
  // kInvalidArgument; an error of the sink is passed on.  After an error only Begin may follow.
  absl::Status Begin(ByteSink* sink, const Header& header,
                     Compression compression = Compression::kLz4);

  // Of the pages that follow.  REQUIRES: Begin succeeded.
  void SetCompression(Compression compression) { compression_ = compression; }

  // Adds a page of header.page_bytes.  Fails if pgno is 0, does not ascend, is beyond commit or is
  // the lock page, or leaves a hole in a snapshot.
  // REQUIRES: Begin succeeded.
  absl::Status AddPage(PageNo pgno, std::span<const std::byte> page);

  // As AddPage, when the caller knows crc64(page) of the page's bytes alone: saves a pass.
  absl::Status AddPageWithCrc(PageNo pgno, std::span<const std::byte> page, uint64_t page_crc);

  // Writes index and trailer.  post_apply must be 0 without checksums, else have kChecksumFlag,
  // and kEmptyDatabaseChecksum if commit is 0.  The pages of a snapshot must reach commit, and with
  // checksums post_apply must be that of the pages added.
  // Returns the trailer; bytes_written() is then the file's size.
  absl::StatusOr<Trailer> Finish(Checksum post_apply);

  uint64_t bytes_written() const { return offset_; }

 private:
  absl::Status Write(std::span<const std::byte> data);
  absl::Status CheckPage(PageNo pgno, std::span<const std::byte> page) const;
  absl::Status CheckPostApply(Checksum post_apply) const;

  ByteSink* sink_ = nullptr;
  Header header_;
  Compression compression_ = Compression::kLz4;
  PageChecksummer checksummer_;
  uint64_t offset_ = 0;
  uint64_t crc_ = 0;                            // of what the file checksum covers, so far
  Checksum database_ = kEmptyDatabaseChecksum;  // of the pages added, for snapshots
  PageNo last_pgno_ = 0;
  PageIndex index_;
  Lz4BlockWriter blocks_;
  std::vector<std::byte> frame_;  // one compressed page with its header
  std::vector<std::byte> tail_;   // end of the pages, index, trailer
};

// The size of a snapshot whose pages are stored as literals: it follows from the shape alone, so
// that the file can be announced before it is made.
uint64_t LiteralSnapshotBytes(uint32_t page_bytes, PageNo commit);

}  // namespace litefs::ltx
