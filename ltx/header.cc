#include "ltx/header.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "common/endian.h"
#include "common/sqlite_format.h"
#include "common/status_macros.h"

namespace litefs::ltx {
namespace {

constexpr char kMagic[4] = {'L', 'T', 'X', '1'};

// Where each field stands.  On disk: never change.
constexpr size_t kFlagsAt = 4;
constexpr size_t kPageBytesAt = 8;
constexpr size_t kCommitAt = 12;
constexpr size_t kMinTxIdAt = 16;
constexpr size_t kMaxTxIdAt = 24;
constexpr size_t kTimestampAt = 32;
constexpr size_t kPreApplyAt = 40;
constexpr size_t kWalOffsetAt = 48;
constexpr size_t kWalSizeAt = 56;
constexpr size_t kWalSalt1At = 64;
constexpr size_t kWalSalt2At = 68;
constexpr size_t kNodeIdAt = 72;
constexpr size_t kReservedAt = 80;
static_assert(kReservedAt + 20 == kHeaderBytes);

absl::Status Defect(const char* code, const std::string& what, size_t offset) {
  return absl::InvalidArgumentError(fmt::format("{}: {} at offset {}", code, what, offset));
}

absl::Status ValidateWal(const Header& h) {
  if (h.wal_offset < 0) return Defect("wal", "negative offset", kWalOffsetAt);
  if (h.wal_size < 0) return Defect("wal", "negative size", kWalSizeAt);
  if (h.wal_offset != 0) return absl::OkStatus();
  if (h.wal_salt1 != 0 || h.wal_salt2 != 0) return Defect("wal", "salt, no offset", kWalSalt1At);
  if (h.wal_size != 0) return Defect("wal", "size, but no offset", kWalSizeAt);
  return absl::OkStatus();
}

absl::Status ValidatePreApply(const Header& h) {
  if (h.is_snapshot() || !h.has_checksums()) {
    if (h.pre_apply == 0) return absl::OkStatus();
    return Defect("header",
                  h.is_snapshot() ? "pre-apply checksum on a snapshot"
                                  : "pre-apply checksum in a file without checksums",
                  kPreApplyAt);
  }
  if (h.pre_apply == 0) return Defect("header", "pre-apply checksum missing", kPreApplyAt);
  if ((h.pre_apply & kChecksumFlag) == 0) {
    return Defect("header", "pre-apply checksum without its flag bit", kPreApplyAt);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Validate(const Header& h) {
  if ((h.flags & ~(kFlagCompressLz4 | kFlagNoChecksum)) != 0) {
    return Defect("header-flags", fmt::format("unknown bits in {:#010x}", h.flags), kFlagsAt);
  }
  if (!std::has_single_bit(h.page_bytes) || h.page_bytes < sqlite::kMinPageBytes ||
      h.page_bytes > sqlite::kMaxPageBytes) {
    return Defect("page-size", fmt::format("{} bytes", h.page_bytes), kPageBytesAt);
  }
  if (h.min_txid == 0) return Defect("txid", "minimum is 0", kMinTxIdAt);
  if (h.max_txid == 0) return Defect("txid", "maximum is 0", kMaxTxIdAt);
  if (h.min_txid > h.max_txid) {
    return Defect("txid", fmt::format("{:016x} to {:016x}", h.min_txid, h.max_txid), kMinTxIdAt);
  }
  RETURN_IF_ERROR(ValidateWal(h));
  return ValidatePreApply(h);
}

std::array<std::byte, kHeaderBytes> Encode(const Header& header) {
  std::array<std::byte, kHeaderBytes> data{};
  std::byte* const p = data.data();
  std::memcpy(p, kMagic, sizeof(kMagic));
  StoreBig32(p + kFlagsAt, header.flags);
  StoreBig32(p + kPageBytesAt, header.page_bytes);
  StoreBig32(p + kCommitAt, header.commit);
  StoreBig64(p + kMinTxIdAt, header.min_txid);
  StoreBig64(p + kMaxTxIdAt, header.max_txid);
  StoreBig64(p + kTimestampAt, static_cast<uint64_t>(header.timestamp_ms));
  StoreBig64(p + kPreApplyAt, header.pre_apply);
  StoreBig64(p + kWalOffsetAt, static_cast<uint64_t>(header.wal_offset));
  StoreBig64(p + kWalSizeAt, static_cast<uint64_t>(header.wal_size));
  StoreBig32(p + kWalSalt1At, header.wal_salt1);
  StoreBig32(p + kWalSalt2At, header.wal_salt2);
  StoreBig64(p + kNodeIdAt, header.node_id);
  return data;
}

absl::StatusOr<Header> DecodeHeader(std::span<const std::byte, kHeaderBytes> data) {
  const std::byte* const p = data.data();
  if (std::memcmp(p, kMagic, sizeof(kMagic)) != 0) return Defect("magic", "not LTX1", 0);
  const Header header = {
      .flags = LoadBig32(p + kFlagsAt),
      .page_bytes = LoadBig32(p + kPageBytesAt),
      .commit = LoadBig32(p + kCommitAt),
      .min_txid = LoadBig64(p + kMinTxIdAt),
      .max_txid = LoadBig64(p + kMaxTxIdAt),
      .timestamp_ms = static_cast<int64_t>(LoadBig64(p + kTimestampAt)),
      .pre_apply = LoadBig64(p + kPreApplyAt),
      .wal_offset = static_cast<int64_t>(LoadBig64(p + kWalOffsetAt)),
      .wal_size = static_cast<int64_t>(LoadBig64(p + kWalSizeAt)),
      .wal_salt1 = LoadBig32(p + kWalSalt1At),
      .wal_salt2 = LoadBig32(p + kWalSalt2At),
      .node_id = LoadBig64(p + kNodeIdAt),
  };
  RETURN_IF_ERROR(Validate(header));
  return header;
}

std::array<std::byte, kTrailerBytes> Encode(const Trailer& trailer) {
  std::array<std::byte, kTrailerBytes> data;
  StoreBig64(data.data(), trailer.post_apply);
  StoreBig64(data.data() + 8, trailer.file_checksum);
  return data;
}

Trailer DecodeTrailer(std::span<const std::byte, kTrailerBytes> data) {
  return {.post_apply = LoadBig64(data.data()), .file_checksum = LoadBig64(data.data() + 8)};
}

}  // namespace litefs::ltx
