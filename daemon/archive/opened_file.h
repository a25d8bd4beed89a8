// OpenedFile: an archived file whose bytes are at hand, decrypted and taken apart as it is read.
// Not thread-safe.

#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "common/unique_fd.h"
#include "daemon/archive/archive_file.h"
#include "daemon/archive/bundle.h"
#include "daemon/crypto/age.h"
#include "ltx/byte_stream.h"

namespace litefs::archive {

class OpenedFile {
 public:
  // fd holds all of file's bytes.  kPermissionDenied: encrypted, and no key fits; kDataLoss: not
  // what its name says.  Errors name the file.
  static absl::StatusOr<std::unique_ptr<OpenedFile>> Open(UniqueFd fd, const ArchiveFile& file,
                                                          const crypto::AgeKeys& keys);
  OpenedFile(const OpenedFile&) = delete;
  OpenedFile& operator=(const OpenedFile&) = delete;

  const ArchiveFile& file() const { return file_; }
  // Its LTX files in their order; one, unless it is a bundle.
  const std::vector<ltx::ByteSource*>& parts() const { return parts_; }

 private:
  explicit OpenedFile(ArchiveFile file) : file_(std::move(file)) {}

  const ArchiveFile file_;
  UniqueFd fd_;
  std::unique_ptr<ltx::ByteSource> stored_;
  std::unique_ptr<ltx::ByteSource> plain_;  // null if it is not encrypted
  std::vector<SliceSource> slices_;
  std::vector<ltx::ByteSource*> parts_;
};

// status, its message beginning with the file's name.
absl::Status AboutFile(const ArchiveFile& file, const absl::Status& status);

}  // namespace litefs::archive
