// The write-ahead log: header, frame headers and their chained checksum.
// Source: sqlite.org/fileformat2.html, section 4, and wal.c.  Pure functions; any thread.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/status/statusor.h"
#include "common/sqlite_format.h"

namespace litefs::sqlite {

struct WalChecksum {
  uint32_t s0 = 0;
  uint32_t s1 = 0;
  friend bool operator==(const WalChecksum&, const WalChecksum&) = default;
};

// The checksum of what before covers, followed by data.  big_endian is the order of the words as
// the WAL's magic says, whatever this machine's order.
// REQUIRES: data.size() is a multiple of 8.
WalChecksum UpdateWalChecksum(WalChecksum before, std::span<const std::byte> data, bool big_endian);

struct WalHeader {
  bool big_endian_checksums = false;
  uint32_t page_bytes = 0;
  uint32_t sequence = 0;  // counts the restarts of the log
  uint32_t salt1 = 0;
  uint32_t salt2 = 0;
  WalChecksum checksum;  // of the first 24 bytes; the first frame's chain starts here
};

// kDataLoss, naming the defect, if there are fewer than 32 bytes, or magic, version, page size or
// checksum is wrong.
absl::StatusOr<WalHeader> ParseWalHeader(std::span<const std::byte> data);
// Writes header; its checksum member is ignored: the true one is computed and stored.
void EncodeWalHeader(const WalHeader& header, std::span<std::byte, kWalHeaderBytes> out);

struct WalFrameHeader {
  uint32_t pgno = 0;
  uint32_t commit = 0;  // the database's size in pages after the transaction; 0: not its last frame
  uint32_t salt1 = 0;
  uint32_t salt2 = 0;
  WalChecksum checksum;  // of everything up to and including this frame's page
};

// Checks nothing.  REQUIRES: data.size() >= 24.
WalFrameHeader ParseWalFrameHeader(std::span<const std::byte> data);
// Writes header as it stands, its checksum member included.
void EncodeWalFrameHeader(const WalFrameHeader& header,
                          std::span<std::byte, kWalFrameHeaderBytes> out);

// The checksum of a frame: before, then the first 8 bytes of its header, then its page.
WalChecksum WalFrameChecksum(WalChecksum before, const WalFrameHeader& header,
                             std::span<const std::byte> page, bool big_endian);

// Where frame (the first is 1) begins in the file.
inline constexpr uint64_t WalFrameOffset(uint32_t frame, uint32_t page_bytes) {
  return kWalHeaderBytes + uint64_t{frame - 1} * (kWalFrameHeaderBytes + page_bytes);
}

}  // namespace litefs::sqlite
