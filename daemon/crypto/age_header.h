// The text header of an age file (C2SP/age.md, "Header"): a version line, stanzas, a MAC.
//
//   age-encryption.org/v1
//   -> X25519 <ephemeral share>        a stanza: type and arguments,
//   <wrapped file key>                 then its body, base64 in lines of 64, the last one shorter
//   --- <MAC>                          HMAC-SHA-256 of all before the space
//
// Pure text; the cryptography is in age.cc.  Any thread.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace litefs::crypto {

inline constexpr std::string_view kAgeVersionLine = "age-encryption.org/v1\n";
inline constexpr size_t kMaxAgeHeaderBytes = 64 << 10;  // some 600 recipients

struct AgeStanza {
  std::string type;
  std::vector<std::string> arguments;
  std::vector<uint8_t> body;
  friend bool operator==(const AgeStanza&, const AgeStanza&) = default;
};

struct AgeHeader {
  std::vector<AgeStanza> stanzas;
  std::vector<uint8_t> mac;        // 32 bytes
  size_t authenticated_bytes = 0;  // of the file: what the MAC is of
  size_t size_bytes = 0;           // of the whole header
};

// Parses the header at the beginning of file, which may go on behind it.  kDataLoss if there is
// none, or it is cut off or above kMaxAgeHeaderBytes.
absl::StatusOr<AgeHeader> ParseAgeHeader(std::string_view file);

// The header up to what the MAC is of, which ends in "---".  REQUIRES: types and arguments are
// printable ASCII without blanks, and not empty.
std::string FormatAgeHeader(const std::vector<AgeStanza>& stanzas);

}  // namespace litefs::crypto
