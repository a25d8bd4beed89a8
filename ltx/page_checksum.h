// Checksums of pages and databases (docs/LTX.md section 3).  Any thread.

#pragma once

#include <span>

#include "absl/status/statusor.h"
#include "ltx/types.h"

namespace litefs::ltx {

// kChecksumFlag | crc64(be32(pgno) followed by page).
Checksum PageChecksum(PageNo pgno, std::span<const std::byte> page);

// database with one more page, or with that page taken out (XOR is its own inverse).
inline Checksum TogglePage(Checksum database, Checksum page) {
  return kChecksumFlag | (database ^ page);
}

// The checksum of the database whose content is in the file at path, whose page size is
// page_bytes.  The lock page is left out.  Fails if the size is no multiple of page_bytes.
absl::StatusOr<Checksum> FileChecksum(const std::string& path, uint32_t page_bytes);

}  // namespace litefs::ltx
