// PageMerger: LTX files, the newest first, to a database file: of each page only the last version
// is written, so that a restore writes every page once however many files it takes.
//
// What is in the file before Finish has returned OK is worthless.  Not thread-safe.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ltx/byte_stream.h"
#include "ltx/decoder.h"
#include "ltx/page_checksum.h"

namespace litefs::archive {

class PageMerger {
 public:
  // Writes to fd, an empty file, which must outlive the merger; name is for messages.
  PageMerger(int fd, std::string name) : fd_(fd), name_(std::move(name)) {}

  // Takes the file before all that were added.  kDataLoss: it is broken, or does not lead to the
  // one added before.
  absl::StatusOr<ltx::FileInfo> AddOlder(ltx::ByteSource& source);

  // Sets the size, and compares the checksum of what is there with that of the newest file.
  // kDataLoss if it differs, or the oldest file was no snapshot.
  absl::Status Finish();

  // REQUIRES: AddOlder has succeeded.
  const ltx::FileInfo& newest() const { return newest_; }

 private:
  absl::Status CheckFollows(const ltx::FileInfo& older) const;
  absl::Status Take(ltx::PageNo pgno, std::span<const std::byte> page, uint64_t page_crc);
  absl::Status FlushRun();

  const int fd_;
  const std::string name_;
  bool started_ = false;
  ltx::FileInfo newest_;
  ltx::FileInfo oldest_;       // of those added
  ltx::PageNo limit_ = 0;      // pages beyond it have been cut off since
  std::vector<bool> written_;  // by page number
  ltx::Checksum checksum_ = ltx::kEmptyDatabaseChecksum;
  ltx::PageChecksummer checksummer_;
  std::vector<std::byte> run_;  // neighbouring pages that wait to be written
  ltx::PageNo run_first_ = 0;
};

}  // namespace litefs::archive
