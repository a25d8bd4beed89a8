#include "preload/page_stage.h"

#include <algorithm>
#include <cstring>

#include "common/sqlite_format.h"

namespace litefs::preload {
namespace {

// Of the database header: the file format's write and read versions (SQLite file format, 1.3.2); 1
// is a rollback journal, 2 a WAL.
constexpr size_t kVersionsAt = 18;
constexpr char kRollbackVersions[] = {1, 1};

template <typename T>
std::span<const char> BytesOf(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof(value)};
}

bool IsPage(uint64_t offset, size_t bytes) {
  return bytes >= sqlite::kMinPageBytes && bytes <= sqlite::kMaxPageBytes &&
         (bytes & (bytes - 1)) == 0 && offset % bytes == 0;
}

}  // namespace

std::span<char> PageStage::Data() const {
  return {reinterpret_cast<char*>(ring_) + kRingPageBytes, kRingBytes};
}

void PageStage::CopyIn(uint64_t position, std::span<const char> data) {
  const size_t at = position % kRingBytes;
  const size_t first = std::min(data.size(), kRingBytes - at);
  std::memcpy(Data().data() + at, data.data(), first);
  std::memcpy(Data().data(), data.data() + first, data.size() - first);
}

void PageStage::SetRing(RingHeader* ring) {
  ring_ = ring;
  free_from_ = 0;
  complete_ = has_header_ = false;
}

void PageStage::Begin(bool wanted, uint32_t base) {
  base_ = base;
  has_header_ = false;
  complete_ = wanted && ring_ != nullptr;
  page_bytes_ = pages_ = 0;
  if (ring_ == nullptr) return;
  ring_->noted.store(1, std::memory_order_relaxed);
  start_ = ring_->head.load(std::memory_order_relaxed);
  if (ring_->tail.load(std::memory_order_acquire) == start_ && start_ % kRingBytes != 0) {
    start_ += kRingBytes - start_ % kRingBytes;
    free_from_ = start_;
  }
  end_ = start_ + sizeof(RingTransaction);
}

void PageStage::Add(uint64_t offset, std::span<const char> data) {
  if (!complete_) return;
  const uint64_t end = end_ + sizeof(RingPage) + data.size();
  // Below start_ nothing is left where the ring was empty.
  const uint64_t tail = std::max(ring_->tail.load(std::memory_order_acquire), free_from_);
  complete_ = IsPage(offset, data.size()) && (pages_ == 0 || data.size() == page_bytes_) &&
              end - tail <= kRingBytes;
  if (!complete_) return;
  page_bytes_ = static_cast<uint32_t>(data.size());
  if (offset == 0) {
    has_header_ = std::equal(std::begin(kRollbackVersions), std::end(kRollbackVersions),
                             data.begin() + kVersionsAt);
  }
  const RingPage page{.pgno = static_cast<uint32_t>(offset / data.size() + 1), .reserved = 0};
  CopyIn(end_, BytesOf(page));
  CopyIn(end_ + sizeof(page), data);
  end_ = end;
  ++pages_;
}

void PageStage::Publish() {
  CopyIn(start_, BytesOf(RingTransaction{
                     .page_bytes = page_bytes_, .pages = pages_, .base = base_, .reserved = 0}));
  ring_->start.store(free_from_, std::memory_order_relaxed);
  ring_->head.store(end_, std::memory_order_seq_cst);
}

void PageStage::Forget() {
  complete_ = has_header_ = false;
  if (ring_ != nullptr) ring_->noted.store(0, std::memory_order_seq_cst);
}

}  // namespace litefs::preload
