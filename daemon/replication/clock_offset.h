// ClockOffset: how far another node's wall clock is from a clock of ours, from round trips as NTP
// measures it.  Of the latest exchanges the one with the shortest round trip is believed: its error
// is at most half of that.
// Not thread-safe.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace litefs::replication {

class ClockOffset {
 public:
  // One exchange, in microseconds: sent and heard by our clock, received and answered by theirs.
  // One that cannot be (an answer before its question) is ignored.
  void Add(int64_t sent_us, int64_t received_us, int64_t answered_us, int64_t heard_us);
  void Reset() { *this = ClockOffset(); }

  // Their clock less ours; nullopt before the first exchange.
  std::optional<int64_t> offset_us() const;
  // At most so far is offset_us from the truth, while no clock jumps.
  int64_t error_us() const;

 private:
  static constexpr size_t kSamples = 8;
  struct Sample {
    int64_t offset_us = 0;
    int64_t round_trip_us = 0;
  };
  const Sample* Best() const;

  std::array<Sample, kSamples> samples_;
  size_t count_ = 0;  // in all; the last kSamples are kept
};

}  // namespace litefs::replication
