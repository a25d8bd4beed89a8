#include "daemon/store/applier.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "common/log.h"

namespace litefs::store {
namespace {

// Between two tries while readers hold a database: from the first, doubling to the second.
constexpr std::chrono::milliseconds kFirstRetry{1};
constexpr std::chrono::milliseconds kLastRetry{50};
// A database is quiet when nothing has been applied for so long; what readers keep from being
// tidied is tried again after double the time, up to the second.
constexpr std::chrono::seconds kQuiet{5};
constexpr std::chrono::seconds kLastPause{60};
constexpr std::chrono::seconds kTogether{1};

}  // namespace

void Applier::Start() {
  thread_ = std::thread([this] { Run(); });
}

void Applier::Stop() {
  {
    MutexLock lock(mu_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

void Applier::Notify() {
  MutexLock lock(mu_);
  notified_ = true;
  changed_.NotifyAll();
}

void Applier::Run() {
  std::chrono::milliseconds retry = kFirstRetry;
  bool waiting = false;  // some database is to be tried again
  while (true) {
    {
      const Clock::time_point deadline = NextDeadline(waiting, retry);
      MutexLock lock(mu_);
      while (!notified_ && !stopping_) {
        if (deadline == Clock::time_point::max()) {
          changed_.Wait(mu_);
        } else if (!changed_.WaitUntil(mu_, deadline)) {
          break;
        }
      }
      if (stopping_) return;
      if (notified_) retry = kFirstRetry;
      notified_ = false;
    }
    waiting = ApplyAll();
    retry = waiting ? std::min(retry * 2, kLastRetry) : kFirstRetry;
    Tidy();
  }
}

Applier::Clock::time_point Applier::NextDeadline(bool waiting,
                                                 std::chrono::milliseconds retry) const {
  Clock::time_point next = waiting ? Clock::now() + retry : Clock::time_point::max();
  for (const auto& [entry, untidy] : untidy_) next = std::min(next, untidy.due);
  return next;
}

void Applier::Tidy() {
  // Those of the next second too: one wake-up for many.
  const Clock::time_point now = Clock::now();
  if (NextDeadline(false, {}) > now) return;
  for (auto it = untidy_.begin(); it != untidy_.end();) {
    auto& [entry, untidy] = *it;
    if (now + kTogether >= untidy.due) {
      if (entry->replica->Tidy()) {
        it = untidy_.erase(it);
        continue;
      }
      untidy.pause = std::min(untidy.pause * 2, kLastPause);
      untidy.due = now + untidy.pause;
    }
    ++it;
  }
}

// True if something is left to be tried again.
bool Applier::ApplyAll() {
  bool left = false;
  for (Store::Entry* entry : store_->All()) {
    if (entry->replica == nullptr || !entry->replica->HasPending()) continue;
    const absl::Status status = entry->replica->ApplyPending();
    left |= !status.ok();
    if (entry->replica->IsTidy()) {
      untidy_.erase(entry);
    } else {
      untidy_[entry] = {.due = Clock::now() + kQuiet, .pause = kQuiet};
    }
    if (!status.ok() && !absl::IsUnavailable(status)) {
      LogWarn("apply", fmt::format("db={} {}", entry->database->name(), status.ToString()));
    }
  }
  return left;
}

}  // namespace litefs::store
