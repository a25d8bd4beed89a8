#include "ltx/types.h"

#include "common/hex.h"

namespace litefs::ltx {
namespace {

constexpr size_t kHexDigits = 16;
constexpr std::string_view kSuffix = ".ltx";

bool IsLowerHex(std::string_view text) {
  return text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

}  // namespace

std::string FormatPosition(const Position& position) {
  return Hex16(position.txid) + "/" + Hex16(position.checksum);
}

std::optional<Position> ParsePosition(std::string_view text) {
  if (text.size() != 2 * kHexDigits + 1 || text[kHexDigits] != '/') return std::nullopt;
  const auto txid = ParseHex16(text.substr(0, kHexDigits));
  const auto checksum = ParseHex16(text.substr(kHexDigits + 1));
  if (!txid || !checksum) return std::nullopt;
  return Position{.txid = *txid, .checksum = *checksum};
}

void AppendFileName(TxId min_txid, TxId max_txid, std::string* path) {
  AppendHex16(min_txid, path);
  path->push_back('-');
  AppendHex16(max_txid, path);
  path->append(kSuffix);
}

std::string FormatFileName(TxId min_txid, TxId max_txid) {
  std::string name;
  AppendFileName(min_txid, max_txid, &name);
  return name;
}

std::optional<TxIdRange> ParseFileName(std::string_view name) {
  if (name.size() != 2 * kHexDigits + 1 + kSuffix.size() || name[kHexDigits] != '-' ||
      !name.ends_with(kSuffix)) {
    return std::nullopt;
  }
  const std::string_view min_text = name.substr(0, kHexDigits);
  const std::string_view max_text = name.substr(kHexDigits + 1, kHexDigits);
  if (!IsLowerHex(min_text) || !IsLowerHex(max_text)) return std::nullopt;
  const auto min_txid = ParseHex16(min_text);
  const auto max_txid = ParseHex16(max_text);
  if (!min_txid || !max_txid || *min_txid == 0 || *min_txid > *max_txid) return std::nullopt;
  return TxIdRange{.min_txid = *min_txid, .max_txid = *max_txid};
}

}  // namespace litefs::ltx
