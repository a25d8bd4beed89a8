// Applier: the thread that brings a replica's database files to the tips of their chains.  A
// database whose readers are in the way is tried again every few ms and does not delay the others.

#pragma once

#include <thread>

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
  void Run() EXCLUDES(mu_);
  bool ApplyAll();

  Store* const store_;
  Mutex mu_;
  CondVar changed_;
  bool notified_ GUARDED_BY(mu_) = true;
  bool stopping_ GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace litefs::store
