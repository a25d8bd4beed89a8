// The rollback journal.  Source: sqlite.org/fileformat2.html, section 3, and pager.c.
// Pure functions; any thread.
//
//   header   28 bytes, padded with zeros to one sector
//   records  be32 page number, the page as it was before the transaction, be32 checksum

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "common/sqlite_format.h"

namespace litefs::sqlite {

// What we write; a reader takes the size from the header.  A journal is complete before it gets
// its name, so that torn sectors do not matter.
inline constexpr uint32_t kJournalSectorBytes = 512;

struct JournalHeader {
  uint32_t record_count = 0;
  uint32_t nonce = 0;           // start of every record's checksum
  uint32_t original_pages = 0;  // the database's size before the transaction
  uint32_t sector_bytes = kJournalSectorBytes;
  uint32_t page_bytes = 0;
};

void EncodeJournalHeader(const JournalHeader& header,
                         std::span<std::byte, kJournalHeaderBytes> out);

// The checksum of a record: the nonce plus every 200th byte of the page, counted from its end.
uint32_t JournalRecordChecksum(uint32_t nonce, std::span<const std::byte> page);

}  // namespace litefs::sqlite
