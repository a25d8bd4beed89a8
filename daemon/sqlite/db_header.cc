#include "daemon/sqlite/db_header.h"

#include <fmt/format.h>

#include <bit>

#include "common/endian.h"
#include "common/sqlite_format.h"

namespace litefs::sqlite {

bool IsValidPageBytes(uint32_t n) {
  return std::has_single_bit(n) && n >= kMinPageBytes && n <= kMaxPageBytes;
}

absl::StatusOr<DbHeader> ParseDbHeader(std::span<const std::byte> first_100_bytes) {
  const std::span<const std::byte> data = first_100_bytes;
  if (data.size() < kHeaderBytes) {
    return absl::DataLossError(
        fmt::format("database header: {} bytes, expected {}", data.size(), kHeaderBytes));
  }
  if (std::memcmp(data.data(), kMagic.data(), kMagic.size()) != 0) {
    return absl::DataLossError("database header: not SQLite's magic");
  }
  DbHeader header;
  const uint32_t stored = LoadBig16(&data[kPageSizeOffset]);
  header.page_bytes = stored == 1 ? kMaxPageBytes : stored;
  if (!IsValidPageBytes(header.page_bytes)) {
    return absl::DataLossError(fmt::format("database header: page size {}", stored));
  }
  const auto read_version = static_cast<unsigned>(data[kReadVersionOffset]);
  if (read_version != 1 && read_version != 2) {
    return absl::DataLossError(fmt::format("database header: read version {}", read_version));
  }
  header.wal = read_version == 2;
  header.change_counter = LoadBig32(&data[kChangeCounterOffset]);
  header.size_pages = LoadBig32(&data[kSizePagesOffset]);
  header.version_valid_for = LoadBig32(&data[kVersionValidForOffset]);
  return header;
}

}  // namespace litefs::sqlite
