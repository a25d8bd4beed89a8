// Replacing pages of a database file under the protection of a hot journal, as pager.c does in
// rollback mode.

#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "daemon/db/database_paths.h"
#include "daemon/db/page_source.h"
#include "ltx/types.h"

namespace litefs {

struct JournaledWrite {
  int database_fd = -1;
  const DatabasePaths* paths = nullptr;
  std::string temporary_directory;  // on the database's file system
  uint32_t old_page_bytes = 0;      // of what is in the file; 0: the file is empty
  uint32_t page_bytes = 0;          // of source; another one needs a source that has every page
  ltx::PageNo commit = 0;           // the new size in pages
};

// Writes the pages of source and cuts or extends the file to its new size.  Durable on return.
// A death of the process or the machine at any point leaves the old content, the new one, or a hot
// journal that SQLite rolls back.  Blocking.
//
// After an error a hot journal may be there: the caller must give up its locks and settle.
// REQUIRES: the caller holds RESERVED and EXCLUSIVE, and source's pages are in 1..commit.
absl::Status WriteWithJournal(const JournaledWrite& write, PageSource& source);

// Writes the pages of source to fd, adjacent ones in one call.  The lock page is left out.
absl::Status WritePages(PageSource& source, uint32_t page_bytes, int fd, const std::string& name);

}  // namespace litefs
