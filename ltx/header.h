// The 100-byte header and the 16-byte trailer of an LTX file (docs/LTX.md sections 2 and 6).

#pragma once

#include <array>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ltx/types.h"

namespace litefs::ltx {

inline constexpr size_t kHeaderBytes = 100;
inline constexpr size_t kTrailerBytes = 16;

// Header flags; any other bit is an error.
inline constexpr uint32_t kFlagCompressLz4 = 0x1;  // only in v1 files
inline constexpr uint32_t kFlagNoChecksum = 0x2;

struct Header {
  uint32_t flags = 0;
  uint32_t page_bytes = 0;
  PageNo commit = 0;  // database size in pages after the file is applied; 0: database deleted
  TxId min_txid = 0;
  TxId max_txid = 0;
  int64_t timestamp_ms = 0;  // since the Unix epoch
  Checksum pre_apply = 0;    // 0 for snapshots and without checksums
  int64_t wal_offset = 0;    // bytes into the WAL of the first frame; 0: not from a WAL
  int64_t wal_size = 0;      // bytes of WAL frames
  uint32_t wal_salt1 = 0;
  uint32_t wal_salt2 = 0;
  uint64_t node_id = 0;

  // A snapshot holds every page of the database but the lock page.
  bool is_snapshot() const { return min_txid == 1; }
  bool has_checksums() const { return (flags & kFlagNoChecksum) == 0; }

  friend bool operator==(const Header&, const Header&) = default;
};

struct Trailer {
  Checksum post_apply = 0;
  Checksum file_checksum = 0;

  friend bool operator==(const Trailer&, const Trailer&) = default;
};

// The first rule that header breaks, in the order of docs/LTX.md section 2.
absl::Status Validate(const Header& header);

std::array<std::byte, kHeaderBytes> Encode(const Header& header);
// Fails with kInvalidArgument naming the defect; the result satisfies Validate.
absl::StatusOr<Header> DecodeHeader(std::span<const std::byte, kHeaderBytes> data);

std::array<std::byte, kTrailerBytes> Encode(const Trailer& trailer);
Trailer DecodeTrailer(std::span<const std::byte, kTrailerBytes> data);

}  // namespace litefs::ltx
