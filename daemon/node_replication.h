// NodeReplication: how a node takes part in replication, as its configuration says: it follows a
// primary, or is one, and serves replicas of its own, or not.
//
//   primary:  Store ◄── ServedChain ◄── ReplicationServer
//   replica:  ReplicationClient ──► ReplicaChain ──► Store ◄── Applier
//   relaying replica, besides:      Store ◄── ServedChain ◄── ReplicationServer, told of each file
//                                   that is stored, and by each session who the primary is
//
// Start, Stop, Publish and StatusJson belong to one thread; Committed and Peers to any.

#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "common/mutex.h"
#include "daemon/config.h"
#include "daemon/node_chain.h"
#include "daemon/node_halts.h"
#include "daemon/node_security.h"
#include "daemon/node_sync.h"
#include "daemon/replication/replication_client.h"
#include "daemon/replication/replication_server.h"
#include "daemon/store/applier.h"
#include "daemon/store/node_directory.h"
#include "daemon/store/store.h"

namespace litefs {

class NodeReplication {
 public:
  struct Role {
    bool primary = true;
    std::string cluster_id{};  // a replica's; empty: it joins its primary's
    std::string upstream{};    // a replica's: whom it follows; empty: not known yet, or `accept`
  };
  // A replica's, whose apps write: what the primary says of that (ReplicationClient::Options).
  struct Forwarding {
    std::function<void(replication::Body body)> heard{};
    std::function<void(bool online)> online{};
  };
  // All must outlive this.  status: null on a primary whose replicas do not write.
  NodeReplication(const Config& config, Role role, store::NodeDirectory* node, store::Store* store,
                  NodeSync* sync, session::StatusFile* status, Forwarding forwarding)
      : config_(config),
        role_(std::move(role)),
        node_(node),
        store_(store),
        sync_(sync),
        status_(status),
        forwarding_(std::move(forwarding)) {}
  ~NodeReplication() { Stop(); }
  NodeReplication(const NodeReplication&) = delete;
  NodeReplication& operator=(const NodeReplication&) = delete;

  absl::Status Start();
  void Stop();
  // On a primary with a lease, when its reign begins: serves replicas, in the node's epoch.
  absl::Status Publish();

  // A replica's.  To the primary, if there is a session; what is stored is to be applied; a
  // transaction was stored by another way than the stream; the primary's wall clock, 0: not known.
  void Submit(replication::Body body, std::vector<std::byte> payload);
  void ApplyStored();
  void NoteStored(const std::string& database, ltx::TxId txid);
  int64_t PrimaryTimeMs() const;
  // A primary's: no replica begins to write, and those that do end, or (false) as before.
  void CloseHalts(bool closed);

  bool running() const { return running_; }
  // On a replica: the node that it follows says that it is no primary, and has none.
  bool UpstreamIsReplica() const;
  // Who is served, as PeerDirectory has it.  Any thread, while this is neither started nor stopped.
  std::vector<replication::PeerStatus> Peers() const EXCLUDES(server_mu_);
  // What a replica knows of the primary; all empty on a primary.  The main thread.
  struct Following {
    std::string primary_host{};        // of the node that is followed; its id, if it dials us
    std::string proxy{};               // URL of the primary's HTTP proxy
    std::optional<uint64_t> lag_ms{};  // as in StatusJson
  };
  Following FollowingNow();
  // What each replica, but for that node, has confirmed of a database.  Likewise.
  std::vector<ltx::Position> Stored(const std::string& database, const std::string& but_for) const
      EXCLUDES(server_mu_);

  // Returns when is_so(), which is asked at first and whenever a replica has confirmed something,
  // or after limit; whether it is so.  With the thread of Start.
  bool AwaitConfirmation(std::chrono::milliseconds limit, const std::function<bool()>& is_so) const;

  // Store::Options::on_commit of a primary.
  void Committed(const std::string& database, ltx::TxId min_txid, ltx::TxId max_txid);

  // The "replication" of litefs status (docs/IPC.md).
  nlohmann::json StatusJson();
  // Adds what its counters count.
  void AddCountersTo(nlohmann::json* json) const;
  // A replica's "lag" of one database, at this position; null where it is not known.
  nlohmann::json LagJson(const std::string& database, const ltx::Position& position);

 private:
  void MakeClient();
  absl::Status StartServer() EXCLUDES(server_mu_);
  bool serves() const;
  nlohmann::json HaltsJson() const;
  nlohmann::json ReplicasJson() const;
  void AddFollowingTo(nlohmann::json* json);
  replication::Refusals::Summary Refusals() const;

  const Config& config_;
  const Role role_;
  store::NodeDirectory* const node_;
  store::Store* const store_;
  NodeSync* const sync_;
  session::StatusFile* const status_;
  const Forwarding forwarding_;
  replication::Security security_;
  std::unique_ptr<store::Applier> applier_;
  std::unique_ptr<ReplicaChain> sink_;
  std::unique_ptr<replication::ReplicationClient> client_;
  std::unique_ptr<ServedChain> source_;
  std::unique_ptr<NodeHalts> halts_;
  mutable Mutex server_mu_;  // of the pointer, against Peers
  std::unique_ptr<replication::ReplicationServer> server_;
  bool running_ = false;
};

}  // namespace litefs
