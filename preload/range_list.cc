#include "preload/range_list.h"

#include <cstring>

namespace litefs::preload {
namespace {

uint64_t End(const ipc::DirtyRange& range) {
  uint64_t end;
  return __builtin_add_overflow(range.offset, range.length, &end) ? ~uint64_t{0} : end;
}

}  // namespace

bool RangeList::Add(ipc::DirtyRange range) {
  if (range.length == 0) return true;
  // [first, last) are the items that touch the new range.
  uint32_t first = count_;
  while (first > 0 && End(items_[first - 1]) >= range.offset) --first;
  uint32_t last = first;
  const uint64_t range_end = End(range);
  uint64_t end = range_end;
  while (last < count_ && items_[last].offset <= range_end) {
    if (items_[last].offset < range.offset) range.offset = items_[last].offset;
    if (End(items_[last]) > end) end = End(items_[last]);
    ++last;
  }
  if (first == last && count_ == kCapacity) return false;
  range.length = end - range.offset;
  std::memmove(&items_[first + 1], &items_[last], (count_ - last) * sizeof(items_[0]));
  items_[first] = range;
  count_ = count_ - (last - first) + 1;
  return true;
}

void RangeList::AddSize(uint64_t size) {
  if (size_plus_one_ == 0 || size + 1 < size_plus_one_) size_plus_one_ = size + 1;
}

bool RangeList::AddAll(const RangeList& other) {
  bool all = true;
  for (uint32_t i = 0; i < other.count_; ++i) all &= Add(other.items_[i]);
  if (other.size_plus_one_ != 0) AddSize(other.size_plus_one_ - 1);
  return all;
}

std::span<const ipc::DirtyRange> RangeList::ranges() {
  if (size_plus_one_ == 0) return {items_, count_};
  items_[count_] = {size_plus_one_ - 1, 0};
  return {items_, count_ + 1};
}

}  // namespace litefs::preload
