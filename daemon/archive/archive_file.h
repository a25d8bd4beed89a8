// ArchiveFile: one file of an archive, as its name alone tells: docs/ARCHIVE.md, "Names".
//
//   litefs:      <database>/<level>/<min>-<max>-<before>-<after>-<time>-<epoch>.ltx[s][.age]
//   litestream:  [<database>/]ltx/<level>/<min>-<max>.ltx
//
// No state; any thread.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "ltx/types.h"

namespace litefs::archive {

inline constexpr int kSnapshotLevel = 9;
inline constexpr int kMaxDeltaLevel = 8;  // 0: as captured, 1 and up: compactions

// What stands in a name for a position: 64 bits of a SHA-256 of it.  Two files are neighbours if
// the links agree.  Not the checksum itself, whose differences would tell of the content of an
// encrypted file.  0: none (before a snapshot).
using Link = uint64_t;
Link LinkOf(const ltx::Position& position);

struct ArchiveFile {
  std::string name{};      // in the store
  std::string database{};  // empty: a Litestream archive of one database
  int level = 0;
  ltx::TxId min_txid = 0;
  ltx::TxId max_txid = 0;
  Link before = 0;
  Link after = 0;            // 0: unknown (Litestream)
  int64_t timestamp_ms = 0;  // of the last transaction; of a Litestream file, when it was stored
  uint32_t epoch = 0;        // of the writer that archived the last transaction
  uint64_t size_bytes = 0;   // as stored
  bool bundle = false;       // several LTX files (bundle.h)
  bool encrypted = false;
  bool litestream = false;

  bool is_snapshot() const { return min_txid == 1; }
  friend bool operator==(const ArchiveFile&, const ArchiveFile&) = default;
};

// The name of file, from its other members.
std::string FormatArchiveName(const ArchiveFile& file);
// nullopt unless name is exactly what FormatArchiveName writes, with 1 <= min <= max and a level
// that is one.  size_bytes stays 0.
std::optional<ArchiveFile> ParseArchiveName(std::string_view name);

// Litestream's 0-based listing of one database: name is relative to the store and ends in
// ltx/<level>/<min>-<max>.ltx.
std::optional<ArchiveFile> ParseLitestreamName(std::string_view name);

// The claim of an epoch: <database>/epochs/<epoch>, 8 hexadecimal digits.  Who has put it there
// (if_none_match) is the only writer of that epoch.
std::string EpochName(std::string_view database, uint32_t epoch);
struct EpochClaim {
  std::string database;
  uint32_t epoch = 0;
};
std::optional<EpochClaim> ParseEpochName(std::string_view name);

}  // namespace litefs::archive
