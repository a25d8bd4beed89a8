// CompressionBudget: how much of what is written is compressed.  LZ4 takes a processor some 450 MB
// a second; where apps write faster than that for long, or many megabytes at once, they would wait
// for it.  So kAtOnce bytes are compressed at once and kASecond in the long run, which is a sixth
// of a processor; what is beyond is stored as literals, at several times the speed.  Pure logic;
// not thread-safe.

#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace litefs::db {

class CompressionBudget {
 public:
  static constexpr uint64_t kAtOnce = 8 << 20;
  static constexpr uint64_t kASecond = 64 << 20;

  // Time has passed; now: of one clock that never goes back.
  void Refill(std::chrono::nanoseconds now) {
    using seconds = std::chrono::duration<double>;
    const double gained = seconds(std::max(now - last_, std::chrono::nanoseconds(0))).count() *
                          static_cast<double>(kASecond);
    left_ = gained >= static_cast<double>(kAtOnce)
                ? kAtOnce
                : std::min<uint64_t>(kAtOnce, left_ + static_cast<uint64_t>(gained));
    last_ = now;
  }
  // Whether so much more is to be compressed.
  bool Take(uint64_t bytes) {
    if (left_ < bytes) return false;
    left_ -= bytes;
    return true;
  }

 private:
  uint64_t left_ = kAtOnce;
  std::chrono::nanoseconds last_{0};
};

}  // namespace litefs::db
