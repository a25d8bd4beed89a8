// The 100-byte header at the start of a database file.
// Source: sqlite.org/fileformat2.html, section 1.3.  Pure functions; any thread.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/status/statusor.h"

namespace litefs::sqlite {

struct DbHeader {
  uint32_t page_bytes = 0;  // 512 to 65536
  bool wal = false;         // the read version says that readers must look at the WAL
  uint32_t change_counter = 0;
  uint32_t size_pages = 0;  // see size_valid
  uint32_t version_valid_for = 0;

  // Whether size_pages is the size of the database.  Otherwise a library older than 3.7.0 wrote
  // it last, and the file's size is the database's.
  bool size_valid() const { return size_pages != 0 && change_counter == version_valid_for; }
};

// kDataLoss, naming the defect, if there are fewer than 100 bytes, or the magic, the page size or
// the version is not SQLite's.
absl::StatusOr<DbHeader> ParseDbHeader(std::span<const std::byte> first_100_bytes);

// Whether n is a power of two from 512 to 65536.
bool IsValidPageBytes(uint32_t n);

}  // namespace litefs::sqlite
