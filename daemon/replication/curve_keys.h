// Key pairs of CurveZMQ (Curve25519), as text in Z85 (ZeroMQ RFC 32: 40 characters for 32 bytes),
// and the file that holds one:
//
//   # comment
//   public-key: rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7
//   secret-key: JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6
//
// A key is the whole identity of a node.  No state; any thread.

#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace litefs::replication {

inline constexpr size_t kCurveKeyBytes = 32;
inline constexpr size_t kCurveKeyCharacters = 40;  // in Z85

struct CurveKeys {
  std::string public_key;
  std::string secret_key;
};

// A new pair, from the kernel's random numbers.  The public key can be written anywhere in a
// configuration: it does not begin with '#' nor contain "${".  kUnimplemented: libzmq is built
// without CURVE.
absl::StatusOr<CurveKeys> MakeCurveKeys();

// Whether text is a key in Z85.
bool IsCurveKey(std::string_view text);

// The text of a key.  REQUIRES: key has kCurveKeyBytes.
std::string CurveKeyText(std::span<const std::byte> key);

// Writes a new file of mode 0600; durable on return.  kAlreadyExists: path exists, and is left as
// it is.
absl::Status WriteCurveKeys(const std::string& path, const CurveKeys& keys);

// kNotFound: no such file.  kPermissionDenied: others than the owner can get at it, or the owner is
// neither this user nor root.  kInvalidArgument: not such a file, or keys that are no pair.
absl::StatusOr<CurveKeys> ReadCurveKeys(const std::string& path);

}  // namespace litefs::replication
