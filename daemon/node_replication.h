// NodeReplication: how a node takes part in replication, as its configuration says: it follows a
// primary, or is one, and serves replicas of its own, or not.
//
//   primary:  Store ◄── ServedChain ◄── ReplicationServer
//   replica:  ReplicationClient ──► ReplicaChain ──► Store ◄── Applier
//   relaying replica, besides:      Store ◄── ServedChain ◄── ReplicationServer, told of each file
//                                   that is stored, and by each session who the primary is
//
// Start, Stop and StatusJson belong to one thread; Committed to any.

#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/status.h"
#include "daemon/config.h"
#include "daemon/node_chain.h"
#include "daemon/node_security.h"
#include "daemon/replication/replication_client.h"
#include "daemon/replication/replication_server.h"
#include "daemon/store/applier.h"
#include "daemon/store/node_directory.h"
#include "daemon/store/store.h"

namespace litefs {

class NodeReplication {
 public:
  // All must outlive this.
  NodeReplication(const Config& config, store::NodeDirectory* node, store::Store* store)
      : config_(config), node_(node), store_(store) {}
  ~NodeReplication() { Stop(); }
  NodeReplication(const NodeReplication&) = delete;
  NodeReplication& operator=(const NodeReplication&) = delete;

  absl::Status Start();
  void Stop();
  // On a primary with a lease, when its reign begins: serves replicas, in the node's epoch.
  absl::Status Publish();

  // Store::Options::on_commit of a primary.
  void Committed(const std::string& database, ltx::TxId min_txid, ltx::TxId max_txid);

  // The "replication" of litefs status (docs/IPC.md).
  nlohmann::json StatusJson();
  // Adds what its counters count.
  void AddCountersTo(nlohmann::json* json) const;
  // A replica's "lag" of one database, at this position; null where it is not known.
  nlohmann::json LagJson(const std::string& database, const ltx::Position& position);

 private:
  absl::Status StartServer();
  bool serves() const;
  nlohmann::json ReplicasJson() const;
  void AddFollowingTo(nlohmann::json* json);
  replication::Refusals::Summary Refusals() const;

  const Config& config_;
  store::NodeDirectory* const node_;
  store::Store* const store_;
  replication::Security security_;
  std::unique_ptr<store::Applier> applier_;
  std::unique_ptr<ReplicaChain> sink_;
  std::unique_ptr<replication::ReplicationClient> client_;
  std::unique_ptr<ServedChain> source_;
  std::unique_ptr<replication::ReplicationServer> server_;
};

}  // namespace litefs
