// Restore: carries a RestorePlan out: fetches, decrypts, verifies, and merges to a database file.
// Any thread.

#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "daemon/archive/object_store.h"
#include "daemon/archive/restore_plan.h"
#include "daemon/crypto/age.h"

namespace litefs::archive {

struct RestoreOptions {
  ObjectStore* store = nullptr;
  const crypto::AgeKeys* keys = nullptr;
  std::string temporary_directory;  // on a disk with room for the files fetched
  int threads = 6;
  // From other threads, one call at a time: bytes that have come, since the last call.
  std::function<void(uint64_t bytes)> progress;
};

struct Restored {
  ltx::Position position;  // its checksum is 0 if the archive has none (Litestream)
  int64_t timestamp_ms = 0;
  uint32_t page_bytes = 0;
  ltx::PageNo size_pages = 0;
  uint64_t fetched_bytes = 0;
};

// Writes the database that plan leads to into fd, an empty file; name is for messages.  Every file
// is verified, that it is what its name says and follows the one before, and the checksum of the
// result.  What is in fd is worthless unless OK is returned.  Does not sync.
// kNotFound: the transaction asked for is inside one that was stored together with others.
absl::StatusOr<Restored> Restore(const RestorePlan& plan, const RestoreOptions& options, int fd,
                                 const std::string& name);

// Fetches and verifies one file by itself, and that it is what its name says.
absl::Status VerifyArchiveFile(const ArchiveFile& file, const RestoreOptions& options);

}  // namespace litefs::archive
