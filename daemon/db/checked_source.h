// CheckedSource: the pages of a change together with the proof that they belong on the content that
// is here: the checksum that the database would have with them (I4).  Each page is decoded once
// where its reader comes first, as for a database that is made anew.
//
// Not thread-safe.

#pragma once

#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "daemon/db/chain.h"
#include "daemon/db/ltx_page_source.h"
#include "daemon/db/page_checksums.h"
#include "daemon/db/page_source.h"

namespace litefs::db {

class CheckedSource final : public PageSource {
 public:
  // replaces: the pages are the whole database, whatever table says.  All must outlive this object;
  // changes is filled.
  CheckedSource(LtxPageSource* source, const PageChecksums* table, bool replaces,
                std::vector<PageChange>* changes);

  size_t count() const override { return source_->count(); }
  ltx::PageNo pgno(size_t i) const override { return source_->pgno(i); }
  absl::Status Read(size_t i, std::span<std::byte> page) override;
  // kDataLoss if the database would have another checksum.  After it, changes is complete.
  absl::Status Check() override;

  // Check has found that the pages do not belong here.
  bool misfits() const { return misfits_; }

 private:
  ltx::Checksum Before() const;

  LtxPageSource* const source_;
  const PageChecksums* const table_;
  const bool replaces_;
  std::vector<PageChange>* const changes_;  // checksum 0: not read yet
  bool fits_ = false;
  bool misfits_ = false;
};

}  // namespace litefs::db
