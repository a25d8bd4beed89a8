#include "daemon/replication/snapshot_worker.h"

#include <fcntl.h>

#include <algorithm>

#include "common/clock.h"
#include "daemon/replication/message.h"

namespace litefs::replication {
namespace {

// A kept snapshot costs its disk space.
constexpr size_t kMaxKept = 4;
constexpr std::chrono::seconds kKeepFor{60};
// The server is woken when so much more is there.
constexpr uint64_t kGrowthToTell = 2 * kChunkBytes;
// A snapshot is not made faster than it is read if that costs little: what is read soon, and
// then given back, need not come from fresh memory.  Little: that it takes 8 s for a GiB.
constexpr uint64_t kAheadBytes = 16 << 20;
constexpr uint64_t kSlowestBytesAMs = 128 << 10;
// What may still be on its way when a connection ends stays, so that the transfer can be resumed.
constexpr uint64_t kRememberBytes = kMaxWindowBytes + (4 << 20);
constexpr uint64_t kForgetBytes = 4 << 20;

}  // namespace

void FileProgress::NoteRead(uint64_t bytes) {
  MutexLock lock(mu_);
  if (bytes <= read_bytes_) return;
  read_bytes_ = bytes;
  changed_.NotifyAll();
}

void FileProgress::AwaitReader(uint64_t ahead_bytes,
                               std::chrono::steady_clock::time_point deadline) {
  MutexLock lock(mu_);
  while (ready_bytes() > read_bytes_ + ahead_bytes) {
    if (!changed_.WaitUntil(mu_, deadline)) return;
  }
}

class SnapshotWorker::Growing final : public SnapshotReader {
 public:
  Growing(SnapshotWorker* worker, const Job* job) : worker_(worker), job_(job) {}

  void Begin(ChainFile file) override {
    Fail();  // what there was
    progress_ = std::make_shared<FileProgress>();
    told_ = 0;
    file.progress = progress_;
    worker_->GiveOut(*job_, std::move(file));
  }
  void Grow(uint64_t ready_bytes) override {
    const uint64_t grown = ready_bytes - progress_->ready_bytes();
    progress_->Grow(ready_bytes);
    if (ready_bytes - told_ >= kGrowthToTell) Tell();
    progress_->AwaitReader(kAheadBytes, std::chrono::steady_clock::now() +
                                            std::chrono::milliseconds(grown / kSlowestBytesAMs));
  }
  void Finish() { Tell(); }
  void Fail() {
    if (progress_ != nullptr) progress_->Fail();
  }

 private:
  void Tell() {
    told_ = progress_->ready_bytes();
    worker_->wakeup_->Signal();
  }

  SnapshotWorker* const worker_;
  const Job* const job_;
  std::shared_ptr<FileProgress> progress_;
  uint64_t told_ = 0;
};

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
  // What has been given out is not what is asked for now.
  const bool is_there = std::any_of(results_.begin(), results_.end(), [&](const Result& result) {
    return result.file.ok() && result.database == job.database && result.base == job.base;
  });
  if (is_there) return;
  const auto waiting = queue_.begin() + (given_out_ && !queue_.empty() ? 1 : 0);
  if (std::find(waiting, queue_.end(), job) != queue_.end()) return;
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

SharedFile SnapshotWorker::Kept(const std::string& database, uint64_t from) {
  for (Keep& keep : kept_) {
    if (keep.database != database || keep.file->failed()) continue;
    if (keep.file->forgotten_bytes() > from) continue;
    keep.used = SystemClock().Boot();
    return keep.file;
  }
  return nullptr;
}

void SnapshotWorker::NoteRead(const SharedFile& file, uint64_t offset) {
  FileProgress* const progress = file->progress.get();
  if (progress == nullptr) return;
  progress->NoteRead(offset);
  const uint64_t before = progress->forgotten_bytes();
  // Of the one who reads it and ours.
  if (file.use_count() > 2 || offset < before + kRememberBytes + kForgetBytes) return;
  const uint64_t end = (offset - kRememberBytes) / kForgetBytes * kForgetBytes;
  if (end <= before) return;
  const int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  if (::fallocate(file->fd.get(), mode, static_cast<off_t>(before),
                  static_cast<off_t>(end - before)) == 0) {
    progress->ForgetUpTo(end);
  }
}

std::chrono::nanoseconds SnapshotWorker::Expire(std::chrono::nanoseconds now) {
  std::chrono::nanoseconds next = std::chrono::nanoseconds::max();
  std::erase_if(kept_, [&](const Keep& keep) {
    if (keep.file->failed()) return true;
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
    const absl::Status status = job.base == nullptr ? MakeSnapshot(job) : MakeDelta(job);
    MutexLock lock(mu_);
    queue_.pop_front();
    given_out_ = false;
    if (!status.ok()) results_.push_back({job.database, job.base, status});
    wakeup_->Signal();
  }
}

absl::Status SnapshotWorker::MakeSnapshot(const Job& job) {
  Growing growing(this, &job);
  const absl::Status status = source_->Snapshot(job.database, &growing);
  status.ok() ? growing.Finish() : growing.Fail();
  return status;
}

absl::Status SnapshotWorker::MakeDelta(const Job& job) {
  absl::StatusOr<ChainFile> made = source_->Delta(job.database, *job.base);
  if (made.ok()) GiveOut(job, *std::move(made));
  return made.status();
}

void SnapshotWorker::GiveOut(const Job& job, ChainFile file) {
  auto shared = std::make_shared<const ChainFile>(std::move(file));
  MutexLock lock(mu_);
  // Nobody has seen what it takes the place of.
  std::erase_if(results_,
                [&](const Result& result) { return result.file.ok() && (*result.file)->failed(); });
  given_out_ = true;
  results_.push_back({job.database, job.base, std::move(shared)});
  wakeup_->Signal();
}

}  // namespace litefs::replication
