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
// At the rings, before what is in them is said not to follow.
constexpr int kLooks = 3;

}  // namespace

absl::StatusOr<UniqueFd> PrimaryDatabase::AddRing(SessionId session) {
  MutexLock lock(mu_);
  if (!sessions_.contains(session) || lockless_.contains(session) || rings_.contains(session)) {
    return absl::FailedPreconditionError("no ring for this session");
  }
  ASSIGN_OR_RETURN(std::unique_ptr<PageRing> ring, PageRing::Create());
  ring->SetHeld(true);  // until a commit tells where the next one begins
  return (rings_[session] = std::move(ring))->TakeDescriptor();
}

// The ring whose next transaction began where the last one ended, by the change counter: a commit
// adds one to it, a rollback after pages were written leaves it, and so comes before a commit that
// began there too. Null: there is none.
absl::StatusOr<PageRing*> PrimaryDatabase::FindRing(std::optional<uint32_t> counter, bool* any) {
  PageRing* found = nullptr;
  uint32_t least = 0;
  for (const auto& [session, ring] : rings_) {
    if (!ring->HasMore()) continue;
    if (IsOfOtherFile(session)) {
      ring->SkipAll();
      continue;
    }
    ASSIGN_OR_RETURN(const PageRing::Next* const next, ring->Peek());
    if (next == nullptr) continue;
    *any = true;
    if (next->base != counter) continue;
    const uint32_t step = next->header.change_counter - next->base;
    if (step > 1) return absl::DataLossError("a commit is no step");
    if (found != nullptr && step == least) return absl::DataLossError("two commits at once");
    if (found != nullptr && step > least) continue;
    found = ring.get();
    least = step;
  }
  return found;
}

// As FindRing; not OK: what there is does not follow.  A commit may have come into a ring that was
// looked at just before, and the one after it into another.
absl::StatusOr<PageRing*> PrimaryDatabase::NextRing(std::optional<uint32_t> counter) {
  for (int look = 0; look < kLooks; ++look) {
    bool any = false;
    const absl::StatusOr<PageRing*> found = FindRing(counter, &any);
    if (!found.ok() || *found != nullptr || !any) return found;
    for (const auto& [session, ring] : rings_) ring->Look();
  }
  return absl::DataLossError("a commit was not told");
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
      const sqlite::DbHeader header = (*(*ring)->Peek())->header;
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

// Whether what was collected can be a transaction of this database in a rollback mode.
bool PrimaryDatabase::Fits(const sqlite::DbHeader& header) const {
  return !header.wal && header.size_valid() && wal_->size_pages() == 0 &&
         header.page_bytes == collected_.page_bytes() &&
         header.page_bytes == chain_->table().page_bytes();
}

// Whether all pages that a file has gained were collected.  SQLite leaves some out that it has used
// and freed; they are in the file, which may have gone on.
bool PrimaryDatabase::HasGrowth(const sqlite::DbHeader& header) const {
  const ltx::PageNo lock_page = sqlite::LockPage(header.page_bytes);
  for (ltx::PageNo pgno = chain_->table().size_pages() + 1; pgno <= header.size_pages; ++pgno) {
    if (pgno != lock_page && collected_.Find(pgno).empty()) return false;
  }
  return true;
}

// To be compared at the next commit, or under SHARED.
void PrimaryDatabase::SuspectCollected(const sqlite::DbHeader& header) {
  const uint64_t page_bytes = header.page_bytes;
  collected_.Pages(header.size_pages, &pages_);
  for (const ltx::PageNo pgno : pages_) suspects_.Add((pgno - 1) * page_bytes, page_bytes);
  const ltx::PageNo old_size = chain_->table().size_pages();
  if (header.size_pages > old_size) {
    suspects_.Add(old_size * page_bytes, (header.size_pages - old_size) * page_bytes);
  }
}

// Makes of what was collected the next file of the chain.  False if that cannot be.
absl::StatusOr<bool> PrimaryDatabase::CaptureCollected(uint64_t transactions) {
  const std::span<const std::byte> first = collected_.Find(1);
  const absl::StatusOr<sqlite::DbHeader> header = sqlite::ParseDbHeader(first);
  if (!header.ok() || !Fits(*header)) return false;
  if (!HasGrowth(*header)) {
    SuspectCollected(*header);
    captured_counter_ = header->change_counter;
    return true;
  }
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
  // Not where an app without a ring may be in a transaction, which would pass for captured.
  const absl::StatusOr<int64_t> mtime = file_.ModifiedNs();
  if (mtime.ok() && rings_.size() == sessions_.size()) captured_mtime_ns_ = *mtime;
  if (changed) chain_->log().MakeTemporary();
  return true;
}

// REQUIRES: no transaction is prepared whose outcome is awaited.
absl::Status PrimaryDatabase::CaptureRings() {
  const bool any = std::any_of(rings_.begin(), rings_.end(),
                               [](const auto& item) { return item.second->HasMore(); });
  if (any) prepared_for_.reset();
  for (const auto& [session, ring] : rings_) ring->Look();
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
