#include "daemon/crypto/primitives.h"

#include <fmt/format.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>

#include <climits>

#include "common/check.h"
#include "common/status_macros.h"

namespace litefs::crypto {
namespace {

absl::Status OpenSslError(std::string_view what) {
  const unsigned long error = ERR_get_error();
  ERR_clear_error();
  char text[256] = "unknown error";
  if (error != 0) ERR_error_string_n(error, text, sizeof(text));
  return absl::InternalError(fmt::format("{}: {}", what, text));
}

template <auto kFree>
struct Freer {
  template <typename T>
  void operator()(T* object) const {
    kFree(object);
  }
};
using PKey = std::unique_ptr<EVP_PKEY, Freer<EVP_PKEY_free>>;
using PKeyContext = std::unique_ptr<EVP_PKEY_CTX, Freer<EVP_PKEY_CTX_free>>;
using Kdf = std::unique_ptr<EVP_KDF, Freer<EVP_KDF_free>>;
using KdfContext = std::unique_ptr<EVP_KDF_CTX, Freer<EVP_KDF_CTX_free>>;

OSSL_PARAM OctetParam(const char* key, const void* data, size_t size) {
  return OSSL_PARAM_construct_octet_string(key, const_cast<void*>(data), size);
}

PKey PrivateKey(const SecretKey& secret) {
  return PKey(EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, nullptr, secret.data(), secret.size()));
}

}  // namespace

absl::Status FillRandom(std::span<uint8_t> out) {
  CHECK(out.size() <= INT_MAX);
  if (RAND_bytes(out.data(), static_cast<int>(out.size())) != 1) {
    return OpenSslError("random bytes");
  }
  return absl::OkStatus();
}

absl::StatusOr<SecretKey> DeriveKey(std::span<const uint8_t> secret, std::span<const uint8_t> salt,
                                    std::string_view info) {
  const Kdf kdf(EVP_KDF_fetch(nullptr, "HKDF", nullptr));
  const KdfContext context(kdf ? EVP_KDF_CTX_new(kdf.get()) : nullptr);
  if (!context) return OpenSslError("HKDF");
  char digest[] = "SHA256";
  OSSL_PARAM params[5];
  size_t count = 0;
  params[count++] = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0);
  params[count++] = OctetParam(OSSL_KDF_PARAM_KEY, secret.data(), secret.size());
  params[count++] = OctetParam(OSSL_KDF_PARAM_INFO, info.data(), info.size());
  if (!salt.empty()) params[count++] = OctetParam(OSSL_KDF_PARAM_SALT, salt.data(), salt.size());
  params[count] = OSSL_PARAM_construct_end();
  SecretKey key;
  if (EVP_KDF_derive(context.get(), key.data(), key.size(), params) != 1) {
    return OpenSslError("HKDF");
  }
  return key;
}

absl::StatusOr<Digest> HmacSha256(const SecretKey& key, std::string_view data) {
  Digest digest;
  unsigned size = digest.size();
  if (HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
           reinterpret_cast<const uint8_t*>(data.data()), data.size(), digest.data(),
           &size) == nullptr) {
    return OpenSslError("HMAC");
  }
  return digest;
}

absl::StatusOr<SecretKey> Scrypt(std::string_view passphrase, std::string_view salt, int log_n) {
  CHECK(log_n >= 1 && log_n <= 30);
  const uint64_t n = uint64_t{1} << log_n;
  const uint64_t max_memory = 128 * 8 * (n + 64);
  SecretKey key;
  if (EVP_PBE_scrypt(passphrase.data(), passphrase.size(),
                     reinterpret_cast<const uint8_t*>(salt.data()), salt.size(), n, 8, 1,
                     max_memory, key.data(), key.size()) != 1) {
    return OpenSslError(fmt::format("scrypt with {} MiB", n >> 10));
  }
  return key;
}

absl::StatusOr<PublicKey> X25519PublicKey(const SecretKey& secret) {
  const PKey key = PrivateKey(secret);
  PublicKey out;
  size_t size = out.size();
  if (!key || EVP_PKEY_get_raw_public_key(key.get(), out.data(), &size) != 1) {
    return OpenSslError("X25519 public key");
  }
  return out;
}

absl::StatusOr<SecretKey> X25519(const SecretKey& secret, std::span<const uint8_t, 32> public_key) {
  const PKey mine = PrivateKey(secret);
  const PKey theirs(
      EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, nullptr, public_key.data(), public_key.size()));
  if (!mine || !theirs) return OpenSslError("X25519");
  const PKeyContext context(EVP_PKEY_CTX_new(mine.get(), nullptr));
  if (!context || EVP_PKEY_derive_init(context.get()) != 1 ||
      EVP_PKEY_derive_set_peer(context.get(), theirs.get()) != 1) {
    return OpenSslError("X25519");
  }
  SecretKey shared;
  size_t size = shared.size();
  constexpr std::array<uint8_t, 32> kZero{};
  if (EVP_PKEY_derive(context.get(), shared.data(), &size) != 1 ||
      ConstantTimeEqual({shared.data(), shared.size()}, kZero)) {
    ERR_clear_error();
    return absl::InvalidArgumentError("X25519: the public key is of low order");
  }
  return shared;
}

bool ConstantTimeEqual(std::span<const uint8_t> a, std::span<const uint8_t> b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

absl::StatusOr<Aead> Aead::New(const SecretKey& key) {
  Context seal(EVP_CIPHER_CTX_new());
  Context open(EVP_CIPHER_CTX_new());
  if (!seal || !open ||
      EVP_EncryptInit_ex(seal.get(), EVP_chacha20_poly1305(), nullptr, key.data(), nullptr) != 1 ||
      EVP_DecryptInit_ex(open.get(), EVP_chacha20_poly1305(), nullptr, key.data(), nullptr) != 1) {
    return OpenSslError("ChaCha20-Poly1305");
  }
  return Aead(std::move(seal), std::move(open));
}

absl::Status Aead::Seal(const Nonce& nonce, std::span<const uint8_t> data, uint8_t* out) {
  CHECK(data.size() <= INT_MAX);
  EVP_CIPHER_CTX* const context = seal_.get();
  int size = 0;
  if (EVP_EncryptInit_ex(context, nullptr, nullptr, nullptr, nonce.data()) != 1 ||
      (!data.empty() &&
       EVP_EncryptUpdate(context, out, &size, data.data(), static_cast<int>(data.size())) != 1) ||
      EVP_EncryptFinal_ex(context, out + size, &size) != 1 ||
      EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, kTagBytes, out + data.size()) != 1) {
    return OpenSslError("encrypt");
  }
  return absl::OkStatus();
}

absl::Status Aead::Open(const Nonce& nonce, std::span<const uint8_t> sealed, uint8_t* out) {
  CHECK(sealed.size() <= INT_MAX);
  if (sealed.size() < kTagBytes) return absl::DataLossError("is shorter than its tag");
  const size_t size = sealed.size() - kTagBytes;
  EVP_CIPHER_CTX* const context = open_.get();
  int count = 0;
  if (EVP_DecryptInit_ex(context, nullptr, nullptr, nullptr, nonce.data()) != 1 ||
      EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, kTagBytes,
                          const_cast<uint8_t*>(sealed.data() + size)) != 1) {
    return OpenSslError("decrypt");
  }
  if ((size > 0 &&
       EVP_DecryptUpdate(context, out, &count, sealed.data(), static_cast<int>(size)) != 1) ||
      EVP_DecryptFinal_ex(context, out + count, &count) != 1) {
    OPENSSL_cleanse(out, size);
    ERR_clear_error();
    return absl::DataLossError("does not authenticate");
  }
  return absl::OkStatus();
}

}  // namespace litefs::crypto
