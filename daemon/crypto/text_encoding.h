// The two encodings of bytes as text in the age format.  Both are strict: what decodes encodes to
// the same text.  No state; any thread.

#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace litefs::crypto {

// RFC 4648 base64 without padding.
std::string EncodeBase64(std::span<const uint8_t> data);
std::optional<std::vector<uint8_t>> DecodeBase64(std::string_view text);

// Bech32 (BIP 173, without its limit of 90 characters): prefix, in lower case, '1', data and a
// checksum.  Decoding gives nothing unless the text, in one case, has exactly that prefix.
std::string EncodeBech32(std::string_view prefix, std::span<const uint8_t> data);
std::optional<std::vector<uint8_t>> DecodeBech32(std::string_view prefix, std::string_view text);

}  // namespace litefs::crypto
