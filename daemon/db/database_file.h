// DatabaseFile: the daemon's own, read-only look at a database file that an app has open.  Takes
// no lock but where it says so, and then open-file-description locks, which no close() drops.
// Not thread-safe.

#pragma once

#include <optional>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/unique_fd.h"
#include "daemon/sqlite/db_header.h"
#include "ltx/types.h"

namespace litefs::db {

class DatabaseFile {
 public:
  explicit DatabaseFile(std::string path) : path_(std::move(path)) {}

  // Opens the file, or opens it anew if another one has taken its name.  Sets *replaced then.
  // kNotFound if there is none; the one that is open stays so.
  absl::Status Refresh(bool* replaced);
  bool is_open() const { return fd_.valid(); }
  void Close() { fd_.reset(); }

  // Page 1's header as it stands in the file.  kNotFound for an empty file; kDataLoss for one that
  // is no database.
  absl::StatusOr<sqlite::DbHeader> ReadHeader() const;
  // The size in pages of the committed database in a rollback mode: page 1's field where it is
  // valid, else the file's (docs/CAPTURE.md, "Size").
  absl::StatusOr<ltx::PageNo> SizePages(const sqlite::DbHeader& header) const;
  // Reads a page; bytes past the end of the file are zeros.
  absl::Status ReadPage(ltx::PageNo pgno, std::span<std::byte> page) const {
    return ReadPages(pgno, static_cast<uint32_t>(page.size()), page);
  }
  // Several that follow each other, from first on.
  absl::Status ReadPages(ltx::PageNo first, uint32_t page_bytes, std::span<std::byte> pages) const;
  // Nanoseconds of the last modification.
  absl::StatusOr<int64_t> ModifiedNs() const;

  int fd() const { return fd_.get(); }
  uint64_t inode() const { return inode_; }
  const std::string& path() const { return path_; }

 private:
  const std::string path_;
  UniqueFd fd_;
  uint64_t device_ = 0;
  uint64_t inode_ = 0;
};

}  // namespace litefs::db
