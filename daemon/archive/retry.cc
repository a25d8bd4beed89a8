#include "daemon/archive/retry.h"

#include <algorithm>
#include <random>

namespace litefs::archive {
namespace {

using std::chrono::milliseconds;
constexpr milliseconds kFirstPause{100};
constexpr milliseconds kLongestPause{5000};

// Between half and all of the pause before that attempt.
milliseconds PauseBefore(int attempt) {
  const milliseconds pause = std::min(kFirstPause * (1 << std::min(attempt, 10)), kLongestPause);
  thread_local std::minstd_rand random{std::random_device()()};
  return milliseconds(std::uniform_int_distribution(pause.count() / 2, pause.count())(random));
}

}  // namespace

absl::Status Retrier::Run(const std::function<absl::Status()>& attempt) {
  for (int retries = 0;; ++retries) {
    absl::Status status = attempt();
    if (!absl::IsUnavailable(status) || retries >= max_retries_) return status;
    if (!Pause(retries)) return absl::CancelledError("stopped");
  }
}

bool Retrier::Pause(int attempt) {
  const auto end = std::chrono::steady_clock::now() + PauseBefore(attempt);
  const MutexLock lock(mu_);
  while (!stopped_ && changed_.WaitUntil(mu_, end)) {
  }
  return !stopped_;
}

void Retrier::Stop() {
  const MutexLock lock(mu_);
  stopped_ = true;
  changed_.NotifyAll();
}

}  // namespace litefs::archive
