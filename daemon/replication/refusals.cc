#include "daemon/replication/refusals.h"

#include <fmt/format.h>

#include "common/clock.h"
#include "common/log.h"

namespace litefs::replication {
namespace {

// So many lines in a window of so long.
constexpr int kMaxLines = 5;
constexpr std::chrono::seconds kWindow{10};

}  // namespace

void Refusals::Add(const std::string& text) {
  std::string more;
  {
    MutexLock lock(mu_);
    ++summary_.count;
    summary_.last = text;
    const std::chrono::nanoseconds now = SystemClock().Boot();
    if (window_began_.count() == 0 || now >= window_began_ + kWindow) {
      window_began_ = now;
      lines_in_window_ = 0;
    }
    if (lines_in_window_ == kMaxLines) {
      ++unlogged_;
      return;
    }
    ++lines_in_window_;
    if (unlogged_ != 0) more = fmt::format(" unlogged_before={}", unlogged_);
    unlogged_ = 0;
  }
  LogWarn("replication", fmt::format("refused {}{}", text, more));
}

Refusals::Summary Refusals::Get() const {
  MutexLock lock(mu_);
  return summary_;
}

}  // namespace litefs::replication
