#include "daemon/node.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "common/clock.h"
#include "common/log.h"
#include "common/status_macros.h"

namespace litefs {
namespace {

// A replica that has been silent for longer confirms nothing.
constexpr int64_t kSilentMs = 5000;
constexpr uint64_t kCloseTransactions = 64;

lease::Positions Collect(store::Store& store) {
  lease::Positions positions;
  for (store::Store::Entry* entry : store.All()) {
    const ltx::Position position = entry->replica != nullptr ? entry->replica->stored_position()
                                                             : entry->database->log().tip();
    if (position.txid != 0) positions.Add(entry->database->name(), position);
  }
  return positions;
}

lease::Positions ConfirmedBy(const replication::PeerStatus& peer) {
  lease::Positions confirmed;
  for (const auto& state : peer.acknowledged) confirmed.Add(state.name, state.position);
  return confirmed;
}

}  // namespace

// ---- The store
// -----------------------------------------------------------------------------------

void Node::SetRole(bool primary) {
  primary_ = primary;
  parts_.status->status().role.store(
      static_cast<uint32_t>(primary ? ipc::Role::kPrimary : ipc::Role::kReplica));
}

absl::Status Node::OpenStore() {
  const Config& config = *parts_.config;
  ASSIGN_OR_RETURN(
      auto store,
      store::Store::Open(
          {.node = parts_.directory,
           .primary = primary_,
           .globs = config.databases,
           .retention_ms = config.retention.age.count(),
           .retention_bytes = config.retention.size_bytes,
           .clock = &SystemClock(),
           .on_commit = [this](const std::string& name, ltx::TxId min, ltx::TxId max) {
             parts_.events->Publish({.database = name, .min_txid = min, .max_txid = max});
             if (replication_ != nullptr) replication_->Committed(name, min, max);
             if (archive_ != nullptr) archive_->Committed(name);
             parts_.on_moved(name, max);
             if (forward_ != nullptr) forward_->Applied();
           }}));
  MutexLock lock(mu_);
  store_ = std::move(store);
  return absl::OkStatus();
}

void Node::CloseStore() {
  std::unique_ptr<store::Store> closing;
  MutexLock lock(mu_);
  if (store_ != nullptr) last_positions_ = Collect(*store_);
  closing = std::move(store_);
}

absl::Status Node::Open() {
  const Config& config = *parts_.config;
  const bool is_static = config.lease.type == LeaseConfig::Type::kStatic;
  const bool page_says_replica =
      parts_.status->status().role.load() == static_cast<uint32_t>(ipc::Role::kReplica);
  const bool was_primary =
      parts_.directory->was_primary().value_or(is_static ? config.primary : !page_says_replica);
  upstream_ = config.replication.primary;
  const bool primary = is_static ? config.primary : was_primary;
  // (I4) What a replica has stored and not applied is a part of what a primary begins with.
  SetRole(primary && was_primary);
  RETURN_IF_ERROR(OpenStore());
  if (primary && !was_primary) {
    if (const absl::Status status = ApplyStored(); !status.ok()) return status;
    CloseStore();
    SetRole(primary);
    RETURN_IF_ERROR(parts_.directory->NoteRole(primary));
    return OpenStore();
  }
  return parts_.directory->NoteRole(primary);
}

absl::Status Node::Start(session::SessionServer* server) {
  server_ = server;
  return StartTasks();
}

void Node::Stop() {
  if (archive_ != nullptr) archive_->Stop();
  StopReplication();
}

// A replica is seeded before it follows.
absl::Status Node::StartTasks() {
  archive_ =
      std::make_unique<NodeArchive>(*parts_.config, primary_, parts_.directory, store_.get());
  archive_->Seed();
  StartForwarding();
  RETURN_IF_ERROR(StartReplication());
  return archive_->Start();
}

// An empty node that founded a cluster at the same time as another one has nothing that binds it.
std::string Node::cluster_id() {
  const bool is_static = parts_.config->lease.type == LeaseConfig::Type::kStatic;
  MutexLock lock(mu_);
  const bool empty = store_ != nullptr && store_->All().empty();
  const bool bound = is_static || !empty || parts_.directory->epoch() != 0;
  return bound ? parts_.directory->cluster_id() : "";
}

// ---- Replication
// -----------------------------------------------------------------------------------

absl::Status Node::StartReplication() {
  auto replication = std::make_unique<NodeReplication>(
      *parts_.config,
      NodeReplication::Role{.primary = primary_, .cluster_id = cluster_id(), .upstream = upstream_},
      parts_.directory, store_.get(), parts_.sync,
      parts_.config->on_replica_write == ReplicaWrites::kForward ? parts_.status : nullptr,
      NodeReplication::Forwarding{.heard =
                                      [this](replication::Body body) {
                                        if (forward_ != nullptr) forward_->Heard(std::move(body));
                                      },
                                  .online =
                                      [this](bool online) {
                                        if (forward_ != nullptr) forward_->Online(online);
                                      }});
  {
    MutexLock lock(mu_);
    replication_ = std::move(replication);
  }
  return replication_->Start();
}

void Node::StartForwarding() {
  if (primary_ || parts_.config->on_replica_write != ReplicaWrites::kForward) return;
  forward_ = std::make_unique<NodeForward>(NodeForward::Parts{
      .server = server_,
      .submit =
          [this](replication::Body body, std::vector<std::byte> payload) {
            replication_->Submit(std::move(body), std::move(payload));
          },
      .primary_time_ms = [this] { return replication_->PrimaryTimeMs(); },
      .on_returned = [this] { replication_->ApplyStored(); },
      .on_stored = [this](const std::string& database,
                          ltx::TxId txid) { replication_->NoteStored(database, txid); },
      .write_timeout = parts_.config->write_timeout});
  server_->ServeWrites(forward_.get());
}

void Node::StopReplication() {
  if (replication_ != nullptr) replication_->Stop();
}

absl::Status Node::Publish(uint64_t epoch) {
  RETURN_IF_ERROR(parts_.directory->NoteEpoch(epoch));
  parts_.status->status().epoch.store(epoch);
  const lease::Positions now = Positions();
  {
    MutexLock lock(mu_);
    floor_ = now;
  }
  return replication_->Publish();
}

absl::Status Node::Follow(const std::string& upstream) {
  if (upstream == upstream_ && replication_ != nullptr && replication_->running()) {
    return absl::OkStatus();
  }
  upstream_ = upstream;
  StopReplication();
  return StartReplication();
}

// ---- The change of the role
// -----------------------------------------------------------------------------------

absl::Status Node::ApplyStored() {
  for (store::Store::Entry* entry : store_->All()) {
    while (entry->replica != nullptr && entry->replica->HasPending()) {
      const absl::Status status = entry->replica->ApplyPending();
      if (!status.ok()) {
        return absl::UnavailableError(fmt::format("{}: what is stored cannot be applied yet: {}",
                                                  entry->database->name(),
                                                  std::string(status.message())));
      }
    }
  }
  return absl::OkStatus();
}

absl::Status Node::Reopen(bool primary) {
  server_->EndSessions();
  StopReplication();
  archive_->Abandon();
  parts_.before_close();
  server_->ServeWrites(nullptr);
  forward_.reset();
  CloseStore();
  RETURN_IF_ERROR(parts_.directory->NoteRole(primary));
  SetRole(primary);
  RETURN_IF_ERROR(OpenStore());
  server_->ServeStore(store_.get());
  RETURN_IF_ERROR(StartTasks());
  LogInfo("daemon", fmt::format("role={}", primary ? "primary" : "replica"));
  parts_.events->Publish({.kind = http::Event::Kind::kRole});
  parts_.on_moved("", 0);
  return absl::OkStatus();
}

absl::Status Node::BecomePrimary() {
  StopReplication();  // nothing more comes from the reign that is over
  if (forward_ != nullptr && !forward_->EndAll()) {
    return absl::UnavailableError("an app has not ended its write transaction yet");
  }
  RETURN_IF_ERROR(ApplyStored());
  return Reopen(/*primary=*/true);
}

absl::Status Node::BecomeReplica(const std::string& upstream) {
  replication_->CloseHalts(true);
  if (!server_->Drain(std::chrono::milliseconds(0))) {
    return absl::UnavailableError("an app has not ended its write transaction yet");
  }
  upstream_ = upstream;
  return Reopen(/*primary=*/false);
}

bool Node::HoldWriters(std::chrono::milliseconds limit) {
  // The shim lets nobody begin to write on a replica, and those commit who have begun.
  parts_.status->status().role.store(static_cast<uint32_t>(ipc::Role::kReplica));
  replication_->CloseHalts(true);
  if (server_->Drain(limit)) return true;
  AdmitWriters();
  return false;
}

void Node::AdmitWriters() {
  SetRole(primary_);
  replication_->CloseHalts(false);
}

// ---- Positions
// -----------------------------------------------------------------------------------

lease::Positions Node::Positions() {
  MutexLock lock(mu_);
  return store_ == nullptr ? last_positions_ : Collect(*store_);
}

std::vector<replication::PeerStatus> Node::LivePeers() {
  MutexLock lock(mu_);
  if (replication_ == nullptr) return {};
  std::vector<replication::PeerStatus> peers = replication_->Peers();
  std::erase_if(peers, [](const auto& peer) { return peer.last_seen_ms > kSilentMs; });
  return peers;
}

lease::Positions Node::Replicated() {
  const std::vector<replication::PeerStatus> peers = LivePeers();
  MutexLock lock(mu_);
  if (store_ == nullptr) return last_positions_;
  if (peers.empty()) return Collect(*store_);
  lease::Positions replicated;
  for (store::Store::Entry* entry : store_->All()) {
    ltx::Position most;
    for (const replication::PeerStatus& peer : peers) {
      for (const replication::DatabaseState& state : peer.acknowledged) {
        const bool later = state.position.txid > most.txid;
        if (state.name == entry->database->name() && later) most = state.position;
      }
    }
    if (most.txid != 0) replicated.Add(entry->database->name(), most);
  }
  replicated.RaiseTo(floor_);
  return replicated;
}

bool Node::HasAll(const std::string& node_id) {
  const std::vector<replication::PeerStatus> peers = LivePeers();
  const lease::Positions all = Positions();
  return std::any_of(peers.begin(), peers.end(), [&](const replication::PeerStatus& peer) {
    if (!node_id.empty() && peer.node_id != node_id) return false;
    return ConfirmedBy(peer).Behind(all).empty();
  });
}

bool Node::IsClose(const std::string& node_id) {
  const lease::Positions all = Positions();
  for (const replication::PeerStatus& peer : LivePeers()) {
    if (peer.node_id != node_id) continue;
    const lease::Positions confirmed = ConfirmedBy(peer);
    if (confirmed.databases.size() >= all.databases.size() &&
        confirmed.sum + kCloseTransactions >= all.sum) {
      return true;
    }
  }
  return false;
}

bool Node::AwaitAll(const std::string& node_id, std::chrono::milliseconds limit) {
  return replication_->AwaitConfirmation(limit, [&] { return HasAll(node_id); });
}

bool Node::AwaitEveryReplica(std::chrono::milliseconds limit) {
  return replication_->AwaitConfirmation(limit, [&] {
    const lease::Positions all = Positions();
    const std::vector<replication::PeerStatus> peers = LivePeers();
    return !peers.empty() && std::all_of(peers.begin(), peers.end(), [&](const auto& peer) {
      return ConfirmedBy(peer).Behind(all).empty();
    });
  });
}

bool Node::HasReplicas() { return !LivePeers().empty(); }

}  // namespace litefs
