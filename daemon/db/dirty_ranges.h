// DirtyRanges: the bytes of a database file that may have changed, as the shim reported them,
// turned into page numbers.  Bounded: beyond kMaxRanges it knows no more than "everything". Pure;
// not thread-safe.

#pragma once

#include <cstdint>
#include <vector>

#include "ltx/types.h"

namespace litefs::db {

class DirtyRanges {
 public:
  static constexpr size_t kMaxRanges = 1 << 20;

  void Add(uint64_t offset, uint64_t length);
  void AddEverything() { everything_ = true; }
  void Merge(const DirtyRanges& other);
  void Clear();

  bool empty() const { return ranges_.empty() && !everything_ && !touched_; }
  bool everything() const { return everything_; }

  // The pages of a database of size_pages that the ranges touch: ascending, no duplicates; all of
  // them if everything().
  void Pages(uint32_t page_bytes, ltx::PageNo size_pages, std::vector<ltx::PageNo>* pages) const;

 private:
  struct Range {
    uint64_t begin = 0;
    uint64_t end = 0;
  };
  std::vector<Range> ranges_;
  bool everything_ = false;
  bool touched_ = false;  // a change of size: nothing to read, but something happened
};

}  // namespace litefs::db
