#include "daemon/sqlite/wal_index.h"

#include <array>
#include <cstring>

#include "common/endian.h"
#include "common/posix_io.h"
#include "common/status_macros.h"
#include "daemon/sqlite/file_lock.h"

namespace litefs::sqlite {
namespace {

// A writer is between the two copies for well under a microsecond.
constexpr int kMaxTries = 1000;

// Offsets in one copy of the header (wal.c, struct WalIndexHdr).
constexpr size_t kVersion = 0;
constexpr size_t kChange = 8;
constexpr size_t kIsInit = 12;
constexpr size_t kBigEndian = 13;
constexpr size_t kPageSize = 14;
constexpr size_t kMaxFrame = 16;
constexpr size_t kPageCount = 20;
constexpr size_t kFrameChecksum = 24;
constexpr size_t kSalts = 32;
constexpr size_t kChecksum = 40;

}  // namespace

void EncodeWalIndexHeader(const WalIndexHeader& header,
                          std::span<std::byte, kWalIndexHeaderBytes> out) {
  std::memset(out.data(), 0, out.size());
  StoreLittle32(&out[kVersion], header.version);
  StoreLittle32(&out[kChange], header.change);
  out[kIsInit] = std::byte{header.is_init};
  out[kBigEndian] = std::byte{header.big_endian_checksums};
  // 65536 is stored as 1, as in the database header.
  const auto page_size =
      static_cast<uint16_t>((header.page_bytes & 0xff00) | (header.page_bytes >> 16));
  std::memcpy(&out[kPageSize], &page_size, sizeof(page_size));
  StoreLittle32(&out[kMaxFrame], header.max_frame);
  StoreLittle32(&out[kPageCount], header.page_count);
  StoreLittle32(&out[kFrameChecksum], header.frame_checksum.s0);
  StoreLittle32(&out[kFrameChecksum + 4], header.frame_checksum.s1);
  StoreBig32(&out[kSalts], header.salt1);
  StoreBig32(&out[kSalts + 4], header.salt2);
  const WalChecksum sum =
      UpdateWalChecksum({}, out.first(kWalIndexHeaderBytesSummed), /*big_endian=*/false);
  StoreLittle32(&out[kChecksum], sum.s0);
  StoreLittle32(&out[kChecksum + 4], sum.s1);
}

absl::StatusOr<WalIndexHeader> DecodeWalIndexHeader(
    std::span<const std::byte, 2 * kWalIndexHeaderBytes> copies) {
  const auto data = copies.first<kWalIndexHeaderBytes>();
  if (std::memcmp(data.data(), copies.data() + kWalIndexHeaderBytes, kWalIndexHeaderBytes) != 0) {
    return absl::UnavailableError("wal-index: the two copies of the header differ");
  }
  WalIndexHeader header;
  header.is_init = data[kIsInit] != std::byte{0};
  if (!header.is_init) return absl::UnavailableError("wal-index: not initialised");
  const WalChecksum sum{.s0 = LoadLittle32(&data[kChecksum]),
                        .s1 = LoadLittle32(&data[kChecksum + 4])};
  if (UpdateWalChecksum({}, data.first(kWalIndexHeaderBytesSummed), /*big_endian=*/false) != sum) {
    return absl::UnavailableError("wal-index: header checksum mismatch");
  }
  header.version = LoadLittle32(&data[kVersion]);
  header.change = LoadLittle32(&data[kChange]);
  header.big_endian_checksums = data[kBigEndian] != std::byte{0};
  uint16_t page_size;
  std::memcpy(&page_size, &data[kPageSize], sizeof(page_size));
  header.page_bytes = (page_size & 0xfe00u) + ((page_size & 1u) << 16);
  header.max_frame = LoadLittle32(&data[kMaxFrame]);
  header.page_count = LoadLittle32(&data[kPageCount]);
  header.frame_checksum = {.s0 = LoadLittle32(&data[kFrameChecksum]),
                           .s1 = LoadLittle32(&data[kFrameChecksum + 4])};
  header.salt1 = LoadBig32(&data[kSalts]);
  header.salt2 = LoadBig32(&data[kSalts + 4]);
  return header;
}

absl::StatusOr<WalIndexHeader> ReadWalIndexHeader(int shm_fd) {
  absl::Status last;
  for (int i = 0; i < kMaxTries; ++i) {
    std::array<std::byte, 2 * kWalIndexHeaderBytes> copies;
    ASSIGN_OR_RETURN(const size_t n, ReadAt(shm_fd, copies, 0, "wal-index"));
    if (n < copies.size()) return absl::UnavailableError("wal-index: no header yet");
    absl::StatusOr<WalIndexHeader> header = DecodeWalIndexHeader(copies);
    if (header.ok()) return header;
    last = header.status();
  }
  return last;
}

absl::StatusOr<WalCheckpointInfo> ReadWalCheckpointInfo(int shm_fd) {
  std::array<std::byte, kWalIndexPrefixBytes> data;
  ASSIGN_OR_RETURN(const size_t n, ReadAt(shm_fd, data, 0, "wal-index"));
  if (n < data.size()) return absl::UnavailableError("wal-index: no checkpoint information yet");
  WalCheckpointInfo info;
  info.backfilled = LoadLittle32(&data[kWalBackfilledOffset]);
  std::memcpy(info.read_marks, &data[kWalReadMarksOffset], sizeof(info.read_marks));
  info.backfill_attempted = LoadLittle32(&data[kWalBackfillAttemptedOffset]);
  return info;
}

absl::StatusOr<bool> WalIndexAlive(int shm_fd) { return IsLocked(shm_fd, kShmDeadManLock, 1); }

}  // namespace litefs::sqlite
