#include "common/hex.h"

namespace litefs {

void AppendHex16(uint64_t v, std::string* text) {
  char digits[16];
  for (int i = 15; i >= 0; --i, v >>= 4) digits[i] = "0123456789abcdef"[v & 15];
  text->append(digits, sizeof(digits));
}

std::string Hex16(uint64_t v) {
  std::string text;
  AppendHex16(v, &text);
  return text;
}

std::optional<uint64_t> ParseHex16(std::string_view text) {
  if (text.size() != 16) return std::nullopt;
  uint64_t v = 0;
  for (const char c : text) {
    uint64_t digit;
    if (c >= '0' && c <= '9') {
      digit = static_cast<uint64_t>(c - '0');
    } else if (c >= 'a' && c <= 'f') {
      digit = static_cast<uint64_t>(c - 'a') + 10;
    } else if (c >= 'A' && c <= 'F') {
      digit = static_cast<uint64_t>(c - 'A') + 10;
    } else {
      return std::nullopt;
    }
    v = v << 4 | digit;
  }
  return v;
}

}  // namespace litefs
