// Files in the age v1 format (https://age-encryption.org/v1, C2SP/age.md), to X25519 recipients or
// to a scrypt passphrase: what we encrypt the stock `age` program decrypts, and the other way
// round.
//
// Encrypting streams.  Decrypting never gives out a byte that was not authenticated: AgeReader
// checks the header's MAC and the final chunk when it is opened, so that a file cut anywhere or
// opened with the wrong key is refused there, and each chunk of 64 KiB before any of it is used.
// Who must not act on the intact beginning of a file that is altered further on calls Verify first,
// or uses DecryptToFile.
//
// Errors: kInvalidArgument for a key or passphrase that is none, kPermissionDenied if no identity
// fits the file, kDataLoss for a file that is altered, cut off or not in the format; those of the
// source and sink are passed on.  Secrets are zeroed when they are dropped.  Not thread-safe.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/crypto/age_keys.h"
#include "ltx/byte_stream.h"

namespace litefs::crypto {

// Encrypts what is appended, to out.
class AgeWriter final : public ltx::ByteSink {
 public:
  // Writes the header to out, which must outlive the writer.
  static absl::StatusOr<std::unique_ptr<AgeWriter>> Begin(ltx::ByteSink* out, const AgeLock& lock);
  ~AgeWriter() override;

  absl::Status Append(std::span<const std::byte> data) override;
  // Writes the last chunk; without it the file is a truncated one.
  absl::Status Finish();

 private:
  class Impl;
  explicit AgeWriter(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

// The plain text of an encrypted file, by random access.
class AgeReader final : public ltx::ByteSource {
 public:
  // Reads the header and the last chunk of file, which must outlive the reader.
  static absl::StatusOr<std::unique_ptr<AgeReader>> Open(ltx::ByteSource* file,
                                                         const AgeKeys& keys);
  ~AgeReader() override;

  absl::Status ReadAt(std::span<std::byte> out, uint64_t offset) override;
  uint64_t size() const override;

  // Authenticates all of the file.
  absl::Status Verify();

 private:
  class Impl;
  explicit AgeReader(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

// Writes the plain text to out_fd, at its file offset.  Meant for a temporary: unless OK is
// returned, what was written is authentic but incomplete and must not be used.
absl::Status DecryptToFile(ltx::ByteSource& file, const AgeKeys& keys, int out_fd,
                           std::string_view name);

// Whether the bytes begin as an age file does (21 bytes are enough to tell).
bool LooksLikeAge(std::string_view beginning);

}  // namespace litefs::crypto
