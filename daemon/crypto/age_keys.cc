#include "daemon/crypto/age_keys.h"

#include <fmt/format.h>
#include <openssl/crypto.h>

#include <algorithm>
#include <cctype>

#include "common/status_macros.h"
#include "daemon/crypto/text_encoding.h"

namespace litefs::crypto {
namespace {

constexpr std::string_view kRecipientPrefix = "age";
constexpr std::string_view kIdentityPrefix = "age-secret-key-";

std::string_view Trim(std::string_view line) {
  constexpr std::string_view kBlanks = " \t\r";
  const size_t start = std::min(line.find_first_not_of(kBlanks), line.size());
  line.remove_prefix(start);
  return line.substr(0, line.find_last_not_of(kBlanks) + 1);
}

}  // namespace

absl::StatusOr<AgeRecipient> AgeRecipient::Parse(std::string_view text) {
  const auto bytes = DecodeBech32(kRecipientPrefix, text);
  PublicKey key;
  if (!bytes || bytes->size() != key.size()) {
    return absl::InvalidArgumentError(
        fmt::format("\"{}\" is not an age recipient (age1…, 62 characters)",
                    text.starts_with("age1") ? text : "…"));
  }
  std::copy(bytes->begin(), bytes->end(), key.begin());
  return AgeRecipient(key);
}

std::string AgeRecipient::ToString() const { return EncodeBech32(kRecipientPrefix, key_); }

absl::StatusOr<AgeIdentity> AgeIdentity::FromKey(SecretKey key) {
  ASSIGN_OR_RETURN(const PublicKey public_key, X25519PublicKey(key));
  return AgeIdentity(std::move(key), AgeRecipient(public_key));
}

absl::StatusOr<AgeIdentity> AgeIdentity::Parse(std::string_view text) {
  auto bytes = DecodeBech32(kIdentityPrefix, text);
  SecretKey key;
  if (!bytes || bytes->size() != SecretKey::size()) {
    return absl::InvalidArgumentError("not an age identity (AGE-SECRET-KEY-1…, 74 characters)");
  }
  std::copy(bytes->begin(), bytes->end(), key.data());
  OPENSSL_cleanse(bytes->data(), bytes->size());
  return FromKey(std::move(key));
}

absl::StatusOr<AgeIdentity> AgeIdentity::Generate() {
  SecretKey key;
  RETURN_IF_ERROR(FillRandom({key.data(), SecretKey::size()}));
  return FromKey(std::move(key));
}

SecretString AgeIdentity::ToString() const {
  std::string text = EncodeBech32(kIdentityPrefix, {key_.data(), SecretKey::size()});
  for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return SecretString(std::move(text));
}

absl::StatusOr<std::vector<AgeIdentity>> ParseIdentityFile(std::string_view text,
                                                           std::string_view name) {
  std::vector<AgeIdentity> identities;
  int line_number = 0;
  for (size_t start = 0; start < text.size();) {
    const size_t end = std::min(text.find('\n', start), text.size());
    const std::string_view line = Trim(text.substr(start, end - start));
    start = end + 1;
    ++line_number;
    if (line.empty() || line.starts_with('#')) continue;
    auto identity = AgeIdentity::Parse(line);
    if (!identity.ok()) {
      return absl::InvalidArgumentError(
          fmt::format("{}:{}: {}", name, line_number, std::string(identity.status().message())));
    }
    identities.push_back(*std::move(identity));
  }
  if (identities.empty()) return absl::InvalidArgumentError(fmt::format("{}: no identity", name));
  return identities;
}

SecretString FormatIdentityFile(const AgeIdentity& identity) {
  const SecretString key = identity.ToString();
  return SecretString(
      fmt::format("# public key: {}\n{}\n", identity.recipient().ToString(), key.view()));
}

}  // namespace litefs::crypto
