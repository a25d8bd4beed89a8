#include "common/clock.h"

#include <ctime>

namespace litefs {
namespace {

class RealClock final : public Clock {
 public:
  int64_t WallMs() const override {
    return std::chrono::duration_cast<std::chrono::milliseconds>(Read(CLOCK_REALTIME)).count();
  }
  std::chrono::nanoseconds Boot() const override { return Read(CLOCK_BOOTTIME); }

 private:
  static std::chrono::nanoseconds Read(clockid_t id) {
    timespec ts{};
    clock_gettime(id, &ts);
    return std::chrono::seconds(ts.tv_sec) + std::chrono::nanoseconds(ts.tv_nsec);
  }
};

}  // namespace

const Clock& SystemClock() {
  static const RealClock clock;
  return clock;
}

}  // namespace litefs
