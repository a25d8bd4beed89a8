// SnapshotWorker: makes snapshots, and differences to what a replica has, on a thread of its own,
// one at a time.  A snapshot is given out when it begins, and can be read as it grows.  The latest
// few are kept, so that several replicas share one and an interrupted transfer can be resumed; but
// what a single reader has behind it is given back as it goes.
// Requests and results are for the server's thread.

#pragma once

#include <chrono>
#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "common/mutex.h"
#include "daemon/replication/chain.h"
#include "daemon/replication/wakeup.h"

namespace litefs::replication {

// A file that several transfers read at the same time, by offset.
using SharedFile = std::shared_ptr<const ChainFile>;
// What a replica has, if its file is to be a difference to that.
using SharedSums = std::shared_ptr<const PageSums>;

class SnapshotWorker {
 public:
  // Signals wakeup when a result is there, and as a snapshot grows.  Both must outlive the worker.
  SnapshotWorker(ChainSource* source, Wakeup* wakeup);
  ~SnapshotWorker();
  SnapshotWorker(const SnapshotWorker&) = delete;
  SnapshotWorker& operator=(const SnapshotWorker&) = delete;

  // Asks for a snapshot (base is null), or for the difference to base; does nothing if the same is
  // already on its way.
  void Request(const std::string& database, SharedSums base = nullptr) EXCLUDES(mu_);

  struct Result {
    std::string database;
    SharedSums base;  // as requested
    absl::StatusOr<SharedFile> file;
  };
  // The snapshots that have begun, the differences that are finished, and what has failed, since
  // the last call.  A snapshot that fails after it has begun has a result for each.
  std::vector<Result> TakeResults() EXCLUDES(mu_);

  // A snapshot kept from before, which may be growing; or nullptr.
  // It can be read from this offset on.
  SharedFile Kept(const std::string& database, uint64_t from);
  // The server has read a file up to there.  If nobody else reads it, what is long past goes.
  void NoteRead(const SharedFile& file, uint64_t offset);
  // Lets go of snapshots that nobody asked for in a while.  Returns when to call again
  // (Clock::Boot), or max() if none is kept.
  std::chrono::nanoseconds Expire(std::chrono::nanoseconds now);

 private:
  struct Keep {
    std::string database;
    SharedFile file;
    std::chrono::nanoseconds used;
  };
  struct Job {
    std::string database;
    SharedSums base;
    friend bool operator==(const Job&, const Job&) = default;
  };

  // Passes on the snapshot that is being made.
  class Growing;

  void Run() EXCLUDES(mu_);
  absl::Status MakeSnapshot(const Job& job) EXCLUDES(mu_);
  absl::Status MakeDelta(const Job& job) EXCLUDES(mu_);
  void GiveOut(const Job& job, ChainFile file) EXCLUDES(mu_);

  ChainSource* const source_;
  Wakeup* const wakeup_;
  std::vector<Keep> kept_;  // the server's thread only

  Mutex mu_;
  CondVar changed_;
  std::deque<Job> queue_ GUARDED_BY(mu_);   // front: being made
  bool given_out_ GUARDED_BY(mu_) = false;  // the file of the front, begun or finished
  std::vector<Result> results_ GUARDED_BY(mu_);
  bool stopping_ GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace litefs::replication
