// The age format.  Even first byte: the rest is a file, for which there are an identity and a
// passphrase; it is refused, or reads the same twice.  Odd: eight bytes say what to do to a file
// that is made of the rest: nothing, one bit changed, or cut off; only the first may be read.

#include <cstdint>
#include <string>
#include <vector>

#include "common/check.h"
#include "common/endian.h"
#include "daemon/crypto/age.h"

namespace litefs::crypto {
namespace {

// Of the corpus' files (tests/fuzz/corpus/age), and of nothing else.
constexpr char kIdentity[] =
    "AGE-SECRET-KEY-1QYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZ9K4CN";

const AgeKeys& Keys() {
  static const AgeKeys* const keys = [] {
    auto* made = new AgeKeys;
    auto identity = AgeIdentity::Parse(kIdentity);
    CHECK(identity.ok());
    made->identities.push_back(*std::move(identity));
    made->passphrase = SecretString("fuzz");
    made->max_scrypt_log_n = 4;
    return made;
  }();
  return *keys;
}

// The content, or nothing if the file is refused.
absl::StatusOr<std::string> Decrypt(std::string_view file) {
  ltx::SpanSource source(std::as_bytes(std::span(file)));
  auto reader = AgeReader::Open(&source, Keys());
  if (!reader.ok()) return reader.status();
  CHECK((*reader)->size() <= file.size());
  std::string content((*reader)->size(), '\0');
  const absl::Status read = (*reader)->ReadAt(std::as_writable_bytes(std::span(content)), 0);
  CHECK((*reader)->Verify().ok() == read.ok());
  if (!read.ok()) return read;
  return content;
}

std::string Encrypt(std::string_view content, bool to_passphrase) {
  std::string file;
  ltx::StringSink sink(&file);
  AgeLock lock;
  lock.scrypt_log_n = 2;
  if (to_passphrase) lock.passphrase = SecretString("fuzz");
  if (!to_passphrase) lock.recipients.push_back(Keys().identities[0].recipient());
  auto writer = AgeWriter::Begin(&sink, lock);
  CHECK(writer.ok());
  CHECK((*writer)->Append(std::as_bytes(std::span(content))).ok());
  CHECK((*writer)->Finish().ok());
  return file;
}

void AnyFile(std::string_view file) {
  const auto first = Decrypt(file);
  const auto second = Decrypt(file);
  CHECK(first.ok() == second.ok());
  CHECK(!first.ok() || *first == *second);
  (void)ParseIdentityFile(file, "fuzz");
  (void)AgeRecipient::Parse(file);
  (void)LooksLikeAge(file);
}

void AlteredFile(uint32_t what, uint32_t where, std::string_view content) {
  std::string file = Encrypt(content, /*to_passphrase=*/(what >> 24) % 2 == 1);
  const size_t at = where % file.size();
  if (what % 3 == 1) file[at] = static_cast<char>(file[at] ^ (1 << (what / 3 % 8)));
  if (what % 3 == 2) file.resize(at);
  const auto back = Decrypt(file);
  CHECK(back.ok() == (what % 3 == 0));
  CHECK(!back.ok() || *back == content);
}

}  // namespace
}  // namespace litefs::crypto

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] % 2 == 0) {
    litefs::crypto::AnyFile(rest);
  } else if (rest.size() >= 8) {
    const auto* const bytes = reinterpret_cast<const std::byte*>(rest.data());
    litefs::crypto::AlteredFile(litefs::LoadBig32(bytes), litefs::LoadBig32(bytes + 4),
                                rest.substr(8));
  }
  return 0;
}
