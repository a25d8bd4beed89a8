// Retrier: repeats what is kUnavailable, after pauses that double and are
// randomised, so that many clients of a struggling server do not come back at
// once.  Any number of threads.

#pragma once

#include <chrono>
#include <functional>

#include "absl/status/status.h"
#include "common/mutex.h"

namespace litefs::archive {

class Retrier {
 public:
  explicit Retrier(int max_retries) : max_retries_(max_retries) {}

  // Returns the first result that is not kUnavailable, or the last one.
  // kCancelled after Stop.
  absl::Status Run(const std::function<absl::Status()>& attempt);

  // Ends the pauses.
  void Stop() EXCLUDES(mu_);

 private:
  // Returns false if stopped.
  bool Pause(int attempt) EXCLUDES(mu_);

  const int max_retries_;
  Mutex mu_;
  CondVar changed_;
  bool stopped_ GUARDED_BY(mu_) = false;
};

}  // namespace litefs::archive
