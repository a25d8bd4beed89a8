#include "daemon/db/dirty_ranges.h"

#include <algorithm>

namespace litefs::db {

void DirtyRanges::Add(uint64_t offset, uint64_t length) {
  touched_ = true;
  if (everything_ || length == 0) return;
  const uint64_t end = offset + length < offset ? ~uint64_t{0} : offset + length;
  if (!ranges_.empty() && ranges_.back().end == offset) {
    ranges_.back().end = end;
    return;
  }
  if (ranges_.size() == kMaxRanges) {
    ranges_.clear();
    everything_ = true;
    return;
  }
  ranges_.push_back({offset, end});
}

void DirtyRanges::Merge(const DirtyRanges& other) {
  for (const Range& range : other.ranges_) Add(range.begin, range.end - range.begin);
  everything_ |= other.everything_;
  touched_ |= other.touched_;
}

void DirtyRanges::Clear() {
  ranges_.clear();
  everything_ = false;
  touched_ = false;
}

void DirtyRanges::Pages(uint32_t page_bytes, ltx::PageNo size_pages,
                        std::vector<ltx::PageNo>* pages) const {
  pages->clear();
  const uint64_t size_bytes = uint64_t{size_pages} * page_bytes;
  const auto add = [&](uint64_t begin, uint64_t end) {
    end = std::min(end, size_bytes);
    if (begin >= end) return;
    const auto last = static_cast<ltx::PageNo>((end - 1) / page_bytes + 1);
    for (auto pgno = static_cast<ltx::PageNo>(begin / page_bytes + 1); pgno <= last; ++pgno) {
      pages->push_back(pgno);
    }
  };
  if (everything_) {
    add(0, size_bytes);
    return;
  }
  for (const Range& range : ranges_) add(range.begin, range.end);
  std::sort(pages->begin(), pages->end());
  pages->erase(std::unique(pages->begin(), pages->end()), pages->end());
}

}  // namespace litefs::db
