// The few cryptographic operations of the age format, by OpenSSL.  Those that can only fail for
// lack of memory, or because OpenSSL is broken, return kInternal.  Any thread.

#pragma once

#include <openssl/evp.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/crypto/secret.h"

namespace litefs::crypto {

inline constexpr size_t kTagBytes = 16;    // what ChaCha20-Poly1305 adds
inline constexpr size_t kNonceBytes = 12;  // RFC 8439

using PublicKey = std::array<uint8_t, 32>;
using Digest = std::array<uint8_t, 32>;
using Nonce = std::array<uint8_t, kNonceBytes>;

absl::Status FillRandom(std::span<uint8_t> out);

// HKDF-SHA-256 (RFC 5869) with an output of 32 bytes.
absl::StatusOr<SecretKey> DeriveKey(std::span<const uint8_t> secret, std::span<const uint8_t> salt,
                                    std::string_view info);
absl::StatusOr<Digest> HmacSha256(const SecretKey& key, std::string_view data);
// scrypt with N = 2^log_n, r = 8, p = 1.  Takes 2^log_n KiB of memory.
absl::StatusOr<SecretKey> Scrypt(std::string_view passphrase, std::string_view salt, int log_n);

absl::StatusOr<PublicKey> X25519PublicKey(const SecretKey& secret);
// kInvalidArgument if the result is zero: the public key is not a real one.
absl::StatusOr<SecretKey> X25519(const SecretKey& secret, std::span<const uint8_t, 32> public_key);

// In a time that does not depend on the content.
bool ConstantTimeEqual(std::span<const uint8_t> a, std::span<const uint8_t> b);

// ChaCha20-Poly1305 under one key.  Not thread-safe.
class Aead {
 public:
  static absl::StatusOr<Aead> New(const SecretKey& key);

  // Writes data.size() + kTagBytes bytes to out.
  absl::Status Seal(const Nonce& nonce, std::span<const uint8_t> data, uint8_t* out);
  // Writes sealed.size() - kTagBytes bytes to out; kDataLoss, and zeros there, unless authentic.
  absl::Status Open(const Nonce& nonce, std::span<const uint8_t> sealed, uint8_t* out);

 private:
  struct Free {
    void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
  };
  using Context = std::unique_ptr<EVP_CIPHER_CTX, Free>;

  Aead(Context seal, Context open) : seal_(std::move(seal)), open_(std::move(open)) {}

  Context seal_;
  Context open_;
};

}  // namespace litefs::crypto
