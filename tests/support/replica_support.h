// Images of databases made by real SQLite, and the changes between them.

#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <string>
#include <vector>

#include "daemon/db/page_source.h"
#include "daemon/db/replica_file.h"

namespace litefs::test {

// The committed content of a database, page after page.
struct Image {
  uint32_t page_bytes = 0;
  std::string bytes;
  ltx::PageNo size_pages() const {
    return bytes.empty() ? 0 : static_cast<ltx::PageNo>(bytes.size() / page_bytes);
  }
};

// What turns one image into another: the pages that differ, and all that are new.
class Change : public PageSource {
 public:
  // Both must outlive the change.
  Change(const Image& from, const Image& to);
  size_t count() const override { return pages_.size(); }
  ltx::PageNo pgno(size_t i) const override { return pages_[i]; }
  absl::Status Read(size_t i, std::span<std::byte> page) override;
  absl::Status ApplyTo(ReplicaFile& file) {
    return file.Apply(*this, to_.page_bytes, to_.size_pages());
  }

 private:
  const Image& to_;
  std::vector<ltx::PageNo> pages_;
};

// A database written by SQLite in this process.
class SourceDatabase {
 public:
  explicit SourceDatabase(const std::string& path);
  ~SourceDatabase();
  SourceDatabase(const SourceDatabase&) = delete;
  SourceDatabase& operator=(const SourceDatabase&) = delete;
  void Run(const std::string& sql);
  Image Take();

 private:
  sqlite3* db_ = nullptr;
};

// A new directory under TMPDIR, removed with all that is in it at the end.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// All pages as the replica reads them, or the error's text.
std::string ReadAll(ReplicaFile& file);

}  // namespace litefs::test
