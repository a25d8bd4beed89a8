// Checksums of pages and databases (docs/LTX.md section 3).  Any thread.

#pragma once

#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "ltx/crc64.h"
#include "ltx/types.h"

namespace litefs::ltx {

// kChecksumFlag | crc64(be32(pgno) followed by page).
Checksum PageChecksum(PageNo pgno, std::span<const std::byte> page);

// The same for many pages of one size, from the crc64 of the page's bytes alone: when that is known
// for another reason, the page is not read twice.
class PageChecksummer {
 public:
  PageChecksummer() = default;
  explicit PageChecksummer(uint32_t page_bytes) : combiner_(page_bytes) {}
  Checksum FromCrc(PageNo pgno, uint64_t page_crc) const;
  // The CRC of what had checksum crc, followed by the page.
  uint64_t Append(uint64_t crc, uint64_t page_crc) const {
    return combiner_.Combine(crc, page_crc);
  }

 private:
  Crc64Combiner combiner_;
};

// database with one more page, or with that page taken out (XOR is its own inverse).
inline Checksum TogglePage(Checksum database, Checksum page) {
  return kChecksumFlag | (database ^ page);
}

// The checksum of the database whose content is in the file at path, whose page size is
// page_bytes.  The lock page is left out.  Fails (kFailedPrecondition) if the size is no multiple
// of page_bytes.
absl::StatusOr<Checksum> FileChecksum(const std::string& path, uint32_t page_bytes);

}  // namespace litefs::ltx
