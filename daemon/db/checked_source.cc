#include "daemon/db/checked_source.h"

#include <fmt/format.h>

#include "common/hex.h"
#include "common/status_macros.h"
#include "ltx/page_checksum.h"

namespace litefs::db {

CheckedSource::CheckedSource(LtxPageSource* source, const PageChecksums* table, bool replaces,
                             std::vector<PageChange>* changes)
    : source_(source), table_(table), replaces_(replaces), changes_(changes) {
  changes_->clear();
  changes_->reserve(source_->count());
  for (size_t i = 0; i < source_->count(); ++i) changes_->push_back({source_->pgno(i), 0});
}

absl::Status CheckedSource::Read(size_t i, std::span<std::byte> page) {
  RETURN_IF_ERROR(source_->Read(i, page));
  PageChange& change = (*changes_)[i];
  if (change.checksum == 0) change.checksum = ltx::PageChecksum(change.pgno, page);
  return absl::OkStatus();
}

// The checksum without the pages that are cut off.
ltx::Checksum CheckedSource::Before() const {
  if (replaces_) return ltx::kEmptyDatabaseChecksum;
  ltx::Checksum database = table_->position().checksum;
  for (ltx::PageNo pgno = source_->last().commit + 1; pgno <= table_->size_pages(); ++pgno) {
    database = ltx::TogglePage(database, table_->Get(pgno));
  }
  return database;
}

absl::Status CheckedSource::Check() {
  if (fits_) return absl::OkStatus();
  const ltx::Header& header = source_->last();
  ltx::Checksum database = Before();
  std::vector<std::byte> page(header.page_bytes);
  for (size_t i = 0; i < changes_->size(); ++i) {
    PageChange& change = (*changes_)[i];
    if (change.checksum == 0) RETURN_IF_ERROR(Read(i, page));
    if (!replaces_) database = ltx::TogglePage(database, table_->Get(change.pgno));
    database = ltx::TogglePage(database, change.checksum);
  }
  fits_ = database == source_->post_apply();
  misfits_ = !fits_;
  if (fits_) return absl::OkStatus();
  return absl::DataLossError(fmt::format("with transactions to {} the checksum is {}, not {}",
                                         Hex16(header.max_txid), Hex16(database),
                                         Hex16(source_->post_apply())));
}

}  // namespace litefs::db
