// How a primary's database takes in what apps have committed without waiting for the daemon: the
// pages are in their rings (docs/CAPTURE.md, "The ring").

#include <fmt/format.h>

#include <algorithm>

#include "common/log.h"
#include "common/sqlite_format.h"
#include "common/status_macros.h"
#include "daemon/db/primary_database.h"
#include "daemon/sqlite/file_lock.h"

namespace litefs::db {
namespace {

// Of pages that become one LTX file.
constexpr size_t kMostCollected = 4 << 20;

}  // namespace

absl::StatusOr<int> PrimaryDatabase::AddRing(SessionId session) {
  MutexLock lock(mu_);
  if (!sessions_.contains(session) || lockless_.contains(session) || rings_.contains(session)) {
    return absl::FailedPreconditionError("no ring for this session");
  }
  ASSIGN_OR_RETURN(std::unique_ptr<PageRing> ring, PageRing::Create());
  ring->SetHeld(true);  // until a commit tells where the next one begins
  return (rings_[session] = std::move(ring))->fd();
}

// The next ring in the order in which apps have committed: each commit has added one to the change
// counter, and a rollback after pages were written has left it.  Null: there is none.  Not OK: no
// order is to be seen.
absl::StatusOr<PageRing*> PrimaryDatabase::NextRing(std::optional<uint32_t> counter) {
  PageRing* found = nullptr;
  uint32_t least = 0;
  bool any = false;
  for (const auto& [session, ring] : rings_) {
    if (!ring->HasMore()) continue;
    if (IsOfOtherFile(session)) {
      ring->SkipAll();
      continue;
    }
    ASSIGN_OR_RETURN(const sqlite::DbHeader* const header, ring->Peek());
    if (header == nullptr) continue;
    any = true;
    const uint32_t step = counter.has_value() ? header->change_counter - *counter : 2;
    if (step > 1) continue;
    if (found != nullptr && step == least) return absl::DataLossError("two commits at once");
    if (found != nullptr && step > least) continue;
    found = ring.get();
    least = step;
  }
  if (any && found == nullptr) return absl::DataLossError("a commit was not told");
  return found;
}

// Takes from the rings what can become one LTX file.  Returns how many transactions it is;
// *in_order: nothing is wrong with what comes next.
uint64_t PrimaryDatabase::CollectFromRings(bool* in_order) {
  uint64_t transactions = 0;
  std::optional<uint32_t> counter = captured_counter_;
  collected_.Clear();
  *in_order = true;
  while (collected_.size_bytes() < kMostCollected) {
    const absl::StatusOr<PageRing*> ring = NextRing(counter);
    absl::Status status = ring.status();
    if (status.ok() && *ring == nullptr) break;
    if (status.ok()) {
      const sqlite::DbHeader header = **(*ring)->Peek();
      const bool same_size = collected_.empty() || header.page_bytes == collected_.page_bytes();
      if (!same_size) break;
      if (header.change_counter != counter) ++transactions;
      counter = header.change_counter;
      status = (*ring)->Take(&collected_);
    }
    if (status.ok()) continue;
    LogInfo("capture", fmt::format("db={} {}: comparing all", name(), status.ToString()));
    *in_order = false;
    break;
  }
  collected_.Sort();
  return transactions;
}

// Whether what was collected makes a transaction by itself.  Pages that SQLite has left out of a
// file that grows are read from the file, which may have gone on.
bool PrimaryDatabase::IsWhole(const sqlite::DbHeader& header) const {
  const PageChecksums& table = chain_->table();
  if (header.wal || !header.size_valid() || wal_->size_pages() != 0) return false;
  if (header.page_bytes != collected_.page_bytes() || header.page_bytes != table.page_bytes()) {
    return false;
  }
  for (ltx::PageNo pgno = table.size_pages() + 1; pgno <= header.size_pages; ++pgno) {
    const bool read = pgno != sqlite::LockPage(header.page_bytes);
    if (read && collected_.Find(pgno).empty()) return false;
  }
  return true;
}

// Makes of what was collected the next file of the chain.  False if that cannot be.
absl::StatusOr<bool> PrimaryDatabase::CaptureCollected(uint64_t transactions) {
  const std::span<const std::byte> first = collected_.Find(1);
  const absl::StatusOr<sqlite::DbHeader> header = sqlite::ParseDbHeader(first);
  if (!header.ok() || !IsWhole(*header)) return false;
  collected_.Pages(header->size_pages, &pages_);
  const Chain::NewState state{.page_bytes = header->page_bytes,
                              .size_pages = header->size_pages,
                              .transactions = std::max<uint64_t>(transactions, 1)};
  const auto read_page = [this](ltx::PageNo pgno, std::span<std::byte> out) REQUIRES(mu_) {
    const std::span<const std::byte> page = collected_.Find(pgno);
    if (page.empty()) return absl::InternalError("a page was not collected");
    std::copy(page.begin(), page.end(), out.begin());
    return absl::OkStatus();
  };
  prepared_reason_ = "";
  ASSIGN_OR_RETURN(const bool changed, chain_->Prepare(pages_, state, read_page));
  if (changed) RETURN_IF_ERROR(PublishPrepared());
  if (changed) counters_.handed_over += state.transactions;
  captured_counter_ = header->change_counter;
  if (changed) chain_->log().MakeTemporary();
  return true;
}

// REQUIRES: no transaction is prepared whose outcome is awaited.
absl::Status PrimaryDatabase::CaptureRings() {
  const bool any = std::any_of(rings_.begin(), rings_.end(),
                               [](const auto& item) { return item.second->HasMore(); });
  if (any) prepared_for_.reset();
  bool in_order = chain_->table_valid() && !replaced_ && file_.is_open();
  while (any && in_order) {
    const uint64_t transactions = CollectFromRings(&in_order);
    if (collected_.empty()) break;
    const absl::StatusOr<bool> whole = CaptureCollected(transactions);
    if (!whole.ok()) {
      chain_->Discard();
      for (const auto& [session, ring] : rings_) ring->Rewind();
      return whole.status();
    }
    in_order &= *whole;
    for (const auto& [session, ring] : rings_) ring->Release();
  }
  if (in_order || !any) return absl::OkStatus();
  suspects_.AddEverything();
  for (const auto& [session, ring] : rings_) ring->SkipAll();
  return absl::OkStatus();
}

// What is doubtful is decided at the next commit, whose app holds EXCLUSIVE and waits.
void PrimaryDatabase::HoldRings() {
  if (rings_.empty()) return;
  // A copy under way would find the file always ahead of the chain.
  const bool held = wal_retry_ || !suspects_.empty() || replaced_ || wal_mode_ ||
                    wal_->size_pages() != 0 || !chain_->table_valid() ||
                    !captured_counter_.has_value() || is_being_copied();
  for (const auto& [session, ring] : rings_) ring->SetHeld(held);
}

// Whether the session, which has ended, had written something that it has not told, as far as its
// ring knows; nullopt: it had none.
std::optional<bool> PrimaryDatabase::EndRing(SessionId session) {
  const auto ring = rings_.find(session);
  if (ring == rings_.end()) return std::nullopt;
  if (ring->second->HasMore() && !pending_.has_value()) wal_retry_ |= !CaptureRings().ok();
  const bool untold = ring->second->noted() || ring->second->HasMore();
  rings_.erase(ring);
  return untold;
}

}  // namespace litefs::db
