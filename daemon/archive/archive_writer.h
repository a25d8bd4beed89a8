// ArchiveWriter: puts a finished LTX file (or bundle) into a destination: encrypted if it is to be,
// under its name only when it is whole, and never over another.  Thread-safe.

#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "daemon/archive/archive_file.h"
#include "daemon/archive/object_store.h"
#include "daemon/archive/spool.h"
#include "daemon/crypto/age.h"
#include "ltx/decoder.h"

namespace litefs::archive {

class ArchiveWriter {
 public:
  // All must outlive the writer.  lock: null for plain files.
  ArchiveWriter(ObjectStore* store, const Spool* spool, const crypto::AgeLock* lock)
      : store_(store), spool_(spool), lock_(lock) {}

  // Puts the file at path, and fills in file's name, size and whether it is encrypted.  A file that
  // is there already under that name is this one: its reply was lost.
  absl::Status Put(const std::string& path, ArchiveFile* file);

  bool encrypts() const { return lock_ != nullptr; }
  uint64_t files() const { return files_; }
  uint64_t bytes() const { return bytes_; }

 private:
  ObjectStore* const store_;
  const Spool* const spool_;
  const crypto::AgeLock* const lock_;
  std::atomic<uint64_t> files_ = 0;
  std::atomic<uint64_t> bytes_ = 0;
};

// Writes inputs, neighbours in their order, as one LTX file to path; without checksums (Litestream)
// if so asked.  Every input is verified.
absl::StatusOr<ltx::FileInfo> WriteMerged(std::span<ltx::ByteSource* const> inputs,
                                          const std::string& path, bool checksums);

}  // namespace litefs::archive
