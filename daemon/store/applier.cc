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
  Left left;
  while (true) {
    {
      const Clock::time_point deadline = NextDeadline(left, retry);
      MutexLock lock(mu_);
      while (!notified_ && !stopping_ && !left.more) {
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
    left = ApplyAll();
    retry = left.waiting ? std::min(retry * 2, kLastRetry) : kFirstRetry;
    Tidy();
  }
}

Applier::Clock::time_point Applier::NextDeadline(const Left& left,
                                                 std::chrono::milliseconds retry) const {
  Clock::time_point next = left.turn;
  if (left.waiting) next = std::min(next, Clock::now() + retry);
  for (const auto& [entry, untidy] : untidy_) next = std::min(next, untidy.due);
  return next;
}

void Applier::Tidy() {
  // Those of the next second too: one wake-up for many.
  const Clock::time_point now = Clock::now();
  if (NextDeadline({}, {}) > now) return;
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

// A batch of each, so that a busy database does not keep the others waiting.
Applier::Left Applier::ApplyAll() {
  Left left;
  for (Store::Entry* entry : store_->All()) {
    if (entry->replica == nullptr || !entry->replica->HasPending()) continue;
    const Clock::time_point turn = entry->replica->readers_turn_until();
    if (turn > Clock::now()) {
      left.turn = std::min(left.turn, turn);
      continue;
    }
    const absl::Status status = entry->replica->ApplyPending();
    left.waiting |= !status.ok();
    left.more |= status.ok() && entry->replica->HasPending();
    if (entry->replica->IsTidy()) {
      untidy_.erase(entry);
    } else {
      untidy_[entry] = {.due = Clock::now() + kQuiet, .pause = kQuiet};
    }
    Report(entry, status);
  }
  return left;
}

// An error that lasts is said once, until it changes or is over.
void Applier::Report(Store::Entry* entry, const absl::Status& status) {
  if (absl::IsUnavailable(status)) return;
  const std::string message = status.ok() ? "" : status.ToString();
  std::string& reported = reported_[entry];
  if (message == reported) return;
  reported = message;
  if (status.ok()) {
    LogInfo("apply", fmt::format("db={} goes on", entry->database->name()));
  } else {
    LogWarn("apply", fmt::format("db={} {}", entry->database->name(), message));
  }
}

}  // namespace litefs::store
