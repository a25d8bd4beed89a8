// The loop: without the lease, read, announce, judge, acquire, else watch until the owner changes;
// with it, renew and note the positions every third of the TTL.  A renewal that fails is tried
// again until the deadline has passed: by then the apps are refused by themselves.

#include "daemon/lease/keeper.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_join.h"
#include "common/log.h"
#include "common/status_macros.h"

namespace litefs::lease {
namespace {

constexpr milliseconds kLongestCall{5000};
constexpr milliseconds kReleaseTimeout{3000};
// For how long a node lets a better candidate go first: it was woken by the same event.
constexpr milliseconds kDeference{500};

}  // namespace

LeaseKeeper::LeaseKeeper(Options options, std::unique_ptr<Lease> lease)
    : options_(std::move(options)), lease_(std::move(lease)) {}

LeaseKeeper::~LeaseKeeper() {
  if (thread_.joinable()) Stop({});
}

void LeaseKeeper::Start() {
  thread_ = std::thread([this] { Run(); });
}

milliseconds LeaseKeeper::timeout() const { return std::min(options_.ttl / 3, kLongestCall); }

KeeperStatus LeaseKeeper::Status() const {
  MutexLock lock(mu_);
  return status_;
}

std::vector<Candidate> LeaseKeeper::Candidates() const {
  MutexLock lock(mu_);
  return candidates_;
}

bool LeaseKeeper::stopping() const {
  MutexLock lock(mu_);
  return stopping_;
}

bool LeaseKeeper::holds() const {
  MutexLock lock(mu_);
  return status_.holds;
}

bool LeaseKeeper::forced() const {
  MutexLock lock(mu_);
  return forced_;
}

void LeaseKeeper::Report(const std::string& owner, const std::string& problem) {
  MutexLock lock(mu_);
  if (problem != status_.problem && !problem.empty()) LogWarn("lease", problem);
  status_.owner = owner;
  status_.problem = problem;
}

// Until the time has passed, or there is something to do.
void LeaseKeeper::WaitFor(milliseconds time) {
  const auto end = std::chrono::steady_clock::now() + time;
  MutexLock lock(mu_);
  while (!stopping_ && tasks_.empty() && changed_.WaitUntil(mu_, end)) continue;
}

void LeaseKeeper::Post(std::function<void()> task) {
  MutexLock lock(mu_);
  tasks_.push_back(std::move(task));
  changed_.NotifyAll();
  lease_->Interrupt();
}

void LeaseKeeper::RunTasks() {
  std::deque<std::function<void()>> tasks;
  {
    MutexLock lock(mu_);
    tasks.swap(tasks_);
    if (!stopping_) lease_->Resume();
  }
  for (const auto& task : tasks) task();
}

void LeaseKeeper::Run() {
  while (!stopping()) {
    RunTasks();
    if (holds()) {
      Keep();
    } else {
      Seek();
    }
  }
}

// ---- Without the lease
// ---------------------------------------------------------------------------------

// Empty: this node may reign.
std::string LeaseKeeper::WhyNot(const View& view, const Standing& standing) const {
  const Record& record = view.record;
  if (record.epoch == 0) return "";
  if (standing.cluster_id.empty()) {
    return fmt::format("this node has no history, and cluster {} has: it must follow first",
                       record.cluster_id);
  }
  if (!record.cluster_id.empty() && record.cluster_id != standing.cluster_id) {
    return fmt::format(
        "this node is of cluster {}, the lease of cluster {}: give it another lease.key",
        standing.cluster_id, record.cluster_id);
  }
  const std::string behind = standing.positions.Behind(record.positions);
  if (!behind.empty()) return behind;
  // The owner of a hand-over is made so before it has reigned.
  const bool handed = view.owner.has_value() && view.owner->epoch == record.epoch;
  if (record.epoch > standing.epoch + (handed ? 1 : 0)) {
    return fmt::format(
        "a reign of epoch {} has been since the last one that this node was or followed ({}): it "
        "may have written what is not here",
        record.epoch, standing.epoch);
  }
  return "";
}

// Who has more, or founded before; empty: nobody.
std::string LeaseKeeper::WhoIsBetter(const View& view, const Standing& standing) {
  const absl::StatusOr<std::vector<Candidate>> candidates = lease_->Candidates(timeout());
  if (!candidates.ok()) return "";
  for (const Candidate& other : *candidates) {
    if (other.node.node_id == options_.self.node.node_id) continue;
    const bool has_history = !other.node.cluster_id.empty();
    if (standing.cluster_id.empty() && has_history) return other.node.node_id;
    const bool same = other.node.cluster_id == standing.cluster_id && has_history;
    if (!same || other.node.epoch < view.record.epoch) continue;
    const bool here_is_less = !standing.positions.Behind(other.positions).empty();
    const bool there_is_less = !other.positions.Behind(standing.positions).empty();
    const auto rank = [](const Positions& at, const std::string& id) {
      return std::pair(at.sum, id);
    };
    const bool later = rank(other.positions, other.node.node_id) >
                       rank(standing.positions, options_.self.node.node_id);
    if (here_is_less && (!there_is_less || later)) return other.node.node_id;
  }
  return "";
}

void LeaseKeeper::Announce(const Standing& standing) {
  Candidate self = options_.self;
  self.node.cluster_id = standing.cluster_id;
  self.node.epoch = standing.epoch;
  self.positions = standing.positions;
  {
    MutexLock lock(mu_);
    self.wants = wants_;
  }
  absl::Status status = lease_->Announce(self, timeout());
  if (status.ok()) status = lease_->Renew(timeout()).status();
  if (!status.ok() && !absl::IsCancelled(status) && !absl::IsNotFound(status)) {
    LogWarn("lease", fmt::format("announce this node: {}", std::string(status.message())));
  }
}

// True if another node is the owner.
bool LeaseKeeper::FollowOwner(const View& view) {
  if (!view.owner.has_value() || view.owner->node_id == options_.self.node.node_id) return false;
  const Owner& owner = *view.owner;
  Report(owner.node_id,
         fmt::format("node {} holds the lease, epoch {}", owner.node_id, owner.epoch));
  if (owner.node_id != seen_.node_id || owner.epoch != seen_.epoch) {
    seen_ = owner;
    options_.on_owner(owner);
  }
  return true;
}

void LeaseKeeper::Seek() {
  const absl::StatusOr<View> view = lease_->Read(timeout());
  if (!view.ok()) {
    if (!absl::IsCancelled(view.status())) Report("", std::string(view.status().message()));
    return WaitFor(options_.ttl / 10);
  }
  Standing standing = options_.standing();
  const bool followed = FollowOwner(*view);
  const std::string owner = view->owner.has_value() ? view->owner->node_id : "";
  if (!options_.candidate && !followed) Report(owner, "nobody holds the lease");
  // Not when it was just made the owner: that is to begin at once.
  const bool handed = !followed && view->owner.has_value() && view->owner->epoch > standing.epoch;
  if (options_.candidate && !handed) Announce(standing);
  if (followed || !options_.candidate) {
    (void)lease_->Watch(*view, options_.ttl / 3);
    return;
  }
  const std::string why = WhyNot(*view, standing);
  if (!why.empty() && !forced()) {
    Report(owner, why);
    (void)lease_->Watch(*view, options_.ttl / 3);
    return;
  }
  const BootTime now = options_.clock->Boot();
  if (now < not_before_) return WaitFor(std::min(options_.ttl / 10, milliseconds(100)));
  const std::string better = owner.empty() && !forced() ? WhoIsBetter(*view, standing) : "";
  if (better.empty()) {
    deferring_since_ = BootTime(0);
  } else {
    Report(owner, fmt::format("node {} has more than this one and goes first", better));
    if (deferring_since_ == BootTime(0)) deferring_since_ = now;
    if (standing.cluster_id.empty() || now < deferring_since_ + kDeference) {
      return WaitFor(milliseconds(20));
    }
  }
  if (standing.cluster_id.empty()) {
    if (const absl::Status status = Found(&standing); !status.ok()) {
      Report(owner, std::string(status.message()));
      return WaitFor(options_.ttl / 3);
    }
    if (standing.cluster_id.empty()) return WaitFor(options_.ttl);
  }
  std::vector<std::string> abandoned;
  if (!why.empty()) {
    abandoned = standing.positions.AllBehind(view->record.positions);
    if (abandoned.empty()) abandoned.push_back(why);
    LogWarn("lease", fmt::format("reigns by force: {}", absl::StrJoin(abandoned, "; ")));
  }
  Acquire(*view, standing, std::move(abandoned));
}

// A node without history founds a cluster only after it has waited for one with history to come.
absl::Status LeaseKeeper::Found(Standing* standing) {
  if (!std::exchange(alone_, true)) {
    LogInfo("lease", "no cluster is there: waits for a node that has history, then founds one");
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(standing->cluster_id, options_.on_found());
  return absl::OkStatus();
}

void LeaseKeeper::Acquire(const View& view, const Standing& standing,
                          std::vector<std::string> abandoned) {
  Owner self = options_.self.node;
  self.cluster_id = standing.cluster_id;
  const absl::StatusOr<Reign> reign = lease_->Acquire(self, view, timeout());
  if (!reign.ok()) {
    const std::string owner = view.owner.has_value() ? view.owner->node_id : "";
    if (!absl::IsAborted(reign.status()) && !absl::IsCancelled(reign.status())) {
      Report(owner, std::string(reign.status().message()));
    }
    return WaitFor(std::min(options_.ttl / 10, milliseconds(200)));
  }
  next_renewal_ = options_.clock->Boot() + options_.ttl / 3;
  seen_ = self;
  {
    MutexLock lock(mu_);
    wants_ = forced_ = false;
    deadline_ = reign->deadline;
    options_.on_held(deadline_);
    status_.holds = true;
    status_.epoch = reign->epoch;
    status_.owner = self.node_id;
    status_.problem.clear();
    status_.abandoned = std::move(abandoned);
  }
  LogInfo("lease", fmt::format("this node holds the lease, epoch={}", reign->epoch));
  options_.on_reign(reign->epoch);
}

// ---- With the lease
// ------------------------------------------------------------------------------------

bool LeaseKeeper::Begin(uint64_t epoch) {
  MutexLock lock(mu_);
  if (!status_.holds || status_.epoch != epoch) return false;
  status_.writes = true;
  options_.on_deadline(deadline_);
  LogInfo("lease", fmt::format("this node may write, epoch={}", epoch));
  return true;
}

void LeaseKeeper::Fence() {
  MutexLock lock(mu_);
  status_.writes = false;
  options_.on_deadline(BootTime(0));
}

void LeaseKeeper::EndReign(const std::string& why) {
  MutexLock lock(mu_);
  status_.holds = status_.writes = false;
  status_.owner.clear();
  status_.problem = why;
  candidates_.clear();
  options_.on_held(BootTime(0));
  options_.on_deadline(BootTime(0));
}

void LeaseKeeper::Lost(const std::string& why) {
  LogError("lease", fmt::format("this node may not write any more: {}", why));
  {
    MutexLock lock(mu_);
    ++status_.times_lost;  // before anybody can see that it is
  }
  EndReign(why);
}

void LeaseKeeper::Keep() {
  const BootTime now = options_.clock->Boot();
  if (now < next_renewal_) {
    return WaitFor(std::chrono::ceil<milliseconds>(next_renewal_ - now));
  }
  const absl::StatusOr<BootTime> renewed = lease_->Renew(timeout());
  if (absl::IsCancelled(renewed.status())) return;
  if (absl::IsNotFound(renewed.status())) return Lost(std::string(renewed.status().message()));
  if (!renewed.ok()) {
    const std::string why(renewed.status().message());
    Report(options_.self.node.node_id, why);
    bool over = false;
    {
      MutexLock lock(mu_);
      over = options_.clock->Boot() >= deadline_;
    }
    return over ? Lost(why) : WaitFor(options_.ttl / 10);
  }
  next_renewal_ = now + options_.ttl / 3;
  bool writes = false;
  {
    MutexLock lock(mu_);
    deadline_ = *renewed;
    options_.on_held(deadline_);
    status_.problem.clear();
    writes = status_.writes;
    if (writes) options_.on_deadline(deadline_);
  }
  if (writes) NoteProgress();
}

void LeaseKeeper::NoteProgress() {
  const absl::Status status = lease_->Note(options_.standing().replicated, timeout());
  if (absl::IsNotFound(status)) return Lost(std::string(status.message()));
  LookForCandidates();
}

void LeaseKeeper::LookForCandidates() {
  const absl::StatusOr<std::vector<Candidate>> candidates = lease_->Candidates(timeout());
  if (!candidates.ok()) return;
  std::string wisher;
  for (const Candidate& candidate : *candidates) {
    if (candidate.wants && candidate.node.node_id != options_.self.node.node_id) {
      wisher = candidate.node.node_id;
    }
  }
  {
    MutexLock lock(mu_);
    candidates_ = *candidates;
  }
  if (!wisher.empty()) options_.on_wish(wisher);
}

void LeaseKeeper::Refresh() {
  Post([this] {
    if (Status().writes) LookForCandidates();
  });
}

void LeaseKeeper::GiveBack(const std::string& why) {
  Fence();
  Post([this, why] {
    if (!holds()) return;
    LogWarn("lease", fmt::format("the lease is given back: {}", why));
    options_.on_held(BootTime(0));
    (void)lease_->Release(std::nullopt, kReleaseTimeout);
    EndReign(why);
    not_before_ = options_.clock->Boot() + options_.ttl;
  });
}

void LeaseKeeper::HandOver(uint64_t epoch, const std::string& node_id, const Positions& reached,
                           Done done) {
  Post([this, epoch, node_id, reached, done = std::move(done)] {
    if (const KeeperStatus status = Status(); status.holds && status.epoch != epoch) {
      return done(absl::FailedPreconditionError(
          fmt::format("the lease was lost, and is held again in epoch {}", status.epoch)));
    }
    absl::StatusOr<std::vector<Candidate>> candidates = lease_->Candidates(timeout());
    if (!candidates.ok()) return done(candidates.status());
    const auto to =
        std::find_if(candidates->begin(), candidates->end(),
                     [&](const Candidate& candidate) { return candidate.node.node_id == node_id; });
    if (to == candidates->end()) {
      return done(absl::FailedPreconditionError(
          fmt::format("node {} is no candidate of {}", node_id, options_.self.node.cluster_id)));
    }
    const absl::Status status = lease_->HandOver(*to, reached, timeout());
    if (!absl::IsFailedPrecondition(status)) {
      EndReign(status.ok() ? "" : std::string(status.message()));
    }
    done(status);
  });
}

void LeaseKeeper::Want(bool force) {
  Post([this, force] {
    MutexLock lock(mu_);
    wants_ = !status_.holds;
    forced_ = force && !status_.holds;
    not_before_ = BootTime(0);
  });
}

void LeaseKeeper::Withdraw() {
  MutexLock lock(mu_);
  wants_ = forced_ = false;
}

void LeaseKeeper::Stop(const Positions& reached) {
  if (!thread_.joinable()) return;
  {
    MutexLock lock(mu_);
    stopping_ = true;
    changed_.NotifyAll();
    lease_->Interrupt();
  }
  thread_.join();
  Fence();
  options_.on_held(BootTime(0));
  lease_->Resume();
  const bool reigned = holds();
  const absl::Status status =
      lease_->Release(reigned ? std::optional(reached) : std::nullopt, kReleaseTimeout);
  EndReign("");
  if (!status.ok()) {
    LogWarn("lease", fmt::format("release the lease: {}", std::string(status.message())));
  }
}

}  // namespace litefs::lease
