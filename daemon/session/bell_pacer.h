// BellPacer: when the bells of WAL commits are looked at next.  A commit that comes alone wakes the
// daemon and is captured at once.  Where they come faster than one in kBusyNs, the daemon looks at
// intervals instead: writers then need not wake it, and what came meanwhile shares an LTX file,
// whose making costs more than the pages of a transaction.  What that adds to the lag is at most
// the interval.  Pure logic; times are nanoseconds of one monotonic clock.

#pragma once

#include <algorithm>
#include <cstdint>

namespace litefs::session {

class BellPacer {
 public:
  static constexpr int64_t kBusyNs = 1'500'000;
  static constexpr int64_t kIntervalNs = 1'000'000;
  // A look that took longer is followed by a pause of this many times its length, at most
  // kLongestNs: the writers are to have the processor, too.
  static constexpr int64_t kPauseATurn = 4;
  static constexpr int64_t kLongestNs = 4'000'000;

  // A look from start to end has captured something; outrun: more has come by then.  Returns for
  // how long not to look; 0: sleep until a writer wakes us.
  int64_t Looked(int64_t start_ns, int64_t end_ns, bool outrun) {
    const bool busy = outrun || (looked_before_ && start_ns - last_start_ns_ < kBusyNs);
    looked_before_ = true;
    last_start_ns_ = start_ns;
    if (!busy) return 0;
    const int64_t took = end_ns - start_ns;
    if (outrun) return std::clamp(kPauseATurn * took, kIntervalNs, kLongestNs);
    return std::max<int64_t>(0, kIntervalNs - took);
  }

 private:
  bool looked_before_ = false;
  int64_t last_start_ns_ = 0;
};

}  // namespace litefs::session
