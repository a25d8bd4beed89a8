#include "daemon/node_lease.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "common/clock.h"
#include "common/hex.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "daemon/lease/consul_lease.h"
#include "daemon/lease/etcd_lease.h"
#include "daemon/lease/object_lease.h"
#include "daemon/s3_lease_store.h"

namespace litefs {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

constexpr milliseconds kRetry{20};
// For apps that are in a write transaction when the lease is handed over; after it, nothing has
// been changed.
constexpr milliseconds kWritersLimit{1000};
// For the target to confirm the last transactions while nobody may write, and before that.
constexpr milliseconds kLastConfirmation{2000};
constexpr milliseconds kApproachLimit{10'000};
// For a node that has just begun to follow, to announce itself.
constexpr milliseconds kSearchLimit{2000};
constexpr milliseconds kSearchPause{50};
// For readers of a rollback-mode database, who keep stored files from being applied.
constexpr milliseconds kApplyLimit{10'000};
constexpr milliseconds kAnswerSlack{5000};

nanoseconds Now() { return SystemClock().Boot(); }

const char* NameOf(LeaseConfig::Type type) {
  switch (type) {
    case LeaseConfig::Type::kStatic:
      return "static";
    case LeaseConfig::Type::kEtcd:
      return "etcd";
    case LeaseConfig::Type::kConsul:
      return "consul";
    case LeaseConfig::Type::kS3:
      return "s3";
  }
  return "";
}

absl::StatusOr<std::unique_ptr<lease::Lease>> Connect(const LeaseConfig& config) {
  lease::LeaseOptions options{
      .urls = config.urls, .key = config.key, .token = config.token, .ttl = config.ttl};
  if (config.type == LeaseConfig::Type::kS3) {
    ASSIGN_OR_RETURN(auto store, S3LeaseStore::Open(config.urls[0], config.ttl / 3));
    return std::make_unique<lease::ObjectLease>(std::move(options), std::move(store),
                                                &SystemClock());
  }
  if (config.type == LeaseConfig::Type::kConsul) {
    return std::make_unique<lease::ConsulLease>(std::move(options), &SystemClock());
  }
  return std::make_unique<lease::EtcdLease>(std::move(options), &SystemClock());
}

}  // namespace

struct NodeLease::Transfer {
  std::string wanted;  // as the operator names it
  std::string to;      // node id; empty: not found yet
  nanoseconds begun{};
  nanoseconds held_since{};
  Done done;
};

lease::Standing NodeLease::Standing() const {
  return {.cluster_id = parts_.node->cluster_id(),
          .epoch = parts_.directory->epoch(),
          .positions = parts_.node->Positions(),
          .replicated = parts_.node->Replicated()};
}

absl::Status NodeLease::Start() {
  const Config& config = *parts_.config;
  ipc::StatusPage& page = parts_.status->status();
  const ReplicationConfig& replication = config.replication;
  ASSIGN_OR_RETURN(auto server, Connect(config.lease));
  lease::Candidate self{.node = {.node_id = Hex16(parts_.directory->node_id()),
                                 .endpoint = replication.advertise.empty()
                                                 ? replication.listen
                                                 : replication.advertise}};
  keeper_ = std::make_unique<lease::LeaseKeeper>(
      lease::LeaseKeeper::Options{
          .self = std::move(self),
          .candidate = config.lease.candidate,
          .ttl = config.lease.ttl,
          .clock = &SystemClock(),
          .standing = [this] { return Standing(); },
          .on_found = [this] { return parts_.directory->FoundCluster(); },
          .on_reign =
              [this](uint64_t epoch) { parts_.server->Post([this, epoch] { Reign(epoch); }); },
          .on_owner =
              [this](const lease::Owner& owner) {
                parts_.server->Post([this, owner] { Serve(owner); });
              },
          .on_wish =
              [this](const std::string& node) {
                parts_.server->Post([this, node] {
                  HandOff(node, [](const absl::Status& status, const nlohmann::json&) {
                    if (!status.ok()) LogWarn("lease", std::string(status.message()));
                  });
                });
              },
          .on_deadline =
              [&page](lease::BootTime deadline) {
                page.lease_deadline_ns.store(static_cast<uint64_t>(deadline.count()));
              },
          .on_held = [this](lease::BootTime deadline) { parts_.sync->SetLease(deadline); }},
      std::move(server));
  parts_.sync->SetLease(lease::BootTime(0));
  keeper_->Start();
  return absl::OkStatus();
}

void NodeLease::Stop() {
  if (keeper_ == nullptr) return;
  if (keeper_->Status().writes) {
    parts_.node->HoldWriters(kWritersLimit);
    keeper_->Fence();
    parts_.server->Drain(kWritersLimit);
    const milliseconds limit = parts_.node->HasReplicas() ? kLastConfirmation : milliseconds(0);
    const bool passed_on = parts_.node->AwaitAll("", limit);
    if (!passed_on) {
      LogWarn("lease",
              "no replica has all that is here: none will take over before this node is back "
              "(litefs promote --force)");
    }
  }
  keeper_->Stop(parts_.node->Positions());
  keeper_.reset();
}

nlohmann::json NodeLease::StatusJson() const {
  if (keeper_ == nullptr) return {{"type", "static"}, {"epoch", parts_.directory->epoch()}};
  const lease::KeeperStatus status = keeper_->Status();
  return {{"type", NameOf(parts_.config->lease.type)},
          {"epoch", parts_.directory->epoch()},
          {"holds", status.writes},
          {"owner", status.owner},
          {"problem", status.problem},
          {"times_lost", status.times_lost}};
}

// ---- What the keeper tells
// -----------------------------------------------------------------------------------

void NodeLease::Reign(uint64_t epoch) {
  if (keeper_ == nullptr) return;
  epoch_ = epoch;
  stepping_down_ = false;
  until_ = Now() + kApplyLimit;
  TryToReign();
}

void NodeLease::TryToReign() {
  if (keeper_ == nullptr) return;
  const lease::KeeperStatus held = keeper_->Status();
  if (!held.holds || held.epoch != epoch_ || held.writes) return;
  absl::Status status = parts_.node->primary() ? absl::OkStatus() : parts_.node->BecomePrimary();
  if (absl::IsUnavailable(status)) {
    if (Now() < until_) {
      parts_.server->After(kRetry, [this] { TryToReign(); });
      return;
    }
    keeper_->GiveBack(std::string(status.message()));
    status = parts_.node->Follow(upstream_);
    if (!status.ok()) parts_.on_fatal(status);
    return;
  }
  if (!status.ok()) return parts_.on_fatal(status);
  if (status = parts_.node->Publish(epoch_); !status.ok()) {
    return keeper_->GiveBack(std::string(status.message()));
  }
  parts_.node->AdmitWriters();
  keeper_->Begin(epoch_);
}

void NodeLease::Serve(const lease::Owner& owner) {
  upstream_ = owner.endpoint;
  if (!stepping_down_ && parts_.node->primary()) {
    LogInfo("lease", fmt::format("steps down for node {}, epoch {}", owner.node_id, owner.epoch));
  }
  stepping_down_ = true;
  StepDown();
}

void NodeLease::StepDown() {
  if (!stepping_down_) return;
  const absl::Status status = parts_.node->primary() ? parts_.node->BecomeReplica(upstream_)
                                                     : parts_.node->Follow(upstream_);
  if (absl::IsUnavailable(status)) {
    parts_.server->After(kRetry, [this] { StepDown(); });
    return;
  }
  stepping_down_ = false;
  if (!status.ok()) parts_.on_fatal(status);
}

// ---- What the operator asks for
// -----------------------------------------------------------------------------------

absl::StatusOr<std::string> NodeLease::FindCandidate(const std::string& node) const {
  const std::string own = Hex16(parts_.directory->node_id());
  std::vector<std::string> fits;
  for (const lease::Candidate& candidate : keeper_->Candidates()) {
    const std::string& id = candidate.node.node_id;
    if (id == own || !id.starts_with(node)) continue;
    if (node.empty() && parts_.node->HasAll(id)) return id;
    fits.push_back(id);
  }
  if (fits.size() == 1 || (node.empty() && !fits.empty())) return fits[0];
  if (fits.size() > 1) {
    return absl::InvalidArgumentError(fmt::format("\"{}\" fits {} candidates", node, fits.size()));
  }
  return absl::NotFoundError(
      node.empty() ? "no other candidate is there"
                   : fmt::format("there is no candidate \"{}\" (litefs status names nodes)", node));
}

void NodeLease::HandOff(const std::string& node, Done done) {
  if (keeper_ == nullptr || !keeper_->Status().writes) {
    return done(absl::FailedPreconditionError("this node is not the primary"), {});
  }
  if (transferring_) return done(absl::FailedPreconditionError("a handoff is under way"), {});
  transferring_ = true;
  auto transfer = std::make_shared<Transfer>();
  transfer->wanted = node;
  transfer->begun = Now();
  transfer->done = std::move(done);
  ApproachHandOff(transfer);
}

// While apps write on, until the target has all, or nearly: it is asked again and again.
void NodeLease::ApproachHandOff(const std::shared_ptr<Transfer>& transfer) {
  if (keeper_ == nullptr || !keeper_->Status().writes) {
    return EndHandOff(transfer, absl::AbortedError("the lease was lost meanwhile"));
  }
  if (transfer->to.empty()) {
    const absl::StatusOr<std::string> to = FindCandidate(transfer->wanted);
    if (!to.ok() && Now() >= transfer->begun + kSearchLimit)
      return EndHandOff(transfer, to.status());
    if (!to.ok()) {  // it may be about to announce itself
      keeper_->Refresh();
      parts_.server->After(kSearchPause, [this, transfer] { ApproachHandOff(transfer); });
      return;
    }
    transfer->to = *to;
  }
  if (parts_.node->IsClose(transfer->to)) return CarryOut(transfer);
  if (Now() >= transfer->begun + kApproachLimit) {
    return EndHandOff(
        transfer, absl::UnavailableError(fmt::format(
                      "node {} does not catch up: it is still the replica it was", transfer->to)));
  }
  parts_.server->After(kRetry, [this, transfer] { ApproachHandOff(transfer); });
}

// Nobody may write from here on; what goes wrong lets them write again.
void NodeLease::CarryOut(const std::shared_ptr<Transfer>& transfer) {
  transfer->held_since = Now();
  const uint64_t epoch = epoch_;
  if (!parts_.node->HoldWriters(kWritersLimit)) {
    return EndHandOff(transfer,
                      absl::UnavailableError("an app keeps a write transaction open: try again"));
  }
  keeper_->Fence();
  const bool quiet = parts_.server->Drain(kWritersLimit);
  const bool caught_up = quiet && parts_.node->AwaitAll(transfer->to, kLastConfirmation);
  if (!caught_up) {
    parts_.node->AdmitWriters();
    keeper_->Begin(epoch_);
    return EndHandOff(
        transfer, absl::UnavailableError(fmt::format(
                      "node {} has not confirmed the last transactions in time", transfer->to)));
  }
  keeper_->HandOver(
      epoch, transfer->to, parts_.node->Positions(), [this, transfer](absl::Status status) {
        parts_.server->Post([this, transfer, status] { EndHandOff(transfer, status); });
      });
}

void NodeLease::EndHandOff(const std::shared_ptr<Transfer>& transfer, const absl::Status& status) {
  transferring_ = false;
  if (absl::IsFailedPrecondition(status) && keeper_ != nullptr) {  // still the owner
    parts_.node->AdmitWriters();
    keeper_->Begin(epoch_);
  }
  if (!status.ok()) return transfer->done(status, {});
  const auto held = std::chrono::duration<double, std::milli>(Now() - transfer->held_since);
  LogInfo("lease", fmt::format("handed over to node {} after {:.1f} ms without writers",
                               transfer->to, held.count()));
  transfer->done(absl::OkStatus(), {{"primary", transfer->to}, {"held_ms", held.count()}});
}

void NodeLease::Promote(bool force, Done done) {
  if (keeper_ == nullptr || keeper_->Status().writes) {
    return done(absl::OkStatus(), {{"role", "primary"}});
  }
  if (!parts_.config->lease.candidate) {
    return done(absl::FailedPreconditionError("lease.candidate is false here"), {});
  }
  keeper_->Want(force);
  AwaitPromotion(Now() + 2 * parts_.config->lease.ttl + kAnswerSlack, done);
}

void NodeLease::AwaitPromotion(nanoseconds until, const Done& done) {
  if (keeper_ == nullptr) return done(absl::CancelledError("the daemon is ending"), {});
  const lease::KeeperStatus status = keeper_->Status();
  if (status.writes) {
    return done(absl::OkStatus(),
                {{"role", "primary"}, {"epoch", status.epoch}, {"abandoned", status.abandoned}});
  }
  if (Now() >= until) {
    keeper_->Withdraw();
    return done(absl::UnavailableError(status.problem), {});
  }
  parts_.server->After(kRetry, [this, until, done] { AwaitPromotion(until, done); });
}

}  // namespace litefs
