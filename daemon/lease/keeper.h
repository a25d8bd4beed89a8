// LeaseKeeper: the thread of a node that writes only while it holds the lease.  It gets the lease
// when that is safe, renews it, tells until when the node may write, and releases it at the end.
//
// Safe is: the record is of this cluster, this node has every position that the record notes, and
// it has followed or been the last reign.  Else it waits, and says why (Status::problem).
//
// Start and Stop belong to one thread; Status is for any.

#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "common/clock.h"
#include "common/mutex.h"
#include "daemon/lease/lease.h"

namespace litefs::lease {

struct KeeperStatus {
  bool holds = false;
  uint64_t epoch = 0;       // of this node's reign
  std::string owner{};      // node id of who was seen to hold it; empty: nobody
  std::string problem{};    // why this node does not hold it, or cannot renew it
  uint64_t times_lost = 0;  // reigns that ended without Stop
};

class LeaseKeeper {
 public:
  struct Options {
    Owner self;
    milliseconds ttl{10'000};
    const Clock* clock = nullptr;  // must outlive the keeper
    uint64_t known_epoch = 0;      // the last reign that this node was or followed; 0: none
    // All that is committed here.  Any thread.
    std::function<Positions()> positions;
    // A reign of this epoch is about to begin; durable on return.
    std::function<absl::Status(uint64_t epoch)> on_epoch;
    // This node may write until then; 0: not at all.  On the keeper's thread.
    std::function<void(BootTime deadline)> on_deadline;
    // Takes what is committed into the chain, after the node was fenced.  In Stop.
    std::function<void()> drain;
  };

  LeaseKeeper(Options options, std::unique_ptr<Lease> lease);
  ~LeaseKeeper();
  LeaseKeeper(const LeaseKeeper&) = delete;
  LeaseKeeper& operator=(const LeaseKeeper&) = delete;

  void Start();
  // Fences the node, drains it, notes the positions and releases the lease, within a bounded time.
  void Stop() EXCLUDES(mu_);

  KeeperStatus Status() const EXCLUDES(mu_);

 private:
  void Run() EXCLUDES(mu_);
  void TryToReign();
  std::string WhyNot(const View& view) const;
  void Keep();
  void Lost(const std::string& why) EXCLUDES(mu_);
  void Report(const std::string& owner, const std::string& problem) EXCLUDES(mu_);
  void WaitFor(milliseconds time) EXCLUDES(mu_);
  bool stopping() const EXCLUDES(mu_);

  const Options options_;
  const std::unique_ptr<Lease> lease_;
  std::thread thread_;
  // Of the keeper's thread, and of Stop after it.
  bool holds_ = false;
  BootTime deadline_{};
  uint64_t known_epoch_ = 0;
  mutable Mutex mu_;
  CondVar changed_;
  bool stopping_ GUARDED_BY(mu_) = false;
  KeeperStatus status_ GUARDED_BY(mu_);
};

}  // namespace litefs::lease
