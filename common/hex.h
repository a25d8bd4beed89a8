// Fixed-width lower-case hexadecimal, as LTX writes transaction ids and checksums.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace litefs {

// v as 16 lower-case digits.
std::string Hex16(uint64_t v);
void AppendHex16(uint64_t v, std::string* text);

// The value of exactly 16 hexadecimal digits (either case), or nullopt.
std::optional<uint64_t> ParseHex16(std::string_view text);

}  // namespace litefs
