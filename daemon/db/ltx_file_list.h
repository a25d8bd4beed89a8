// LtxFileList: the files of a chain, oldest first: added at the end, taken away at the front.  Its
// memory is used again, so that a chain that is pruned as it grows allocates nothing.
// Not thread-safe.

#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "ltx/types.h"

namespace litefs::db {

struct LtxFileRef {
  ltx::TxId min_txid = 0;
  ltx::TxId max_txid = 0;
  ltx::Checksum pre_apply = 0;  // 0 for a snapshot
  ltx::Checksum post_apply = 0;
  uint64_t size_bytes = 0;
  int64_t timestamp_ms = 0;
  // Set by the log: the size of all files that entered it up to this one, those included that have
  // left it since it was opened.
  uint64_t end_bytes = 0;

  ltx::Position end() const { return {max_txid, post_apply}; }
};

class LtxFileList {
 public:
  bool empty() const { return size() == 0; }
  size_t size() const { return files_.size() - first_; }
  auto begin() const { return files_.begin() + static_cast<ptrdiff_t>(first_); }
  auto end() const { return files_.end(); }
  auto rbegin() const { return files_.rbegin(); }
  auto rend() const { return files_.rend() - static_cast<ptrdiff_t>(first_); }
  // REQUIRES: !empty()
  const LtxFileRef& front() const { return files_[first_]; }
  const LtxFileRef& back() const { return files_.back(); }

  void push_back(const LtxFileRef& file) {
    // What has been taken away makes room, when that is at least half: a constant cost a file.
    if (files_.size() == files_.capacity() && first_ * 2 >= files_.size()) Compact();
    files_.push_back(file);
  }
  // REQUIRES: !empty()
  void pop_front() {
    if (++first_ == files_.size()) Compact();
  }

 private:
  void Compact() {
    files_.erase(files_.begin(), begin());
    first_ = 0;
  }

  std::vector<LtxFileRef> files_;
  size_t first_ = 0;  // those before it have been taken away
};

}  // namespace litefs::db
