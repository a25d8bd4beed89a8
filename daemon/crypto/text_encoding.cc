#include "daemon/crypto/text_encoding.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>
#include <cctype>
#include <climits>

#include "common/check.h"

namespace litefs::crypto {
namespace {

constexpr std::string_view kBech32Digits = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";
constexpr size_t kBech32ChecksumDigits = 6;

// BIP 173, "Checksum".
uint32_t Polymod(std::span<const uint8_t> values) {
  constexpr uint32_t kGenerator[] = {0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3};
  uint32_t checksum = 1;
  for (const uint8_t value : values) {
    const uint32_t top = checksum >> 25;
    checksum = (checksum & 0x1ffffff) << 5 ^ value;
    for (int i = 0; i < 5; ++i) checksum ^= (top >> i & 1) != 0 ? kGenerator[i] : 0;
  }
  return checksum;
}

// The prefix as BIP 173 has it enter the checksum.
std::vector<uint8_t> ExpandPrefix(std::string_view prefix) {
  std::vector<uint8_t> out;
  for (const char c : prefix) out.push_back(static_cast<uint8_t>(c) >> 5);
  out.push_back(0);
  for (const char c : prefix) out.push_back(static_cast<uint8_t>(c) & 31);
  return out;
}

// Regroups digits of from bits into digits of to bits.  With pad, fills the last one with zeros;
// without, what is left must be less than a digit, and zero.
std::optional<std::vector<uint8_t>> Regroup(std::span<const uint8_t> digits, int from, int to,
                                            bool pad) {
  std::vector<uint8_t> out;
  out.reserve(digits.size() * static_cast<size_t>(from) / static_cast<size_t>(to) + 1);
  uint32_t held = 0;
  int bits = 0;
  for (const uint8_t digit : digits) {
    held = (held << from | digit) & 0xffff;
    bits += from;
    while (bits >= to) {
      bits -= to;
      out.push_back(static_cast<uint8_t>(held >> bits & ((1U << to) - 1)));
    }
  }
  const uint32_t rest = held & ((1U << bits) - 1);
  if (pad) {
    if (bits > 0) out.push_back(static_cast<uint8_t>(rest << (to - bits)));
  } else if (bits >= from || rest != 0) {
    return std::nullopt;
  }
  return out;
}

// The text in lower case; nothing if it mixes cases or has other than printable ASCII.
std::optional<std::string> OneCase(std::string_view text) {
  std::string lower;
  bool has_lower = false;
  bool has_upper = false;
  for (const unsigned char c : text) {
    if (c < 33 || c > 126) return std::nullopt;
    has_lower |= std::islower(c) != 0;
    has_upper |= std::isupper(c) != 0;
    lower.push_back(static_cast<char>(std::tolower(c)));
  }
  if (has_lower && has_upper) return std::nullopt;
  return lower;
}

}  // namespace

std::string EncodeBase64(std::span<const uint8_t> data) {
  CHECK(data.size() < INT_MAX / 2);
  std::string text((data.size() + 2) / 3 * 4 + 1, '\0');  // EVP_EncodeBlock adds a NUL
  const int size = EVP_EncodeBlock(reinterpret_cast<uint8_t*>(text.data()), data.data(),
                                   static_cast<int>(data.size()));
  text.resize(static_cast<size_t>(size));
  while (text.ends_with('=')) text.pop_back();
  return text;
}

std::optional<std::vector<uint8_t>> DecodeBase64(std::string_view text) {
  if (text.size() > INT_MAX / 2 || text.size() % 4 == 1) return std::nullopt;
  std::string padded(text);
  padded.append((4 - text.size() % 4) % 4, '=');
  std::vector<uint8_t> data(padded.size() / 4 * 3);
  const int size = EVP_DecodeBlock(data.data(), reinterpret_cast<const uint8_t*>(padded.data()),
                                   static_cast<int>(padded.size()));
  if (size < 0 || static_cast<size_t>(size) != data.size()) return std::nullopt;
  data.resize(text.size() * 3 / 4);  // EVP_DecodeBlock counts the padding as zeros
  if (EncodeBase64(data) != text) return std::nullopt;
  return data;
}

std::string EncodeBech32(std::string_view prefix, std::span<const uint8_t> data) {
  std::vector<uint8_t> digits = *Regroup(data, 8, 5, true);
  std::vector<uint8_t> summed = ExpandPrefix(prefix);
  summed.insert(summed.end(), digits.begin(), digits.end());
  summed.resize(summed.size() + kBech32ChecksumDigits);
  const uint32_t checksum = Polymod(summed) ^ 1;
  for (size_t i = 0; i < kBech32ChecksumDigits; ++i) {
    digits.push_back(checksum >> 5 * (kBech32ChecksumDigits - 1 - i) & 31);
  }
  std::string text(prefix);
  text += '1';
  for (const uint8_t digit : digits) text += kBech32Digits[digit];
  OPENSSL_cleanse(digits.data(), digits.size());
  OPENSSL_cleanse(summed.data(), summed.size());
  return text;
}

std::optional<std::vector<uint8_t>> DecodeBech32(std::string_view prefix, std::string_view text) {
  std::optional<std::string> lower = OneCase(text);
  if (!lower) return std::nullopt;
  const size_t separator = lower->rfind('1');
  if (separator == std::string::npos || std::string_view(*lower).substr(0, separator) != prefix ||
      lower->size() - separator - 1 < kBech32ChecksumDigits) {
    return std::nullopt;
  }
  std::vector<uint8_t> digits;
  for (const char c : std::string_view(*lower).substr(separator + 1)) {
    const size_t digit = kBech32Digits.find(c);
    if (digit == std::string_view::npos) return std::nullopt;
    digits.push_back(static_cast<uint8_t>(digit));
  }
  OPENSSL_cleanse(lower->data(), lower->size());
  std::vector<uint8_t> summed = ExpandPrefix(prefix);
  summed.insert(summed.end(), digits.begin(), digits.end());
  const bool right = Polymod(summed) == 1;
  OPENSSL_cleanse(summed.data(), summed.size());
  if (!right) return std::nullopt;
  auto data = Regroup(std::span(digits).first(digits.size() - kBech32ChecksumDigits), 5, 8, false);
  OPENSSL_cleanse(digits.data(), digits.size());
  return data;
}

}  // namespace litefs::crypto
