// The wal-index (the -shm file): its layout, and reading it without mapping it.
// Source: sqlite.org/walformat.html and wal.c.  All numbers are in this machine's byte order,
// except the salts, which are the WAL header's bytes.
//
//   offset  bytes  of block 0
//        0     48  header, first copy
//       48     48  header, second copy; a writer writes this one first
//       96     40  checkpoint information
//      136  16248  page numbers of frames 1 to 4062
//    16384  16384  hash table: 8192 slots of 16 bits, each a frame's place in this block, or 0
//
// Every further block: 16384 bytes of page numbers (4096 frames), then its hash table.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/status/statusor.h"
#include "daemon/sqlite/wal_format.h"

namespace litefs::sqlite {

inline constexpr uint32_t kWalIndexVersion = 3007000;
inline constexpr size_t kWalIndexHeaderBytes = 48;
inline constexpr size_t kWalIndexHeaderBytesSummed = 40;
inline constexpr size_t kWalCheckpointInfoOffset = 2 * kWalIndexHeaderBytes;
inline constexpr size_t kWalBackfilledOffset = kWalCheckpointInfoOffset;
inline constexpr size_t kWalReadMarksOffset = kWalCheckpointInfoOffset + 4;
inline constexpr size_t kWalBackfillAttemptedOffset = kWalCheckpointInfoOffset + 32;
inline constexpr size_t kWalIndexPrefixBytes = 136;
inline constexpr uint32_t kWalReadMarkNotUsed = 0xffffffff;

inline constexpr size_t kWalIndexBlockBytes = 32768;
inline constexpr size_t kWalIndexHashOffset = 16384;  // in every block
inline constexpr uint32_t kWalIndexSlots = 8192;
inline constexpr uint32_t kWalIndexBlockFrames = 4096;
inline constexpr uint32_t kWalIndexFirstBlockFrames =
    kWalIndexBlockFrames - kWalIndexPrefixBytes / sizeof(uint32_t);
inline constexpr uint32_t kWalIndexHashFactor = 383;
static_assert(kWalIndexFirstBlockFrames == 4062, "wal.c, HASHTABLE_NPAGE_ONE");
static_assert(kWalIndexHashOffset + kWalIndexSlots * sizeof(uint16_t) == kWalIndexBlockBytes);

// The block that holds frame (the first is 1).
inline constexpr uint32_t WalIndexBlockOfFrame(uint32_t frame) {
  return (frame + kWalIndexBlockFrames - kWalIndexFirstBlockFrames - 1) / kWalIndexBlockFrames;
}
// The number of the frame before the block's first one.
inline constexpr uint32_t WalIndexBlockZero(uint32_t block) {
  return block == 0 ? 0 : kWalIndexFirstBlockFrames + (block - 1) * kWalIndexBlockFrames;
}

struct WalIndexHeader {
  uint32_t version = 0;
  uint32_t change = 0;     // counts transactions
  uint32_t max_frame = 0;  // the last committed frame; 0: the log is empty
  uint32_t page_count = 0;
  uint32_t salt1 = 0;  // as WalHeader's
  uint32_t salt2 = 0;
  uint32_t page_bytes = 0;
  bool is_init = false;
  bool big_endian_checksums = false;
  WalChecksum frame_checksum;  // of frame max_frame

  friend bool operator==(const WalIndexHeader&, const WalIndexHeader&) = default;
};

// Writes one copy, with its checksum.
void EncodeWalIndexHeader(const WalIndexHeader& header,
                          std::span<std::byte, kWalIndexHeaderBytes> out);
// Both copies, which must agree, be initialised and have a good checksum; kUnavailable otherwise.
absl::StatusOr<WalIndexHeader> DecodeWalIndexHeader(
    std::span<const std::byte, 2 * kWalIndexHeaderBytes> copies);

// Reads the header by pread: a process that truncates the file cannot hurt the reader.
// kUnavailable if it is not valid after a bounded number of tries: a writer was in the middle of
// it all the time, or died there, or nobody has initialised it.
absl::StatusOr<WalIndexHeader> ReadWalIndexHeader(int shm_fd);

struct WalCheckpointInfo {
  uint32_t backfilled = 0;      // frames 1 to this are in the database file
  uint32_t read_marks[5] = {};  // readers under lock READ(i) need the frames up to read_marks[i]
  uint32_t backfill_attempted = 0;
};

// Reads the checkpoint information by pread.  kUnavailable if the file is too short.
absl::StatusOr<WalCheckpointInfo> ReadWalCheckpointInfo(int shm_fd);

// Whether anybody but the descriptor's own holder has the wal-index open, that is, holds the
// dead-man lock.  If nobody does, its content means nothing.
absl::StatusOr<bool> WalIndexAlive(int shm_fd);

}  // namespace litefs::sqlite
