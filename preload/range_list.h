// The byte ranges of a database written since its last commit: sorted, overlapping and adjacent
// ones joined, at most kCapacity of them, and a mark for the file's size having been set.
// Shim-safe.

#pragma once

#include <cstdint>
#include <span>

#include "ipc/protocol.h"

namespace litefs::preload {

class RangeList {
 public:
  static constexpr uint32_t kCapacity = 256;

  // False, and nothing added, if the list is full.
  bool Add(ipc::DirtyRange range);
  // The file's size became size; travels as a range of length 0.  The smallest one is kept.
  void AddSize(uint64_t size);
  // Adds all of other; false if some did not fit.
  bool AddAll(const RangeList& other);
  void Clear() {
    count_ = 0;
    size_plus_one_ = 0;
  }

  bool empty() const { return count_ == 0 && size_plus_one_ == 0; }
  // Valid until the next change.
  std::span<const ipc::DirtyRange> ranges();

 private:
  ipc::DirtyRange items_[kCapacity + 1]{};  // one more for the size
  uint32_t count_ = 0;
  uint64_t size_plus_one_ = 0;  // 0: no size; all zeros is the empty list, so that it lies in BSS
};

}  // namespace litefs::preload
