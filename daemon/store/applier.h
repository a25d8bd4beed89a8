// Applier: the thread that brings a replica's database files to the tips of their chains.  A
// database whose readers are in the way is tried again every few ms and does not delay the others.
// One that has been quiet for a while is tidied: its WAL goes into the database file.

#pragma once

#include <chrono>
#include <map>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "common/mutex.h"
#include "daemon/store/store.h"

namespace litefs::store {

class Applier {
 public:
  explicit Applier(Store* store) : store_(store) {}
  ~Applier() { Stop(); }
  Applier(const Applier&) = delete;
  Applier& operator=(const Applier&) = delete;

  void Start();
  void Stop() EXCLUDES(mu_);
  // Something has been stored.  Any thread.
  void Notify() EXCLUDES(mu_);

 private:
  using Clock = std::chrono::steady_clock;
  struct Untidy {
    Clock::time_point due;
    std::chrono::seconds pause;  // until the next try
  };
  // What a round did not do.
  struct Left {
    bool waiting = false;  // a database is to be tried again in a while
    bool more = false;     // one has another batch
    Clock::time_point turn = Clock::time_point::max();  // when the first turn of readers ends
  };
  void Run() EXCLUDES(mu_);
  Left ApplyAll();
  void Tidy();
  // When there is something to do though nobody has notified.
  Clock::time_point NextDeadline(const Left& left, std::chrono::milliseconds retry) const;
  void Report(Store::Entry* entry, const absl::Status& status);

  Store* const store_;
  Mutex mu_;
  CondVar changed_;
  bool notified_ GUARDED_BY(mu_) = true;
  bool stopping_ GUARDED_BY(mu_) = false;
  std::map<Store::Entry*, Untidy> untidy_;         // only thread_
  std::map<Store::Entry*, std::string> reported_;  // only thread_; errors that last
  std::thread thread_;
};

}  // namespace litefs::store
