// Refusals: the peers that were turned away, counted for status and logged at a bounded rate,
// whatever they do.  Any thread.

#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "common/mutex.h"

namespace litefs::replication {

class Refusals {
 public:
  struct Summary {
    uint64_t count = 0;
    std::string last;  // the text of the last one
  };

  // text names the peer, the reason and the way out.
  void Add(const std::string& text) EXCLUDES(mu_);
  Summary Get() const EXCLUDES(mu_);

 private:
  mutable Mutex mu_;
  Summary summary_ GUARDED_BY(mu_);
  std::chrono::nanoseconds window_began_ GUARDED_BY(mu_){};  // Clock::Boot; 0: none yet
  int lines_in_window_ GUARDED_BY(mu_) = 0;
  uint64_t unlogged_ GUARDED_BY(mu_) = 0;
};

}  // namespace litefs::replication
