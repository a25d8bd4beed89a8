// RollbackJournal: the hot journal under whose protection pages of a database file are replaced, as
// pager.c does in rollback mode.
//
//        none ──Begin──► hot ──End──► none, or ended: kept, with zeros for a header (as SQLite's
//                         ▲             │       journal_mode = PERSIST has it)
//                         └────Begin────┘
//
// A kept journal is written in place: its blocks and its name are on the disk, so that a sync has
// only the content to write, and not the file system's own journal.

#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/unique_fd.h"
#include "daemon/db/database_paths.h"
#include "daemon/db/page_source.h"
#include "daemon/sqlite/journal_format.h"
#include "ltx/types.h"

namespace litefs {

struct JournaledWrite {
  int database_fd = -1;
  uint32_t old_page_bytes = 0;  // of what is in the file; 0: the file is empty
  uint32_t page_bytes = 0;      // of source; another one needs a source that has every page
  ltx::PageNo commit = 0;       // the new size in pages
};

// Used by one thread at a time.  Blocks on the disk.  REQUIRES, for all methods: the caller holds
// RESERVED; after any error a hot journal may be there: the caller must give up its locks, Forget,
// and settle.
class RollbackJournal {
 public:
  // Both live as long as this.  temporary_directory is on the database's file system.
  RollbackJournal(const DatabasePaths* paths, const std::string* temporary_directory)
      : paths_(*paths), temporary_directory_(*temporary_directory) {}

  // Saves what Replace will change.  Durable on return: a hot journal.  Readers may be at work.
  absl::Status Begin(const JournaledWrite& write, const PageSource& source);

  // Writes the pages of source (in 1..commit) and cuts or extends the file to its new size. Durable
  // on return.  REQUIRES: Begin with the same arguments, and the caller holds EXCLUSIVE.
  absl::Status Replace(const JournaledWrite& write, PageSource& source);

  // The new content counts, or the old one if there was no Replace; the journal is not hot any
  // more. If the machine dies it may be so again; then the old content is restored.
  absl::Status End();

  // Makes End durable.  A Begin with a kept journal does it first, if it has not been done.
  absl::Status Settle();

  // Removes a journal that has ended.  Not durable.
  absl::Status Remove();
  // Whatever is there is somebody else's business.
  void Forget() {
    kept_.reset();
    ended_durably_ = true;
  }

 private:
  absl::Status Create(const JournaledWrite& write, const std::vector<ltx::PageNo>& pages,
                      const sqlite::JournalHeader& header, uint64_t bytes);
  bool IsInPlace() const;

  const DatabasePaths& paths_;
  const std::string& temporary_directory_;
  UniqueFd kept_;                // the file, if it is one to be kept
  uint64_t capacity_bytes_ = 0;  // of kept_
  bool ended_durably_ = true;    // no journal is hot, whatever happens
};

// Writes the pages of source to fd, adjacent ones in one call.  The lock page is left out.
absl::Status WritePages(PageSource& source, uint32_t page_bytes, int fd, const std::string& name);

}  // namespace litefs
