#include "daemon/sqlite/journal_format.h"

#include <cstring>

#include "common/endian.h"

namespace litefs::sqlite {

void EncodeJournalHeader(const JournalHeader& header,
                         std::span<std::byte, kJournalHeaderBytes> out) {
  std::memcpy(&out[0], kJournalMagic, sizeof(kJournalMagic));
  StoreBig32(&out[8], header.record_count);
  StoreBig32(&out[12], header.nonce);
  StoreBig32(&out[16], header.original_pages);
  StoreBig32(&out[20], header.sector_bytes);
  StoreBig32(&out[24], header.page_bytes);
}

uint32_t JournalRecordChecksum(uint32_t nonce, std::span<const std::byte> page) {
  constexpr size_t kStep = 200;
  uint32_t sum = nonce;
  for (size_t i = page.size() - kStep; i > 0 && i < page.size(); i -= kStep) {
    sum += static_cast<uint32_t>(page[i]);
  }
  return sum;
}

}  // namespace litefs::sqlite
