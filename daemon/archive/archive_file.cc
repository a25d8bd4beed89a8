#include "daemon/archive/archive_file.h"

#include <fmt/format.h>
#include <openssl/sha.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <vector>

#include "common/endian.h"
#include "common/hex.h"

namespace litefs::archive {
namespace {

constexpr std::string_view kPlain = ".ltx";
constexpr std::string_view kBundle = ".ltxs";
constexpr std::string_view kAge = ".age";
constexpr size_t kTimeDigits = 12;
constexpr size_t kEpochDigits = 8;

// Exactly digits lower-case hexadecimal digits.
std::optional<uint64_t> ParseHex(std::string_view text, size_t digits) {
  if (text.size() != digits) return std::nullopt;
  const bool hex = std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
  });
  uint64_t value = 0;
  if (!hex || std::from_chars(text.data(), text.data() + digits, value, 16).ec != std::errc()) {
    return std::nullopt;
  }
  return value;
}

std::vector<std::string_view> Split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (true) {
    const size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

std::optional<int> ParseLevel(std::string_view text) {
  if (text.size() != 1 || text[0] < '0' || text[0] > '9') return std::nullopt;
  return text[0] - '0';
}

bool TakeSuffix(std::string_view* text, std::string_view suffix) {
  if (!text->ends_with(suffix)) return false;
  text->remove_suffix(suffix.size());
  return true;
}

bool ParseStem(std::string_view stem, ArchiveFile* file) {
  const std::vector<std::string_view> parts = Split(stem, '-');
  if (parts.size() != 6) return false;
  std::array<uint64_t, 6> values{};
  for (size_t i = 0; i < parts.size(); ++i) {
    const size_t digits = i < 4 ? 16 : i == 4 ? kTimeDigits : kEpochDigits;
    const auto value = ParseHex(parts[i], digits);
    if (!value) return false;
    values[i] = *value;
  }
  file->min_txid = values[0];
  file->max_txid = values[1];
  file->before = values[2];
  file->after = values[3];
  file->timestamp_ms = static_cast<int64_t>(values[4]);
  file->epoch = static_cast<uint32_t>(values[5]);
  return file->min_txid >= 1 && file->min_txid <= file->max_txid && file->after != 0 &&
         (file->before == 0) == file->is_snapshot();
}

}  // namespace

Link LinkOf(const ltx::Position& position) {
  if (position.txid == 0) return 0;
  constexpr std::string_view kDomain = "litefs archive position";
  std::array<unsigned char, kDomain.size() + 16> text;
  std::memcpy(text.data(), kDomain.data(), kDomain.size());
  StoreBig64(text.data() + kDomain.size(), position.txid);
  StoreBig64(text.data() + kDomain.size() + 8, position.checksum);
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest;
  ::SHA256(text.data(), text.size(), digest.data());
  return std::max<Link>(LoadBig64(digest.data()), 1);
}

std::string FormatArchiveName(const ArchiveFile& file) {
  if (file.litestream) {
    const std::string parent = file.database.empty() ? "" : file.database + "/";
    return fmt::format("{}ltx/{}/{}", parent, file.level,
                       ltx::FormatFileName(file.min_txid, file.max_txid));
  }
  return fmt::format(
      "{}/{}/{:016x}-{:016x}-{:016x}-{:016x}-{:012x}-{:08x}{}{}", file.database, file.level,
      file.min_txid, file.max_txid, file.before, file.after,
      static_cast<uint64_t>(std::max<int64_t>(file.timestamp_ms, 0)) & 0xffff'ffff'ffffu,
      file.epoch, file.bundle ? kBundle : kPlain, file.encrypted ? kAge : "");
}

std::optional<ArchiveFile> ParseArchiveName(std::string_view name) {
  const std::vector<std::string_view> parts = Split(name, '/');
  if (parts.size() != 3 || parts[0].empty()) return std::nullopt;
  const auto level = ParseLevel(parts[1]);
  if (!level) return std::nullopt;
  ArchiveFile file{.name = std::string(name), .database = std::string(parts[0]), .level = *level};
  std::string_view stem = parts[2];
  file.encrypted = TakeSuffix(&stem, kAge);
  file.bundle = TakeSuffix(&stem, kBundle);
  if (!file.bundle && !TakeSuffix(&stem, kPlain)) return std::nullopt;
  if (!ParseStem(stem, &file)) return std::nullopt;
  return file;
}

std::optional<ArchiveFile> ParseLitestreamName(std::string_view name) {
  const std::vector<std::string_view> parts = Split(name, '/');
  if (parts.size() < 3 || parts[parts.size() - 3] != "ltx") return std::nullopt;
  const auto level = ParseLevel(parts[parts.size() - 2]);
  const auto range = ltx::ParseFileName(parts.back());
  if (!level || !range) return std::nullopt;
  const size_t tail = std::string_view("ltx/").size() + 2 + parts.back().size();
  std::string_view database = name.substr(0, name.size() - tail);
  if (database.ends_with('/')) database.remove_suffix(1);
  return ArchiveFile{.name = std::string(name),
                     .database = std::string(database),
                     .level = *level,
                     .min_txid = range->min_txid,
                     .max_txid = range->max_txid,
                     .litestream = true};
}

std::string EpochName(std::string_view database, uint32_t epoch) {
  return fmt::format("{}/epochs/{:08x}", database, epoch);
}

std::optional<EpochClaim> ParseEpochName(std::string_view name) {
  const std::vector<std::string_view> parts = Split(name, '/');
  if (parts.size() != 3 || parts[0].empty() || parts[1] != "epochs") return std::nullopt;
  const auto epoch = ParseHex(parts[2], kEpochDigits);
  if (!epoch) return std::nullopt;
  return EpochClaim{.database = std::string(parts[0]), .epoch = static_cast<uint32_t>(*epoch)};
}

}  // namespace litefs::archive
