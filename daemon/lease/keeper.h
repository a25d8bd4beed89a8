// LeaseKeeper: the thread of a node that may write only while it holds the lease (docs/CLUSTER.md).
// Without the lease it announces the node as a candidate, tells who reigns, and takes the lease
// when that is safe; with it, it renews, tells until when the node may write, notes how far the
// cluster has come, and hands it over or releases it when told to.
//
// Safe is: the record is of this cluster, this node has every position that the record notes, it
// has followed or been the last reign, and no other candidate has more.  Else it waits, and says
// why (KeeperStatus::problem).
//
// A reign has two steps: the lease is held (on_reign), and, once the node is ready (Begin), apps
// may write.  Start and Stop belong to one thread; the other methods are for any.  Callbacks come
// on the keeper's thread, and must not call Start or Stop.

#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "common/clock.h"
#include "common/mutex.h"
#include "daemon/lease/lease.h"

namespace litefs::lease {

struct KeeperStatus {
  bool holds = false;
  bool writes = false;      // apps may write
  uint64_t epoch = 0;       // of this node's last reign
  std::string owner{};      // node id of who was seen to hold it; empty: nobody
  std::string problem{};    // why this node does not hold it, or cannot renew it
  uint64_t times_lost = 0;  // reigns that ended against this node's will
  // What the last reign was begun in spite of (Want with force), as far as the record tells.
  std::vector<std::string> abandoned{};
};

// Of this node, at one moment.
struct Standing {
  std::string cluster_id;  // empty: it has no history, and joins or founds a cluster
  uint64_t epoch = 0;      // the last reign that it was or followed; 0: none
  Positions positions{};   // all that it has
  Positions replicated{};  // of these, what would survive it (see Note)
};

class LeaseKeeper {
 public:
  struct Options {
    Candidate self;         // node id and endpoint
    bool candidate = true;  // false: it never reigns
    milliseconds ttl{10'000};
    const Clock* clock = nullptr;  // must outlive the keeper
    std::function<Standing()> standing;
    // A node without history founds a cluster: returns its new id, durable.
    std::function<absl::StatusOr<std::string>()> on_found;
    // The lease is held in this epoch: Begin or GiveBack is to follow.
    std::function<void(uint64_t epoch)> on_reign;
    // Another node reigns, or reigns in a new epoch.
    std::function<void(const Owner& owner)> on_owner;
    // A candidate asks for the lease, which this node holds and writes under.
    std::function<void(const std::string& node_id)> on_wish;
    // Apps may write until then; 0: not at all.
    std::function<void(BootTime deadline)> on_deadline;
    // This node alone reigns until then, whether its apps may write or not; 0: it does not.
    std::function<void(BootTime deadline)> on_held = [](BootTime /*deadline*/) {};
  };
  using Done = std::function<void(absl::Status)>;

  LeaseKeeper(Options options, std::unique_ptr<Lease> lease);
  ~LeaseKeeper();
  LeaseKeeper(const LeaseKeeper&) = delete;
  LeaseKeeper& operator=(const LeaseKeeper&) = delete;

  void Start();
  // Ends the reign, if there is one, at once, within a bounded time; the record then says: reached.
  // REQUIRES: Fence was called, and what was committed before it is in the chain.
  void Stop(const Positions& reached) EXCLUDES(mu_);

  // Lets apps write in the reign of this epoch.  False: it is over.
  bool Begin(uint64_t epoch) EXCLUDES(mu_);
  // Apps may not write any more, until Begin.
  void Fence() EXCLUDES(mu_);
  // Ends the reign; the node does not try again for a while.
  void GiveBack(const std::string& why) EXCLUDES(mu_);
  // Makes the candidate the owner, with the positions that were reached; done is called on the
  // keeper's thread with the outcome, as of Lease::HandOver.  kFailedPrecondition also if this node
  // has lost the lease since the reign of this epoch and got it back: the candidate, who has not
  // followed that new reign, could not begin.
  // REQUIRES: as of Stop.
  void HandOver(uint64_t epoch, const std::string& node_id, const Positions& reached, Done done)
      EXCLUDES(mu_);
  // Asks for the lease; force: also where that is not safe, unless another node holds it.
  void Want(bool force) EXCLUDES(mu_);
  void Withdraw() EXCLUDES(mu_);

  KeeperStatus Status() const EXCLUDES(mu_);
  // Looks for candidates now, soon.
  void Refresh() EXCLUDES(mu_);
  // Candidates as last seen; empty unless this node holds the lease.
  std::vector<Candidate> Candidates() const EXCLUDES(mu_);

 private:
  void Run() EXCLUDES(mu_);
  void RunTasks() EXCLUDES(mu_);
  void Post(std::function<void()> task) EXCLUDES(mu_);
  void Seek() EXCLUDES(mu_);
  bool FollowOwner(const View& view) EXCLUDES(mu_);
  void Announce(const Standing& standing) EXCLUDES(mu_);
  std::string WhyNot(const View& view, const Standing& standing) const;
  std::string WhoIsBetter(const View& view, const Standing& standing);
  absl::Status Found(Standing* standing);
  void Acquire(const View& view, const Standing& standing, std::vector<std::string> abandoned)
      EXCLUDES(mu_);
  void Keep() EXCLUDES(mu_);
  void NoteProgress() EXCLUDES(mu_);
  void LookForCandidates() EXCLUDES(mu_);
  void Lost(const std::string& why) EXCLUDES(mu_);
  void EndReign(const std::string& why) EXCLUDES(mu_);
  void Report(const std::string& owner, const std::string& problem) EXCLUDES(mu_);
  void WaitFor(milliseconds time) EXCLUDES(mu_);
  bool stopping() const EXCLUDES(mu_);
  bool forced() const EXCLUDES(mu_);
  bool holds() const EXCLUDES(mu_);
  milliseconds timeout() const;

  const Options options_;
  const std::unique_ptr<Lease> lease_;
  std::thread thread_;
  // Of the keeper's thread.
  Owner seen_{};  // the last owner that was told of
  BootTime next_renewal_{};
  BootTime not_before_{};       // no attempt to reign before this
  BootTime deferring_since_{};  // to a better candidate; 0: not
  bool alone_ = false;          // looked for other founders once
  mutable Mutex mu_;
  CondVar changed_;
  bool stopping_ GUARDED_BY(mu_) = false;
  bool wants_ GUARDED_BY(mu_) = false;
  bool forced_ GUARDED_BY(mu_) = false;
  BootTime deadline_ GUARDED_BY(mu_){};
  std::deque<std::function<void()>> tasks_ GUARDED_BY(mu_);
  std::vector<Candidate> candidates_ GUARDED_BY(mu_);
  KeeperStatus status_ GUARDED_BY(mu_);
};

}  // namespace litefs::lease
