#include "daemon/replication/snapshot_worker.h"

#include <algorithm>

#include "common/clock.h"

namespace litefs::replication {
namespace {

// A kept snapshot costs its disk space.
constexpr size_t kMaxKept = 4;
constexpr std::chrono::seconds kKeepFor{60};

}  // namespace

SnapshotWorker::SnapshotWorker(ChainSource* source, Wakeup* wakeup)
    : source_(source), wakeup_(wakeup), thread_([this] { Run(); }) {}

SnapshotWorker::~SnapshotWorker() {
  {
    MutexLock lock(mu_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  thread_.join();
}

void SnapshotWorker::Request(const std::string& database, SharedSums base) {
  Job job{database, std::move(base)};
  MutexLock lock(mu_);
  if (std::find(queue_.begin(), queue_.end(), job) != queue_.end()) return;
  queue_.push_back(std::move(job));
  changed_.NotifyAll();
}

std::vector<SnapshotWorker::Result> SnapshotWorker::TakeResults() {
  std::vector<Result> results;
  {
    MutexLock lock(mu_);
    results.swap(results_);
  }
  for (const Result& result : results) {
    if (!result.file.ok() || result.base != nullptr) continue;
    std::erase_if(kept_, [&](const Keep& keep) { return keep.database == result.database; });
    if (kept_.size() == kMaxKept) {
      kept_.erase(std::min_element(kept_.begin(), kept_.end(),
                                   [](const Keep& a, const Keep& b) { return a.used < b.used; }));
    }
    kept_.push_back({result.database, *result.file, SystemClock().Boot()});
  }
  return results;
}

SharedFile SnapshotWorker::Kept(const std::string& database) {
  for (Keep& keep : kept_) {
    if (keep.database != database) continue;
    keep.used = SystemClock().Boot();
    return keep.file;
  }
  return nullptr;
}

std::chrono::nanoseconds SnapshotWorker::Expire(std::chrono::nanoseconds now) {
  std::chrono::nanoseconds next = std::chrono::nanoseconds::max();
  std::erase_if(kept_, [&](const Keep& keep) {
    // A transfer that still reads it keeps it in use.
    return keep.file.use_count() == 1 && now >= keep.used + kKeepFor;
  });
  for (const Keep& keep : kept_) next = std::min(next, std::max(keep.used, now) + kKeepFor);
  return next;
}

void SnapshotWorker::Run() {
  for (;;) {
    Job job;
    {
      MutexLock lock(mu_);
      while (!stopping_ && queue_.empty()) changed_.Wait(mu_);
      if (stopping_) return;
      job = queue_.front();
    }
    absl::StatusOr<ChainFile> made = job.base == nullptr ? source_->Snapshot(job.database)
                                                         : source_->Delta(job.database, *job.base);
    absl::StatusOr<SharedFile> shared = SharedFile();
    if (made.ok()) {
      shared = std::make_shared<const ChainFile>(*std::move(made));
    } else {
      shared = made.status();
    }
    MutexLock lock(mu_);
    queue_.pop_front();
    results_.push_back({job.database, job.base, std::move(shared)});
    wakeup_->Signal();
  }
}

}  // namespace litefs::replication
