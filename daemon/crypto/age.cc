// The payload behind the header: a random salt of 16 bytes, then the plain text in chunks of 64 KiB
// (the last may be shorter, and is empty only if there is no other), each sealed on its own under
//
//   key    HKDF(file key, salt, "payload")
//   nonce  chunk number, 11 bytes, big endian; then 1 for the last chunk, else 0
//
// So the size of the file says where each chunk is and which is the last, and a file that was cut
// has a last chunk that does not authenticate as one.

#include "daemon/crypto/age.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <vector>

#include "common/endian.h"
#include "common/status_macros.h"
#include "daemon/crypto/age_header.h"
#include "daemon/crypto/text_encoding.h"

namespace litefs::crypto {
namespace {

constexpr size_t kChunkBytes = 64 << 10;
constexpr size_t kSealedChunkBytes = kChunkBytes + kTagBytes;
constexpr size_t kFileKeyBytes = 16;
constexpr size_t kPayloadSaltBytes = 16;
constexpr size_t kScryptSaltBytes = 16;
constexpr size_t kMaxRecipients = 100;
constexpr int kMaxScryptLogN = 30;
constexpr std::string_view kX25519 = "X25519";
constexpr std::string_view kScrypt = "scrypt";
constexpr std::string_view kX25519Info = "age-encryption.org/v1/X25519";
constexpr std::string_view kScryptInfo = "age-encryption.org/v1/scrypt";

using FileKey = SecretBytes<kFileKeyBytes>;

std::span<const uint8_t> AsBytes(std::span<const std::byte> data) {
  return {reinterpret_cast<const uint8_t*>(data.data()), data.size()};
}

Nonce ChunkNonce(uint64_t index, bool last) {
  Nonce nonce{};
  StoreBig64(nonce.data() + 3, index);
  nonce[kNonceBytes - 1] = last ? 1 : 0;
  return nonce;
}

absl::StatusOr<Aead> PayloadAead(const FileKey& file_key, std::span<const uint8_t> salt) {
  ASSIGN_OR_RETURN(const SecretKey key,
                   DeriveKey({file_key.data(), file_key.size()}, salt, "payload"));
  return Aead::New(key);
}

absl::StatusOr<Digest> HeaderMac(const FileKey& file_key, std::string_view header) {
  ASSIGN_OR_RETURN(const SecretKey key,
                   DeriveKey({file_key.data(), file_key.size()}, {}, "header"));
  return HmacSha256(key, header);
}

// ---- Stanzas ------------------------------------------------------------------------------------

absl::StatusOr<std::vector<uint8_t>> Wrap(const SecretKey& key, const FileKey& file_key) {
  std::vector<uint8_t> body(kFileKeyBytes + kTagBytes);
  ASSIGN_OR_RETURN(Aead aead, Aead::New(key));
  RETURN_IF_ERROR(aead.Seal(Nonce{}, {file_key.data(), file_key.size()}, body.data()));
  return body;
}

// Nothing if key is not the one that it was wrapped with.
absl::StatusOr<std::optional<FileKey>> Unwrap(const SecretKey& key, std::span<const uint8_t> body) {
  ASSIGN_OR_RETURN(Aead aead, Aead::New(key));
  FileKey file_key;
  const absl::Status status = aead.Open(Nonce{}, body, file_key.data());
  if (absl::IsDataLoss(status)) return std::optional<FileKey>();
  RETURN_IF_ERROR(status);
  return std::optional<FileKey>(std::move(file_key));
}

absl::StatusOr<SecretKey> X25519WrapKey(const SecretKey& mine, std::span<const uint8_t, 32> theirs,
                                        std::span<const uint8_t> share,
                                        const PublicKey& recipient) {
  ASSIGN_OR_RETURN(const SecretKey shared, X25519(mine, theirs));
  std::vector<uint8_t> salt(share.begin(), share.end());
  salt.insert(salt.end(), recipient.begin(), recipient.end());
  return DeriveKey({shared.data(), shared.size()}, salt, kX25519Info);
}

absl::StatusOr<AgeStanza> WrapFor(const AgeRecipient& recipient, const FileKey& file_key) {
  ASSIGN_OR_RETURN(const AgeIdentity ephemeral, AgeIdentity::Generate());
  const PublicKey& share = ephemeral.recipient().key();
  ASSIGN_OR_RETURN(const SecretKey key,
                   X25519WrapKey(ephemeral.key(), recipient.key(), share, recipient.key()));
  AgeStanza stanza{.type = std::string(kX25519), .arguments = {EncodeBase64(share)}, .body = {}};
  ASSIGN_OR_RETURN(stanza.body, Wrap(key, file_key));
  return stanza;
}

absl::StatusOr<SecretKey> ScryptWrapKey(const SecretString& passphrase,
                                        std::span<const uint8_t> salt, int log_n) {
  std::string full_salt(kScryptInfo);
  full_salt.append(salt.begin(), salt.end());
  return Scrypt(passphrase.view(), full_salt, log_n);
}

absl::StatusOr<AgeStanza> WrapWithPassphrase(const AgeLock& lock, const FileKey& file_key) {
  std::array<uint8_t, kScryptSaltBytes> salt;
  RETURN_IF_ERROR(FillRandom(salt));
  ASSIGN_OR_RETURN(const SecretKey key, ScryptWrapKey(lock.passphrase, salt, lock.scrypt_log_n));
  AgeStanza stanza{.type = std::string(kScrypt),
                   .arguments = {EncodeBase64(salt), std::to_string(lock.scrypt_log_n)},
                   .body = {}};
  ASSIGN_OR_RETURN(stanza.body, Wrap(key, file_key));
  return stanza;
}

absl::Status CheckLock(const AgeLock& lock) {
  if (lock.recipients.empty() == lock.passphrase.empty()) {
    return absl::InvalidArgumentError("age: encrypt to recipients or to a passphrase");
  }
  if (lock.recipients.size() > kMaxRecipients) {
    return absl::InvalidArgumentError(fmt::format("age: above {} recipients", kMaxRecipients));
  }
  if (lock.scrypt_log_n < 1 || lock.scrypt_log_n > kMaxScryptLogN) {
    return absl::InvalidArgumentError("age: scrypt work factor out of range");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<FileKey>> UnwrapX25519(const AgeStanza& stanza,
                                                    const std::vector<AgeIdentity>& identities) {
  const auto share = stanza.arguments.size() == 1 ? DecodeBase64(stanza.arguments[0])
                                                  : std::optional<std::vector<uint8_t>>();
  if (!share || share->size() != PublicKey{}.size() ||
      stanza.body.size() != kFileKeyBytes + kTagBytes) {
    return absl::DataLossError("age header: a malformed X25519 stanza");
  }
  const std::span<const uint8_t, 32> theirs(share->data(), 32);
  for (const AgeIdentity& identity : identities) {
    const auto key = X25519WrapKey(identity.key(), theirs, *share, identity.recipient().key());
    if (absl::IsInvalidArgument(key.status())) {
      return absl::DataLossError("age header: a malformed X25519 stanza");
    }
    if (!key.ok()) return key.status();
    ASSIGN_OR_RETURN(std::optional<FileKey> file_key, Unwrap(*key, stanza.body));
    if (file_key) return file_key;
  }
  return std::optional<FileKey>();
}

absl::StatusOr<std::optional<FileKey>> UnwrapScrypt(const AgeStanza& stanza, const AgeKeys& keys) {
  const auto& arguments = stanza.arguments;
  const auto salt =
      arguments.size() == 2 ? DecodeBase64(arguments[0]) : std::optional<std::vector<uint8_t>>();
  int log_n = 0;
  if (salt) {
    const std::string& text = arguments[1];
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), log_n);
    if (parsed.ptr != text.data() + text.size() || text[0] == '0') log_n = 0;
  }
  if (!salt || salt->size() != kScryptSaltBytes || log_n < 1 ||
      stanza.body.size() != kFileKeyBytes + kTagBytes) {
    return absl::DataLossError("age header: a malformed scrypt stanza");
  }
  if (keys.passphrase.empty()) return std::optional<FileKey>();
  if (log_n > std::min(keys.max_scrypt_log_n, kMaxScryptLogN)) {
    return absl::DataLossError(
        fmt::format("age header: asks for scrypt with 2^{}, above the limit of 2^{}", log_n,
                    keys.max_scrypt_log_n));
  }
  ASSIGN_OR_RETURN(const SecretKey key, ScryptWrapKey(keys.passphrase, *salt, log_n));
  return Unwrap(key, stanza.body);
}

absl::StatusOr<FileKey> FindFileKey(const AgeHeader& header, const AgeKeys& keys) {
  std::optional<FileKey> found;
  bool scrypt = false;
  for (const AgeStanza& stanza : header.stanzas) {
    scrypt |= stanza.type == kScrypt;
    if (stanza.type == kScrypt && header.stanzas.size() > 1) {
      return absl::DataLossError("age header: a passphrase beside other recipients");
    }
    if (found || (stanza.type != kScrypt && stanza.type != kX25519)) continue;
    auto file_key =
        stanza.type == kX25519 ? UnwrapX25519(stanza, keys.identities) : UnwrapScrypt(stanza, keys);
    if (!file_key.ok()) return file_key.status();
    if (*file_key) found = *std::move(file_key);
  }
  if (found) return *std::move(found);
  if (scrypt) {
    return absl::PermissionDeniedError(keys.passphrase.empty()
                                           ? "age: encrypted with a passphrase, none is given"
                                           : "age: wrong passphrase");
  }
  return absl::PermissionDeniedError(
      fmt::format("age: encrypted to {} recipient(s), none of them of the {} identities given",
                  header.stanzas.size(), keys.identities.size()));
}

}  // namespace

// ---- AgeWriter ----------------------------------------------------------------------------------

class AgeWriter::Impl {
 public:
  Impl(ltx::ByteSink* out, Aead aead) : out_(out), aead_(std::move(aead)) {}

  absl::Status Append(std::span<const uint8_t> data) {
    if (finished_) return absl::FailedPreconditionError("age: appended to after the end");
    while (!data.empty()) {
      if (filled_ == kChunkBytes) RETURN_IF_ERROR(WriteChunk(false));
      const size_t count = std::min(data.size(), kChunkBytes - filled_);
      std::copy_n(data.begin(), count, chunk_.begin() + static_cast<ptrdiff_t>(filled_));
      filled_ += count;
      data = data.subspan(count);
    }
    return absl::OkStatus();
  }

  absl::Status Finish() {
    if (finished_) return absl::FailedPreconditionError("age: finished twice");
    finished_ = true;
    return WriteChunk(true);
  }

 private:
  absl::Status WriteChunk(bool last) {
    RETURN_IF_ERROR(
        aead_.Seal(ChunkNonce(index_++, last), std::span(chunk_).first(filled_), sealed_.data()));
    const size_t size = filled_ + kTagBytes;
    filled_ = 0;
    return out_->Append(std::as_bytes(std::span(sealed_).first(size)));
  }

  ltx::ByteSink* const out_;
  Aead aead_;
  std::vector<uint8_t> chunk_ = std::vector<uint8_t>(kChunkBytes);
  std::vector<uint8_t> sealed_ = std::vector<uint8_t>(kSealedChunkBytes);
  size_t filled_ = 0;
  uint64_t index_ = 0;
  bool finished_ = false;
};

AgeWriter::AgeWriter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
AgeWriter::~AgeWriter() = default;

absl::StatusOr<std::unique_ptr<AgeWriter>> AgeWriter::Begin(ltx::ByteSink* out,
                                                            const AgeLock& lock) {
  RETURN_IF_ERROR(CheckLock(lock));
  FileKey file_key;
  std::array<uint8_t, kPayloadSaltBytes> salt;
  RETURN_IF_ERROR(FillRandom({file_key.data(), file_key.size()}));
  RETURN_IF_ERROR(FillRandom(salt));
  std::vector<AgeStanza> stanzas;
  if (!lock.passphrase.empty()) {
    ASSIGN_OR_RETURN(stanzas.emplace_back(), WrapWithPassphrase(lock, file_key));
  }
  for (const AgeRecipient& recipient : lock.recipients) {
    ASSIGN_OR_RETURN(stanzas.emplace_back(), WrapFor(recipient, file_key));
  }
  std::string header = FormatAgeHeader(stanzas);
  ASSIGN_OR_RETURN(const Digest mac, HeaderMac(file_key, header));
  header += ' ' + EncodeBase64(mac) + '\n';
  header.append(salt.begin(), salt.end());
  RETURN_IF_ERROR(out->Append(std::as_bytes(std::span(header))));
  ASSIGN_OR_RETURN(Aead aead, PayloadAead(file_key, salt));
  return std::unique_ptr<AgeWriter>(new AgeWriter(std::make_unique<Impl>(out, std::move(aead))));
}

absl::Status AgeWriter::Append(std::span<const std::byte> data) {
  return impl_->Append(AsBytes(data));
}

absl::Status AgeWriter::Finish() { return impl_->Finish(); }

// ---- AgeReader ----------------------------------------------------------------------------------

class AgeReader::Impl {
 public:
  Impl(ltx::ByteSource* file, Aead aead, uint64_t payload_offset)
      : file_(file), aead_(std::move(aead)), payload_offset_(payload_offset) {}

  // Lays the chunks out, and authenticates the last one.
  absl::Status Begin() {
    const uint64_t payload = file_->size() - payload_offset_;
    count_ = (payload + kSealedChunkBytes - 1) / kSealedChunkBytes;
    if (count_ == 0) return absl::DataLossError("age: the file is cut off: no payload");
    const uint64_t last_sealed = payload - (count_ - 1) * kSealedChunkBytes;
    if (last_sealed < kTagBytes || (last_sealed == kTagBytes && count_ > 1)) {
      return absl::DataLossError("age: the file is cut off within its last chunk");
    }
    size_ = payload - count_ * kTagBytes;
    const absl::Status status = Load(count_ - 1);
    if (absl::IsDataLoss(status)) {
      return absl::DataLossError("age: the file is cut off, or its end is altered");
    }
    return status;
  }

  absl::Status ReadAt(std::span<std::byte> out, uint64_t offset) {
    if (offset > size_ || out.size() > size_ - offset) {
      return absl::OutOfRangeError("age: read past the end of the plain text");
    }
    while (!out.empty()) {
      RETURN_IF_ERROR(Load(offset / kChunkBytes));
      const size_t at = offset % kChunkBytes;
      const size_t count = std::min(out.size(), chunk_bytes_ - at);
      std::copy_n(reinterpret_cast<const std::byte*>(chunk_.data()) + at, count, out.begin());
      out = out.subspan(count);
      offset += count;
    }
    return absl::OkStatus();
  }

  absl::Status Verify() {
    for (uint64_t index = 0; index < count_; ++index) RETURN_IF_ERROR(Load(index));
    return absl::OkStatus();
  }

  uint64_t size() const { return size_; }

 private:
  // Makes chunk_ the authenticated plain text of one chunk.
  absl::Status Load(uint64_t index) {
    if (loaded_ == index) return absl::OkStatus();
    loaded_.reset();
    const uint64_t start = payload_offset_ + index * kSealedChunkBytes;
    const size_t sealed_bytes = std::min<uint64_t>(kSealedChunkBytes, file_->size() - start);
    const std::span<uint8_t> sealed = std::span(sealed_).first(sealed_bytes);
    RETURN_IF_ERROR(file_->ReadAt(std::as_writable_bytes(sealed), start));
    if (const absl::Status status =
            aead_.Open(ChunkNonce(index, index + 1 == count_), sealed, chunk_.data());
        !status.ok()) {
      return absl::Status(status.code(), fmt::format("age: the chunk at byte {} {}", start,
                                                     std::string(status.message())));
    }
    chunk_bytes_ = sealed_bytes - kTagBytes;
    loaded_ = index;
    return absl::OkStatus();
  }

  ltx::ByteSource* const file_;
  Aead aead_;
  const uint64_t payload_offset_;
  uint64_t count_ = 0;
  uint64_t size_ = 0;
  std::vector<uint8_t> chunk_ = std::vector<uint8_t>(kChunkBytes);
  std::vector<uint8_t> sealed_ = std::vector<uint8_t>(kSealedChunkBytes);
  std::optional<uint64_t> loaded_;
  size_t chunk_bytes_ = 0;
};

AgeReader::AgeReader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
AgeReader::~AgeReader() = default;

absl::StatusOr<std::unique_ptr<AgeReader>> AgeReader::Open(ltx::ByteSource* file,
                                                           const AgeKeys& keys) {
  std::string beginning(std::min<uint64_t>(file->size(), kMaxAgeHeaderBytes), '\0');
  RETURN_IF_ERROR(file->ReadAt(std::as_writable_bytes(std::span(beginning)), 0));
  ASSIGN_OR_RETURN(const AgeHeader header, ParseAgeHeader(beginning));
  ASSIGN_OR_RETURN(const FileKey file_key, FindFileKey(header, keys));
  ASSIGN_OR_RETURN(const Digest mac, HeaderMac(file_key, std::string_view(beginning).substr(
                                                             0, header.authenticated_bytes)));
  if (!ConstantTimeEqual(mac, header.mac)) {
    return absl::DataLossError("age: the header is altered");
  }
  if (file->size() < header.size_bytes + kPayloadSaltBytes) {
    return absl::DataLossError("age: the file is cut off: no payload");
  }
  std::array<uint8_t, kPayloadSaltBytes> salt;
  RETURN_IF_ERROR(file->ReadAt(std::as_writable_bytes(std::span(salt)), header.size_bytes));
  ASSIGN_OR_RETURN(Aead aead, PayloadAead(file_key, salt));
  auto impl = std::make_unique<Impl>(file, std::move(aead), header.size_bytes + kPayloadSaltBytes);
  RETURN_IF_ERROR(impl->Begin());
  return std::unique_ptr<AgeReader>(new AgeReader(std::move(impl)));
}

absl::Status AgeReader::ReadAt(std::span<std::byte> out, uint64_t offset) {
  return impl_->ReadAt(out, offset);
}

uint64_t AgeReader::size() const { return impl_->size(); }

absl::Status AgeReader::Verify() { return impl_->Verify(); }

// ---- Whole files --------------------------------------------------------------------------------

absl::Status DecryptToFile(ltx::ByteSource& file, const AgeKeys& keys, int out_fd,
                           std::string_view name) {
  ASSIGN_OR_RETURN(const std::unique_ptr<AgeReader> reader, AgeReader::Open(&file, keys));
  ltx::FdSink out(out_fd, std::string(name));
  std::vector<std::byte> buffer(kChunkBytes);
  for (uint64_t offset = 0; offset < reader->size();) {
    const std::span<std::byte> part =
        std::span(buffer).first(std::min<uint64_t>(kChunkBytes, reader->size() - offset));
    RETURN_IF_ERROR(reader->ReadAt(part, offset));
    RETURN_IF_ERROR(out.Append(part));
    offset += part.size();
  }
  return out.Flush();
}

bool LooksLikeAge(std::string_view beginning) {
  return beginning.starts_with(kAgeVersionLine.substr(0, kAgeVersionLine.size() - 1));
}

}  // namespace litefs::crypto
