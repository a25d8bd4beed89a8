// LtxPageSource: the pages of one or several adjacent LTX files as one change of a database: the
// newest version of each page, as far as the database still has it at the end.
// Source of the rules: docs/LTX.md section 10.  Not thread-safe.

#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/unique_fd.h"
#include "daemon/db/page_source.h"
#include "ltx/byte_stream.h"
#include "ltx/header.h"
#include "ltx/page_index.h"

namespace litefs::db {

class LtxPageSource final : public PageSource {
 public:
  // Adds the file that follows the ones added before.  Its content must have been verified.
  // Later files must have the same page size: kFailedPrecondition otherwise, with nothing added.
  absl::Status Add(UniqueFd fd, const std::string& name);
  // After the last Add.
  void Finish();

  const ltx::Header& first() const { return files_.front()->header; }
  const ltx::Header& last() const { return files_.back()->header; }
  ltx::Checksum post_apply() const { return files_.back()->post_apply; }

  size_t files() const { return files_.size(); }
  uint64_t bytes() const;

  size_t count() const override { return pages_.size(); }
  ltx::PageNo pgno(size_t i) const override { return pages_[i].entry.pgno; }
  absl::Status Read(size_t i, std::span<std::byte> page) override;

 private:
  struct File {
    UniqueFd fd;
    std::unique_ptr<ltx::FdSource> source;
    ltx::Header header;
    ltx::Checksum post_apply = 0;
    ltx::PageIndex index;
  };
  struct Page {
    size_t file = 0;
    ltx::PageIndexEntry entry;
  };
  std::vector<std::unique_ptr<File>> files_;
  std::vector<Page> pages_;
};

}  // namespace litefs::db
