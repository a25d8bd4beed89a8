#include "daemon/db/page_ring.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "common/posix_io.h"
#include "common/status_macros.h"

namespace litefs::db {
namespace {

// Of a collection, what stays allocated for the next one.
constexpr size_t kKeptBytes = 256 << 10;

absl::Status Malformed() { return absl::DataLossError("an app's page ring is malformed"); }

}  // namespace

void PageCollection::Clear() {
  page_bytes_ = 0;
  items_.clear();
  bytes_.clear();
  if (bytes_.capacity() > kKeptBytes) std::vector<std::byte>().swap(bytes_);
}

std::span<std::byte> PageCollection::Add(ltx::PageNo pgno, uint32_t page_bytes) {
  page_bytes_ = page_bytes;
  items_.push_back({.pgno = pgno, .at = bytes_.size()});
  bytes_.resize(bytes_.size() + page_bytes);
  return std::span(bytes_).last(page_bytes);
}

void PageCollection::Sort() {
  std::sort(items_.begin(), items_.end(), [](const Item& a, const Item& b) {
    return a.pgno != b.pgno ? a.pgno < b.pgno : a.at > b.at;
  });
  const auto end = std::unique(items_.begin(), items_.end(),
                               [](const Item& a, const Item& b) { return a.pgno == b.pgno; });
  items_.erase(end, items_.end());
}

std::span<const std::byte> PageCollection::Find(ltx::PageNo pgno) const {
  const auto item = std::lower_bound(items_.begin(), items_.end(), pgno,
                                     [](const Item& a, ltx::PageNo b) { return a.pgno < b; });
  if (item == items_.end() || item->pgno != pgno) return {};
  return std::span(bytes_).subspan(item->at, page_bytes_);
}

void PageCollection::Pages(ltx::PageNo last, std::vector<ltx::PageNo>* pages) const {
  pages->clear();
  for (const Item& item : items_) {
    if (item.pgno <= last) pages->push_back(item.pgno);
  }
}

absl::StatusOr<std::unique_ptr<PageRing>> PageRing::Create() {
  UniqueFd fd(::memfd_create("litefs-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid()) return ErrnoStatus("create a page ring", errno);
  // Sealed, so that no app can make us read past its end.
  if (::ftruncate(fd.get(), kRingFileBytes) != 0 ||
      ::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    return ErrnoStatus("create a page ring", errno);
  }
  void* const map =
      ::mmap(nullptr, kRingFileBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (map == MAP_FAILED) return ErrnoStatus("map a page ring", errno);
  return std::unique_ptr<PageRing>(new PageRing(std::move(fd), map));
}

PageRing::~PageRing() { ::munmap(map_, kRingFileBytes); }

void PageRing::CopyOut(uint64_t position, std::span<std::byte> out) const {
  const auto* const data = static_cast<const std::byte*>(map_) + kRingPageBytes;
  const size_t at = position % kRingBytes;
  const size_t first = std::min(out.size(), kRingBytes - at);
  std::memcpy(out.data(), data + at, first);
  std::memcpy(out.data() + first, data, out.size() - first);
}

// Reads next_ at read_.  False if there is none.
absl::StatusOr<bool> PageRing::FindNext() {
  const uint64_t head = limit_;
  if (head < read_) return Malformed();
  if (next_.has_value() || read_ == head) return next_.has_value();
  const uint64_t start = header().start.load(std::memory_order_relaxed);
  if (start > head) return Malformed();
  read_ = std::max(read_, start);
  RingTransaction next;
  if (head - read_ < sizeof(next) || head - read_ > kRingBytes) return Malformed();
  CopyOut(read_, std::as_writable_bytes(std::span(&next, 1)));
  const uint64_t bytes = sizeof(next) + uint64_t{next.pages} * (sizeof(RingPage) + next.page_bytes);
  if (!sqlite::IsValidPageBytes(next.page_bytes) || next.pages == 0 || bytes > head - read_) {
    return Malformed();
  }
  next_ = next;
  return true;
}

absl::StatusOr<const PageRing::Next*> PageRing::Peek() {
  if (next_.has_value()) return &peeked_;
  ASSIGN_OR_RETURN(const bool found, FindNext());
  if (!found) return nullptr;
  bool has_header = false;
  for (uint32_t i = 0; i < next_->pages; ++i) {
    const uint64_t at =
        read_ + sizeof(*next_) + uint64_t{i} * (sizeof(RingPage) + next_->page_bytes);
    RingPage page;
    CopyOut(at, std::as_writable_bytes(std::span(&page, 1)));
    if (page.pgno != 1) continue;
    std::array<std::byte, 100> head;
    CopyOut(at + sizeof(page), head);
    ASSIGN_OR_RETURN(peeked_.header, sqlite::ParseDbHeader(head));
    has_header = true;
  }
  if (!has_header || peeked_.header.page_bytes != next_->page_bytes) return Malformed();
  peeked_.base = next_->base;
  return &peeked_;
}

absl::Status PageRing::Take(PageCollection* pages) {
  const RingTransaction next = *std::exchange(next_, std::nullopt);
  read_ += sizeof(next);
  for (uint32_t i = 0; i < next.pages; ++i) {
    RingPage page;
    CopyOut(read_, std::as_writable_bytes(std::span(&page, 1)));
    CopyOut(read_ + sizeof(page), pages->Add(page.pgno, next.page_bytes));
    if (page.pgno == 0) return Malformed();
    read_ += sizeof(page) + next.page_bytes;
  }
  return absl::OkStatus();
}

void PageRing::Release() {
  next_.reset();
  if (tail_ != read_) header().tail.store(tail_ = read_, std::memory_order_release);
}

void PageRing::Rewind() {
  next_.reset();
  read_ = tail_;
}

void PageRing::SkipAll() {
  Look();
  read_ = limit_;
  Release();
}

bool PageRing::HasMore() const { return header().head.load(std::memory_order_seq_cst) != tail_; }

}  // namespace litefs::db
