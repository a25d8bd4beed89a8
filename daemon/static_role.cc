#include "daemon/static_role.h"

#include <fmt/format.h>

#include <chrono>
#include <utility>

#include "common/log.h"
#include "common/status_macros.h"

namespace litefs {
namespace {

using std::chrono::milliseconds;

// For apps that are in a write transaction.
constexpr milliseconds kWritersLimit{1000};
// For the replicas to confirm the last transactions while nobody may write.
constexpr milliseconds kLastConfirmation{2000};
constexpr milliseconds kPause{50};

}  // namespace

std::string StaticRole::problem() const {
  if (!waits_) return "";
  return fmt::format(
      "is told to be the primary, and waits until {} says that it is none (litefs promote --force "
      "does not wait)",
      parts_.node->upstream());
}

void StaticRole::Adopt(const Config& next) {
  parts_.config->primary = next.primary;
  parts_.config->replication.primary = next.replication.primary;
  parts_.config->security.primary_key = next.security.primary_key;
}

absl::StatusOr<nlohmann::json> StaticRole::Reload(const Config& next) {
  const ReplicationConfig& now = parts_.config->replication;
  if (next.lease.type != LeaseConfig::Type::kStatic || next.dir != parts_.config->dir) {
    return absl::FailedPreconditionError("lease.type and dir are changed by a restart only");
  }
  if (next.replication.accept != now.accept || next.replication.listen != now.listen) {
    return absl::FailedPreconditionError(
        "replication.listen and replication.accept are changed by a restart only");
  }
  const bool is_primary = parts_.node->primary();
  if (is_primary && !next.primary) return StepDown(next);
  if (!is_primary && next.primary) {
    if (!std::exchange(waits_, true)) AwaitTurn();
    if (!waits_) return nlohmann::json{{"role", "primary"}};
    return nlohmann::json{{"role", "replica"}, {"waits", problem()}};
  }
  waits_ = taking_over_ = false;
  Adopt(next);
  if (!is_primary) RETURN_IF_ERROR(parts_.node->Follow(next.replication.primary));
  return nlohmann::json{{"role", is_primary ? "primary" : "replica"}};
}

// Nobody may write from here on; what goes wrong lets them write again.
absl::StatusOr<nlohmann::json> StaticRole::StepDown(const Config& next) {
  if (!parts_.node->HoldWriters(kWritersLimit)) {
    return absl::UnavailableError("an app keeps a write transaction open: try again");
  }
  if (!parts_.node->AwaitEveryReplica(kLastConfirmation)) {
    parts_.node->AdmitWriters();
    return absl::UnavailableError(
        "no replica is connected, or one has not confirmed all that is here: this node is still "
        "the primary");
  }
  const Config before = *parts_.config;
  Adopt(next);
  const absl::Status status = parts_.node->BecomeReplica(next.replication.primary);
  if (absl::IsUnavailable(status)) {
    Adopt(before);
    parts_.node->AdmitWriters();
    return status;
  }
  if (!status.ok()) {
    parts_.on_fatal(status);
    return status;
  }
  return nlohmann::json{{"role", "replica"}};
}

void StaticRole::AwaitTurn() {
  if (!waits_) return;
  if (!taking_over_ && !parts_.node->replication().UpstreamIsReplica()) {
    parts_.server->After(kPause, [this] { AwaitTurn(); });
    return;
  }
  const absl::Status status = TakeOver();
  if (absl::IsUnavailable(status)) {
    parts_.server->After(kPause, [this] { AwaitTurn(); });
    return;
  }
  if (!status.ok()) parts_.on_fatal(status);
}

// The epoch is one more: who has followed this node follows no primary of an earlier one.
absl::Status StaticRole::TakeOver() {
  if (!std::exchange(taking_over_, true)) {
    const uint64_t epoch = parts_.directory->epoch() + 1;
    RETURN_IF_ERROR(parts_.directory->NoteEpoch(epoch));
    parts_.status->status().epoch.store(epoch);
  }
  Config next = *parts_.config;
  next.primary = true;
  next.replication.primary.clear();
  next.security.primary_key.clear();
  RETURN_IF_ERROR(parts_.node->BecomePrimary());
  waits_ = taking_over_ = false;
  Adopt(next);
  return absl::OkStatus();
}

absl::Status StaticRole::Force() {
  if (!waits_) {
    return absl::FailedPreconditionError(
        "the role of this node is configured (lease.type: static): change lease.primary, and "
        "litefs reload");
  }
  LogWarn("daemon", "becomes the primary by force: the node that it follows may still be one");
  const absl::Status status = TakeOver();
  if (!status.ok() && !absl::IsUnavailable(status)) parts_.on_fatal(status);
  return status;
}

}  // namespace litefs
