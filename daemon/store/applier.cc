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
      MutexLock lock(mu_);
      const auto deadline = std::chrono::steady_clock::now() + retry;
      while (!notified_ && !stopping_) {
        if (!waiting) {
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
  }
}

// True if something is left to be tried again.
bool Applier::ApplyAll() {
  bool left = false;
  for (Store::Entry* entry : store_->All()) {
    if (entry->replica == nullptr || !entry->replica->HasPending()) continue;
    const absl::Status status = entry->replica->ApplyPending();
    left |= !status.ok();
    if (!status.ok() && !absl::IsUnavailable(status)) {
      LogWarn("apply", fmt::format("db={} {}", entry->database->name(), status.ToString()));
    }
  }
  return left;
}

}  // namespace litefs::store
