// The loop: without the lease, read, judge, acquire, else watch until the owner changes; with it,
// renew and note the positions every third of the TTL.  A renewal that fails is tried again until
// the deadline has passed: by then the apps are refused by themselves.
//
// An acquired lease counts only after its epoch is on the disk: a node that forgot its own reign
// would take what it wrote for another's.

#include "daemon/lease/keeper.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "common/log.h"

namespace litefs::lease {
namespace {

constexpr milliseconds kLongestCall{5000};
constexpr milliseconds kReleaseTimeout{3000};

}  // namespace

LeaseKeeper::LeaseKeeper(Options options, std::unique_ptr<Lease> lease)
    : options_(std::move(options)), lease_(std::move(lease)), known_epoch_(options_.known_epoch) {}

LeaseKeeper::~LeaseKeeper() { Stop(); }

void LeaseKeeper::Start() {
  thread_ = std::thread([this] { Run(); });
}

KeeperStatus LeaseKeeper::Status() const {
  MutexLock lock(mu_);
  return status_;
}

bool LeaseKeeper::stopping() const {
  MutexLock lock(mu_);
  return stopping_;
}

void LeaseKeeper::Report(const std::string& owner, const std::string& problem) {
  MutexLock lock(mu_);
  if (problem != status_.problem && !problem.empty()) LogWarn("lease", problem);
  status_.owner = owner;
  status_.problem = problem;
}

void LeaseKeeper::WaitFor(milliseconds time) {
  const auto end = std::chrono::steady_clock::now() + time;
  MutexLock lock(mu_);
  while (!stopping_ && changed_.WaitUntil(mu_, end)) continue;
}

void LeaseKeeper::Run() {
  while (!stopping()) {
    if (holds_) {
      Keep();
    } else {
      TryToReign();
    }
  }
}

// Empty: this node may reign.
std::string LeaseKeeper::WhyNot(const View& view) const {
  const Record& record = view.record;
  if (!record.cluster_id.empty() && record.cluster_id != options_.self.cluster_id) {
    return fmt::format(
        "this node is of cluster {}, the lease of cluster {}: give it another lease.key",
        options_.self.cluster_id, record.cluster_id);
  }
  const std::string behind = options_.positions().Behind(record.positions);
  if (!behind.empty()) return behind;
  if (record.epoch > known_epoch_) {
    return fmt::format(
        "a reign of epoch {} has been since this node's last one ({}): make it a "
        "replica of that node until it has caught up",
        record.epoch, known_epoch_);
  }
  return "";
}

void LeaseKeeper::TryToReign() {
  const milliseconds timeout = std::min(options_.ttl / 2, kLongestCall);
  const absl::StatusOr<View> view = lease_->Read(timeout);
  if (!view.ok()) {
    if (!absl::IsCancelled(view.status())) Report("", std::string(view.status().message()));
    WaitFor(options_.ttl / 10);
    return;
  }
  const std::string owner = view->owner.has_value() ? view->owner->node_id : "";
  if (view->owner.has_value() && owner != options_.self.node_id) {
    Report(owner, fmt::format("node {} holds the lease, epoch {}", owner, view->owner->epoch));
    (void)lease_->Watch(*view, options_.ttl);
    return;
  }
  if (const std::string why = WhyNot(*view); !why.empty()) {
    Report(owner, why);
    WaitFor(options_.ttl / 3);
    return;
  }
  const absl::StatusOr<Reign> reign = lease_->Acquire(options_.self, *view, timeout);
  if (!reign.ok()) {
    if (!absl::IsAborted(reign.status())) Report(owner, std::string(reign.status().message()));
    WaitFor(options_.ttl / 10);
    return;
  }
  if (const absl::Status status = options_.on_epoch(reign->epoch); !status.ok()) {
    Report("", fmt::format("the lease is given back: {}", std::string(status.message())));
    (void)lease_->Release(std::nullopt, kReleaseTimeout);
    WaitFor(options_.ttl);
    return;
  }
  holds_ = true;
  known_epoch_ = reign->epoch;
  deadline_ = reign->deadline;
  options_.on_deadline(deadline_);
  LogInfo("lease", fmt::format("this node may write, epoch={}", reign->epoch));
  MutexLock lock(mu_);
  status_.holds = true;
  status_.epoch = reign->epoch;
  status_.owner = options_.self.node_id;
  status_.problem.clear();
}

void LeaseKeeper::Lost(const std::string& why) {
  holds_ = false;
  options_.on_deadline(BootTime(0));
  LogError("lease", fmt::format("this node may not write any more: {}", why));
  MutexLock lock(mu_);
  status_.holds = false;
  status_.owner.clear();
  status_.problem = why;
  ++status_.times_lost;
}

void LeaseKeeper::Keep() {
  WaitFor(options_.ttl / 3);
  if (stopping()) return;
  milliseconds timeout = std::min(options_.ttl / 3, kLongestCall);
  const absl::StatusOr<BootTime> renewed = lease_->Renew(timeout);
  if (absl::IsCancelled(renewed.status())) return;
  if (absl::IsNotFound(renewed.status())) {
    Lost(std::string(renewed.status().message()));
    return;
  }
  if (!renewed.ok()) {
    Report(options_.self.node_id, std::string(renewed.status().message()));
    if (options_.clock->Boot() >= deadline_) Lost(std::string(renewed.status().message()));
    return;
  }
  // Past the old deadline the lease may have been another's in between, unless the server says it
  // was not: it does, since a renewal of what was lost is refused.
  deadline_ = *renewed;
  options_.on_deadline(deadline_);
  const absl::Status noted = lease_->Note(options_.positions(), timeout);
  if (absl::IsNotFound(noted)) {
    Lost(std::string(noted.message()));
  } else if (!absl::IsCancelled(noted)) {
    Report(options_.self.node_id, noted.ok() ? "" : std::string(noted.message()));
  }
}

void LeaseKeeper::Stop() {
  if (!thread_.joinable()) return;
  {
    MutexLock lock(mu_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  lease_->Interrupt();
  thread_.join();
  lease_->Resume();
  std::optional<Positions> positions;
  if (holds_) {
    options_.on_deadline(BootTime(0));
    options_.drain();
    positions = options_.positions();
  }
  if (const absl::Status status = lease_->Release(positions, kReleaseTimeout); !status.ok()) {
    LogWarn("lease", fmt::format("not released, it ends by itself: {}", status.ToString()));
  }
  holds_ = false;
}

}  // namespace litefs::lease
