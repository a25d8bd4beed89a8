#include "daemon/sqlite/wal_format.h"

#include <fmt/format.h>

#include "common/check.h"
#include "common/endian.h"
#include "daemon/sqlite/db_header.h"

namespace litefs::sqlite {
namespace {

constexpr size_t kHeaderBytesSummed = 24;
constexpr size_t kFrameHeaderBytesSummed = 8;

template <bool kBigEndian>
WalChecksum Update(WalChecksum sum, std::span<const std::byte> data) {
  uint32_t s0 = sum.s0;
  uint32_t s1 = sum.s1;
  const std::byte* p = data.data();
  for (const std::byte* const end = p + data.size(); p != end; p += 8) {
    s0 += (kBigEndian ? LoadBig32(p) : LoadLittle32(p)) + s1;
    s1 += (kBigEndian ? LoadBig32(p + 4) : LoadLittle32(p + 4)) + s0;
  }
  return {.s0 = s0, .s1 = s1};
}

}  // namespace

WalChecksum UpdateWalChecksum(WalChecksum before, std::span<const std::byte> data,
                              bool big_endian) {
  CHECK(data.size() % 8 == 0);
  return big_endian ? Update<true>(before, data) : Update<false>(before, data);
}

absl::StatusOr<WalHeader> ParseWalHeader(std::span<const std::byte> data) {
  if (data.size() < kWalHeaderBytes) {
    return absl::DataLossError(
        fmt::format("WAL header: {} bytes, expected {}", data.size(), kWalHeaderBytes));
  }
  const uint32_t magic = LoadBig32(&data[0]);
  if (magic != kWalMagicLittle && magic != kWalMagicBig) {
    return absl::DataLossError(fmt::format("WAL header: magic {:08x}", magic));
  }
  if (const uint32_t version = LoadBig32(&data[4]); version != kWalVersion) {
    return absl::DataLossError(fmt::format("WAL header: version {}", version));
  }
  WalHeader header;
  header.big_endian_checksums = magic == kWalMagicBig;
  header.page_bytes = LoadBig32(&data[8]);
  header.sequence = LoadBig32(&data[12]);
  header.salt1 = LoadBig32(&data[16]);
  header.salt2 = LoadBig32(&data[20]);
  header.checksum = {.s0 = LoadBig32(&data[24]), .s1 = LoadBig32(&data[28])};
  if (!IsValidPageBytes(header.page_bytes)) {
    return absl::DataLossError(fmt::format("WAL header: page size {}", header.page_bytes));
  }
  if (UpdateWalChecksum({}, data.first(kHeaderBytesSummed), header.big_endian_checksums) !=
      header.checksum) {
    return absl::DataLossError("WAL header: checksum mismatch");
  }
  return header;
}

void EncodeWalHeader(const WalHeader& header, std::span<std::byte, kWalHeaderBytes> out) {
  StoreBig32(&out[0], header.big_endian_checksums ? kWalMagicBig : kWalMagicLittle);
  StoreBig32(&out[4], kWalVersion);
  StoreBig32(&out[8], header.page_bytes);
  StoreBig32(&out[12], header.sequence);
  StoreBig32(&out[16], header.salt1);
  StoreBig32(&out[20], header.salt2);
  const WalChecksum sum =
      UpdateWalChecksum({}, out.first(kHeaderBytesSummed), header.big_endian_checksums);
  StoreBig32(&out[24], sum.s0);
  StoreBig32(&out[28], sum.s1);
}

WalFrameHeader ParseWalFrameHeader(std::span<const std::byte> data) {
  CHECK(data.size() >= kWalFrameHeaderBytes);
  WalFrameHeader header;
  header.pgno = LoadBig32(&data[0]);
  header.commit = LoadBig32(&data[4]);
  header.salt1 = LoadBig32(&data[8]);
  header.salt2 = LoadBig32(&data[12]);
  header.checksum = {.s0 = LoadBig32(&data[16]), .s1 = LoadBig32(&data[20])};
  return header;
}

void EncodeWalFrameHeader(const WalFrameHeader& header,
                          std::span<std::byte, kWalFrameHeaderBytes> out) {
  StoreBig32(&out[0], header.pgno);
  StoreBig32(&out[4], header.commit);
  StoreBig32(&out[8], header.salt1);
  StoreBig32(&out[12], header.salt2);
  StoreBig32(&out[16], header.checksum.s0);
  StoreBig32(&out[20], header.checksum.s1);
}

WalChecksum WalFrameChecksum(WalChecksum before, const WalFrameHeader& header,
                             std::span<const std::byte> page, bool big_endian) {
  std::byte start[kFrameHeaderBytesSummed];
  StoreBig32(&start[0], header.pgno);
  StoreBig32(&start[4], header.commit);
  return UpdateWalChecksum(UpdateWalChecksum(before, start, big_endian), page, big_endian);
}

}  // namespace litefs::sqlite
