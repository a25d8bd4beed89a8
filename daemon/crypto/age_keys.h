// The keys of the age format: X25519 recipients and identities, and what a file is locked with or
// opened with.  Errors are kInvalidArgument, and never quote a secret.

#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "daemon/crypto/primitives.h"
#include "daemon/crypto/secret.h"

namespace litefs::crypto {

// A public key, "age1…".
class AgeRecipient {
 public:
  static absl::StatusOr<AgeRecipient> Parse(std::string_view text);
  explicit AgeRecipient(const PublicKey& key) : key_(key) {}

  std::string ToString() const;
  const PublicKey& key() const { return key_; }

 private:
  PublicKey key_;
};

// A private key, "AGE-SECRET-KEY-1…".
class AgeIdentity {
 public:
  static absl::StatusOr<AgeIdentity> Parse(std::string_view text);
  static absl::StatusOr<AgeIdentity> Generate();

  const AgeRecipient& recipient() const { return recipient_; }
  SecretString ToString() const;
  const SecretKey& key() const { return key_; }

 private:
  AgeIdentity(SecretKey key, const AgeRecipient& recipient)
      : key_(std::move(key)), recipient_(recipient) {}
  static absl::StatusOr<AgeIdentity> FromKey(SecretKey key);

  SecretKey key_;
  AgeRecipient recipient_;
};

// An identity file as age-keygen writes it: one key a line, `#` begins a comment.  Errors call it
// name and give the line.
absl::StatusOr<std::vector<AgeIdentity>> ParseIdentityFile(std::string_view text,
                                                           std::string_view name);
// The text of an identity file, with the public key as a comment.
SecretString FormatIdentityFile(const AgeIdentity& identity);

// To whom to encrypt: one or more recipients, or a passphrase, never both.
struct AgeLock {
  std::vector<AgeRecipient> recipients;
  SecretString passphrase;
  int scrypt_log_n = 18;  // as age: about a second and 256 MiB, for each file
};

// With what to decrypt; all that can fit is tried.
struct AgeKeys {
  std::vector<AgeIdentity> identities;
  SecretString passphrase;    // empty: none
  int max_scrypt_log_n = 22;  // files that ask for more work (4 GiB) are refused, as age does
};

}  // namespace litefs::crypto
