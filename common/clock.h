// Clock: the only source of time for code whose behaviour depends on it, so that tests can set it.

#pragma once

#include <chrono>
#include <cstdint>

namespace litefs {

class Clock {
 public:
  virtual ~Clock() = default;
  // Milliseconds since the Unix epoch; may jump.
  virtual int64_t WallMs() const = 0;
  // Never jumps, and runs while the machine is suspended (CLOCK_BOOTTIME).
  virtual std::chrono::nanoseconds Boot() const = 0;
};

// The system's clocks.  Lives for ever; any thread.
const Clock& SystemClock();

}  // namespace litefs
