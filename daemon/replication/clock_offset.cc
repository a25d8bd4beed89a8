#include "daemon/replication/clock_offset.h"

#include <algorithm>
#include <cstdlib>

namespace litefs::replication {
namespace {

// Clocks are read in milliseconds, and drift.
constexpr int64_t kSlackUs = 2000;

}  // namespace

void ClockOffset::Add(int64_t sent_us, int64_t received_us, int64_t answered_us, int64_t heard_us) {
  const int64_t round_trip = (heard_us - sent_us) - (answered_us - received_us);
  // Milliseconds may make a short round trip negative.
  if (heard_us < sent_us || answered_us < received_us || round_trip < -kSlackUs) return;
  const Sample sample{.offset_us = ((received_us - sent_us) + (answered_us - heard_us)) / 2,
                      .round_trip_us = std::max<int64_t>(round_trip, 0)};
  if (const Sample* best = Best(); best != nullptr) {
    const int64_t possible = (sample.round_trip_us + best->round_trip_us) / 2 + kSlackUs;
    // No delay explains the difference: one of the clocks was set.
    if (std::abs(sample.offset_us - best->offset_us) > possible) count_ = 0;
  }
  samples_[count_++ % kSamples] = sample;
}

const ClockOffset::Sample* ClockOffset::Best() const {
  if (count_ == 0) return nullptr;
  return std::min_element(
      samples_.begin(), samples_.begin() + static_cast<ptrdiff_t>(std::min(count_, kSamples)),
      [](const Sample& a, const Sample& b) { return a.round_trip_us < b.round_trip_us; });
}

std::optional<int64_t> ClockOffset::offset_us() const {
  const Sample* const best = Best();
  return best == nullptr ? std::nullopt : std::optional(best->offset_us);
}

int64_t ClockOffset::error_us() const {
  const Sample* const best = Best();
  return best == nullptr ? 0 : best->round_trip_us / 2 + kSlackUs / 2;
}

}  // namespace litefs::replication
