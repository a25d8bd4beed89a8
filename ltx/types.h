// The quantities of LTX, each a type of its own so that they cannot be mixed up, and their text
// forms.  Source: docs/LTX.md sections 1, 3 and 8.  Any thread.

#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace litefs::ltx {

// A page's number in the database; the first page is 1.
using PageNo = uint32_t;

// A transaction's number; the first transaction of a database is 1, and 0 means "none yet".
using TxId = uint64_t;

// Set in every stored checksum, so that a checksum is never 0.
inline constexpr uint64_t kChecksumFlag = uint64_t{1} << 63;

// CRC-64/GO-ISO of a page, or the XOR of them over a database, with kChecksumFlag.
// 0 means "not tracked".
using Checksum = uint64_t;

// The checksum of a database without pages.
inline constexpr Checksum kEmptyDatabaseChecksum = kChecksumFlag;

// The state of a database: its last transaction and the checksum of its content after it.
struct Position {
  TxId txid = 0;
  Checksum checksum = kEmptyDatabaseChecksum;

  friend bool operator==(const Position&, const Position&) = default;
};

// "000000000000002a/d140aa9888888888", 33 characters.
std::string FormatPosition(const Position& position);
std::optional<Position> ParsePosition(std::string_view text);

// "<min>-<max>.ltx", each 16 lower-case hexadecimal digits.
std::string FormatFileName(TxId min_txid, TxId max_txid);
void AppendFileName(TxId min_txid, TxId max_txid, std::string* path);
struct TxIdRange {
  TxId min_txid = 0;
  TxId max_txid = 0;
};
// nullopt unless name is exactly what FormatFileName writes, with 1 <= min <= max.
std::optional<TxIdRange> ParseFileName(std::string_view name);

}  // namespace litefs::ltx
