// PageRing: the daemon's end of a page ring (common/page_ring.h), one for each session of an app in
// a rollback mode. Reads the transactions that the app has committed, in order.  Nothing in it is
// trusted: what does not fit together is kDataLoss, and the database then is compared.  Not
// thread-safe.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/page_ring.h"
#include "common/unique_fd.h"
#include "daemon/sqlite/db_header.h"
#include "ltx/types.h"

namespace litefs::db {

// Pages of one or more transactions, of one size.
class PageCollection {
 public:
  void Clear();
  // Room for one more page, which is newer than all others of its number.
  std::span<std::byte> Add(ltx::PageNo pgno, uint32_t page_bytes);
  // Keeps the newest of each number, in ascending order.
  void Sort();

  bool empty() const { return items_.empty(); }
  uint32_t page_bytes() const { return page_bytes_; }
  size_t size_bytes() const { return bytes_.size(); }
  // After Sort: the page, or nothing.
  std::span<const std::byte> Find(ltx::PageNo pgno) const;
  // After Sort: the numbers up to last.
  void Pages(ltx::PageNo last, std::vector<ltx::PageNo>* pages) const;

 private:
  struct Item {
    ltx::PageNo pgno = 0;
    size_t at = 0;  // in bytes_
  };
  uint32_t page_bytes_ = 0;
  std::vector<Item> items_;
  std::vector<std::byte> bytes_;
};

class PageRing {
 public:
  static absl::StatusOr<std::unique_ptr<PageRing>> Create();
  ~PageRing();
  PageRing(const PageRing&) = delete;
  PageRing& operator=(const PageRing&) = delete;

  // For the app, once; its size cannot be changed.
  UniqueFd TakeDescriptor() { return std::move(fd_); }

  // Peek goes no further than to what is there now.
  void Look() { limit_ = header().head.load(std::memory_order_seq_cst); }
  // The next transaction; null: there is none.
  struct Next {
    uint32_t base = 0;          // the change counter before it
    sqlite::DbHeader header{};  // the database's, as it leaves it
  };
  absl::StatusOr<const Next*> Peek();
  // Adds the pages of that transaction.  REQUIRES: Peek has just told of one.
  absl::Status Take(PageCollection* pages);

  // What was taken is captured: the app gets its room back.
  void Release();
  // What was taken is to be taken again.
  void Rewind();
  // Passes over everything; its pages will be found by comparing.
  void SkipAll();

  // Whether there is anything that was not released.
  bool HasMore() const;
  // Whether the app is in a transaction, or has not told of one.
  bool noted() const { return header().noted.load(std::memory_order_seq_cst) != 0; }
  // Whether the app's next commit is to be a kCommit.
  void SetHeld(bool held) { header().held.store(held ? 1 : 0, std::memory_order_release); }

 private:
  PageRing(UniqueFd fd, void* map) : fd_(std::move(fd)), map_(map) {}
  RingHeader& header() const { return *static_cast<RingHeader*>(map_); }
  void CopyOut(uint64_t position, std::span<std::byte> out) const;
  absl::StatusOr<bool> FindNext();

  UniqueFd fd_;
  void* const map_;
  uint64_t tail_ = 0;  // as in the ring
  uint64_t read_ = 0;
  uint64_t limit_ = 0;
  std::optional<RingTransaction> next_;  // at read_
  Next peeked_;
};

}  // namespace litefs::db
