// WallTime: the primary's wall clock as a node knows it.  A primary reads its own; a replica that
// serves others knows it through its primary, to some milliseconds, or not yet.
// Any thread.

#pragma once

#include <cstdint>
#include <optional>

#include "common/clock.h"
#include "daemon/replication/lag_table.h"

namespace litefs::replication {

class WallTime {
 public:
  // upstream is null on a primary.  Both must outlive this.
  WallTime(const Clock* clock, const LagTable* upstream) : clock_(clock), upstream_(upstream) {}

  std::optional<int64_t> Us() const {
    if (upstream_ != nullptr) return upstream_->TimeUs();
    return clock_->WallMs() * 1000;
  }

 private:
  const Clock* const clock_;
  const LagTable* const upstream_;
};

}  // namespace litefs::replication
