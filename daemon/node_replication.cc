#include "daemon/node_replication.h"

#include <optional>
#include <vector>

#include "common/hex.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "daemon/config_values.h"

namespace litefs {
namespace {

nlohmann::json OrNull(const std::optional<uint64_t>& value) {
  return value ? nlohmann::json(*value) : nlohmann::json();
}

}  // namespace

bool NodeReplication::serves() const {
  return !config_.replication.listen.empty() || !config_.replication.dial.empty();
}

// On a replica the server is there before the client, which tells it of files and sessions.
absl::Status NodeReplication::Start() {
  running_ = true;
  ASSIGN_OR_RETURN(security_, ReadSecurity(config_, role_.upstream));
  const bool knows_primary = !role_.upstream.empty() || !config_.replication.accept.empty();
  if (!role_.primary) {
    applier_ = std::make_unique<store::Applier>(store_);
    applier_->Start();
    sink_ = std::make_unique<ReplicaChain>(store_, applier_.get(), node_->temporary_path(),
                                           [this](const std::string& database, ltx::TxId txid) {
                                             if (server_ != nullptr)
                                               server_->Committed(database, txid, txid);
                                           });
    if (knows_primary) MakeClient();
  }
  const bool lease_comes_first =
      role_.primary ? config_.lease.type != LeaseConfig::Type::kStatic : !knows_primary;
  if (serves() && !lease_comes_first) RETURN_IF_ERROR(StartServer());
  return client_ == nullptr ? absl::OkStatus() : client_->Start();
}

void NodeReplication::MakeClient() {
  client_ = std::make_unique<replication::ReplicationClient>(
      replication::ReplicationClient::Options{
          .pub_endpoint = role_.upstream,
          .pull_endpoint = role_.upstream.empty() ? "" : PullEndpoint(role_.upstream),
          .accept_endpoint = config_.replication.accept,
          .cluster_id = role_.cluster_id,
          .node_id = Hex16(node_->node_id()),
          .security = security_,
          .on_cluster_adopted =
              [this](const std::string& cluster_id) {
                if (const absl::Status status =
                        node_->JoinCluster(cluster_id, role_.cluster_id.empty());
                    !status.ok()) {
                  LogError("daemon", status.ToString());
                }
              },
          .epoch = node_->epoch(),
          .on_epoch =
              [this](uint64_t epoch) {
                if (const absl::Status status = node_->NoteEpoch(epoch); !status.ok()) {
                  LogError("daemon", status.ToString());
                }
              },
          .on_session =
              [this](const std::string& cluster_id, uint64_t epoch, const std::string& path,
                     const std::string& proxy) {
                if (server_ != nullptr) server_->Renew(cluster_id, epoch, path, proxy);
              },
          .on_forwarding = forwarding_.heard,
          .on_online = forwarding_.online},
      sink_.get());
}

absl::Status NodeReplication::Publish() {
  if (!serves()) return absl::OkStatus();
  if (server_ != nullptr) server_->Stop();
  {
    MutexLock lock(server_mu_);
    server_.reset();
  }
  return StartServer();
}

absl::Status NodeReplication::StartServer() {
  const ReplicationConfig& replication = config_.replication;
  replication::LagTable* const upstream = client_ == nullptr ? nullptr : &client_->lag();
  source_ = std::make_unique<ServedChain>(store_, upstream);
  if (role_.primary && status_ != nullptr) {
    halts_ = std::make_unique<NodeHalts>(store_, status_, sync_, node_->temporary_path());
  }
  std::function<void(const std::string&, const std::vector<ltx::Position>&)> on_stored;
  if (config_.syncs()) {
    on_stored = [this](const auto& database, const auto& stored) {
      sync_->Stored(database, stored);
    };
  }
  auto server = std::make_unique<replication::ReplicationServer>(
      replication::ReplicationServer::Options{
          .pub_endpoint = replication.listen,
          .pull_endpoint = replication.listen.empty() ? "" : PullEndpoint(replication.listen),
          .cluster_id = node_->cluster_id(),
          .node_id = Hex16(node_->node_id()),
          .epoch = node_->epoch(),
          .publish = replication.publish,
          .security = security_,
          .durable = role_.primary && config_.syncs(),
          .proxy = role_.primary ? config_.proxy.url() : "",
          .on_stored = std::move(on_stored),
          .dial = replication.dial,
          .upstream = upstream,
          .forward_target = halts_.get(),
          .max_halt = config_.max_hold},
      source_.get());
  {
    MutexLock lock(server_mu_);
    server_ = std::move(server);
  }
  return server_->Start();
}

void NodeReplication::Submit(replication::Body body, std::vector<std::byte> payload) {
  if (client_ != nullptr) client_->Submit(std::move(body), std::move(payload));
}

void NodeReplication::ApplyStored() {
  if (applier_ != nullptr) applier_->Notify();
}

void NodeReplication::NoteStored(const std::string& database, ltx::TxId txid) {
  if (client_ != nullptr) client_->Changed();
  if (server_ != nullptr) server_->Committed(database, txid, txid);
}

int64_t NodeReplication::PrimaryTimeMs() const {
  if (client_ == nullptr) return 0;
  return client_->lag().TimeUs().value_or(0) / 1000;
}

void NodeReplication::CloseHalts(bool closed) {
  if (server_ != nullptr && server_->halts() != nullptr) server_->halts()->Close(closed);
}

nlohmann::json NodeReplication::HaltsJson() const {
  nlohmann::json json = nlohmann::json::array();
  if (server_ == nullptr || server_->halts() == nullptr) return json;
  for (const replication::HaltStatus& halt : server_->halts()->Status()) {
    json.push_back(
        {{"database", halt.database}, {"node_id", halt.node_id}, {"held_ms", halt.held_ms}});
  }
  return json;
}

std::vector<replication::PeerStatus> NodeReplication::Peers() const {
  MutexLock lock(server_mu_);
  return server_ == nullptr ? std::vector<replication::PeerStatus>() : server_->Peers();
}

NodeReplication::Following NodeReplication::FollowingNow() {
  if (client_ == nullptr) return {};
  const replication::ClientStatus status = client_->Status();
  Following following{.proxy = status.proxy};
  const std::optional<Endpoint> endpoint = ParseEndpoint(role_.upstream);
  following.primary_host = !endpoint                ? status.primary_node_id
                           : endpoint->host.empty() ? endpoint->path
                                                    : endpoint->host;
  std::vector<replication::DatabaseState> here;
  for (store::Store::Entry* entry : store_->All()) {
    here.push_back({entry->database->name(), entry->database->position()});
  }
  following.lag_ms = client_->lag().OfNode(here).time_ms;
  return following;
}

std::vector<ltx::Position> NodeReplication::Stored(const std::string& database,
                                                   const std::string& but_for) const {
  MutexLock lock(server_mu_);
  return server_ == nullptr ? std::vector<ltx::Position>()
                            : server_->directory().Stored(database, but_for);
}

bool NodeReplication::AwaitConfirmation(std::chrono::milliseconds limit,
                                        const std::function<bool()>& is_so) const {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (true) {
    const uint64_t seen = server_ == nullptr ? 0 : server_->directory().acknowledgements();
    if (is_so()) return true;
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
    if (server_ == nullptr || left.count() <= 0) return false;
    server_->directory().AwaitAcknowledgement(seen, left);
  }
}

bool NodeReplication::UpstreamIsReplica() const {
  return client_ != nullptr && client_->Status().upstream_is_replica;
}

void NodeReplication::Stop() {
  running_ = false;
  if (client_ != nullptr) client_->Stop();
  if (applier_ != nullptr) applier_->Stop();
  if (server_ != nullptr) server_->Stop();
}

void NodeReplication::Committed(const std::string& database, ltx::TxId min_txid,
                                ltx::TxId max_txid) {
  if (role_.primary && server_ != nullptr) server_->Committed(database, min_txid, max_txid);
}

nlohmann::json NodeReplication::ReplicasJson() const {
  nlohmann::json replicas = nlohmann::json::array();
  if (server_ == nullptr) return replicas;
  for (const replication::PeerStatus& peer : server_->Peers()) {
    nlohmann::json databases = nlohmann::json::array();
    for (const replication::DatabaseState& state : peer.acknowledged) {
      databases.push_back({{"name", state.name}, {"txid", Hex16(state.position.txid)}});
    }
    replicas.push_back(
        {{"node_id", peer.node_id}, {"last_seen_ms", peer.last_seen_ms}, {"databases", databases}});
  }
  return replicas;
}

// Measured at what the database files hold: that is what readers see.
void NodeReplication::AddFollowingTo(nlohmann::json* json) {
  std::vector<replication::DatabaseState> here;
  for (store::Store::Entry* entry : store_->All()) {
    here.push_back({entry->database->name(), entry->database->position()});
  }
  const replication::ClientStatus status = client_->Status();
  const replication::LagTable::NodeLag lag = client_->lag().OfNode(here);
  json->update({{"connected", status.connected},
                {"pub_healthy", status.pub_healthy},
                {"path", status.path},
                {"lag_transactions", lag.transactions},
                {"lag_bytes", OrNull(lag.bytes)},
                {"lag_ms", OrNull(lag.time_ms)},
                {"heard_ms", OrNull(lag.heard_ms)},
                {"clock_error_ms", OrNull(lag.clock_error_ms)},
                {"last_error", status.last_error}});
}

nlohmann::json NodeReplication::StatusJson() {
  const ReplicationConfig& replication = config_.replication;
  nlohmann::json dialled = nlohmann::json::array();
  if (server_ != nullptr) {
    for (const replication::DialStatus& dial : server_->Dialled()) {
      dialled.push_back({{"endpoint", dial.endpoint},
                         {"connected", dial.in_session},
                         {"last_error", dial.last_error}});
    }
  }
  nlohmann::json json = {{"listen", replication.listen}, {"primary", role_.upstream},
                         {"accept", replication.accept}, {"dial", dialled},
                         {"replicas", ReplicasJson()},   {"encrypted", security_.encrypted()},
                         {"halt_locks", HaltsJson()}};
  if (security_.encrypted()) json["public_key"] = security_.keys.public_key;
  const replication::Refusals::Summary refusals = Refusals();
  json["refused_peers"] = refusals.count;
  json["last_refusal"] = refusals.last;
  if (client_ != nullptr) AddFollowingTo(&json);
  return json;
}

replication::Refusals::Summary NodeReplication::Refusals() const {
  replication::Refusals::Summary all;
  if (server_ != nullptr) all = server_->refusals();
  if (client_ == nullptr) return all;
  const replication::Refusals::Summary of_client = client_->refusals();
  all.count += of_client.count;
  if (!of_client.last.empty()) all.last = of_client.last;
  return all;
}

void NodeReplication::AddCountersTo(nlohmann::json* json) const {
  if (server_ == nullptr && client_ == nullptr) return;
  (*json)["refused_peers"] = Refusals().count;
  (*json)["malformed_messages"] = (server_ == nullptr ? 0 : server_->counters().malformed.load()) +
                                  (client_ == nullptr ? 0 : client_->counters().corrupt.load());
  if (server_ == nullptr || server_->halts() == nullptr) return;
  const replication::HaltServer::Counters halts = server_->halts()->counters();
  json->update({{"halt_locks", halts.granted},
                {"halt_locks_expired", halts.expired},
                {"accepted_transactions", halts.accepted},
                {"refused_transactions", halts.refused}});
}

nlohmann::json NodeReplication::LagJson(const std::string& database,
                                        const ltx::Position& position) {
  if (client_ == nullptr) return {};
  const std::optional<replication::LagTable::Lag> lag = client_->lag().Of(database, position);
  if (!lag) return {};
  return {{"transactions", lag->transactions},
          {"bytes", OrNull(lag->bytes)},
          {"ms", OrNull(lag->time_ms)},
          {"primary_txid", Hex16(lag->primary.txid)}};
}

}  // namespace litefs
