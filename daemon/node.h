// Node: what a running daemon has below its lease: the store and its replication, in a role, and
// the change of the role without a restart.  For apps a change is what a restart of the daemon is:
// their sessions end and are begun anew, their connections stay open.
//
//   replica → primary   receiving stops; what is stored is applied; the role is noted; the
//                       databases are opened as a primary's
//   primary → replica   REQUIRES the fence; apps end their transactions; what is committed is
//                       captured; the role is noted; the databases are opened as a replica's
//
// The role is on the disk before a database is opened in it: a primary's content is the truth, a
// replica's may be behind its chain.
//
// All methods belong to the main thread, but for those that ask for positions.

#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "common/mutex.h"
#include "daemon/config.h"
#include "daemon/http/event_feed.h"
#include "daemon/lease/record.h"
#include "daemon/node_archive.h"
#include "daemon/node_forward.h"
#include "daemon/node_replication.h"
#include "daemon/node_sync.h"
#include "daemon/session/session_server.h"
#include "daemon/session/status_file.h"
#include "daemon/store/node_directory.h"
#include "daemon/store/store.h"

namespace litefs {

class Node {
 public:
  // All must outlive the node.
  struct Parts {
    const Config* config = nullptr;
    store::NodeDirectory* directory = nullptr;
    session::StatusFile* status = nullptr;
    http::EventFeed* events = nullptr;
    std::function<void()> before_close;  // the store goes: let go of its databases
    NodeSync* sync = nullptr;
    // A database has reached this transaction, or after a change of the role ("") any has.  Any
    // thread, with locks of the database held.
    std::function<void(const std::string& database, ltx::TxId txid)> on_moved;
  };
  explicit Node(Parts parts) : parts_(std::move(parts)) {}
  ~Node() { Stop(); }
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  // Opens the databases in the role that the node had last, or that the configuration gives it.
  absl::Status Open();
  // Begins to follow, or to serve.  server: the one that serves store().
  absl::Status Start(session::SessionServer* server);
  void Stop();

  bool primary() const { return primary_; }
  const std::string& upstream() const { return upstream_; }  // whom it follows, as a replica
  store::Store& store() { return *store_; }
  NodeReplication& replication() { return *replication_; }
  NodeArchive& archive() { return *archive_; }
  // What apps write here as on a replica; null: nothing.
  NodeForward* forward() { return forward_.get(); }

  // kUnavailable: an app is in a write transaction, or readers keep stored files from being
  // applied: try again.  Other errors: the node has no store any more and must end.
  absl::Status BecomePrimary() EXCLUDES(mu_);
  // upstream: the `listen` of the new primary.
  absl::Status BecomeReplica(const std::string& upstream) EXCLUDES(mu_);
  // A replica follows another node from now on.
  absl::Status Follow(const std::string& upstream);
  // A reign begins: notes the epoch durably and serves replicas in it.
  absl::Status Publish(uint64_t epoch);

  // Takes no new writers in and waits, at most for limit, until those that are there have ended.
  // False: some have not, and all is as before.
  bool HoldWriters(std::chrono::milliseconds limit);
  void AdmitWriters();

  // Of the cluster that this node belongs to; empty: it is free to join one.
  std::string cluster_id() EXCLUDES(mu_);
  // All that this node has; while the role changes, what it had before.
  lease::Positions Positions() EXCLUDES(mu_);
  // Of these, for each database the most that a connected replica has confirmed; without any, all.
  lease::Positions Replicated() EXCLUDES(mu_);
  // True if this connected replica, or any if empty, has confirmed all that this node has.
  bool HasAll(const std::string& node_id) EXCLUDES(mu_);
  bool HasReplicas() EXCLUDES(mu_);
  // Waits until HasAll(node_id), at most for limit.
  bool AwaitAll(const std::string& node_id, std::chrono::milliseconds limit);
  // Waits until every connected replica, of which there is one at least, has confirmed all that
  // this node has.
  bool AwaitEveryReplica(std::chrono::milliseconds limit) EXCLUDES(mu_);
  // True if that takes it a moment: it is behind by a few transactions at most.
  bool IsClose(const std::string& node_id) EXCLUDES(mu_);

 private:
  absl::Status OpenStore() EXCLUDES(mu_);
  void CloseStore() EXCLUDES(mu_);
  absl::Status Reopen(bool primary) EXCLUDES(mu_);
  absl::Status StartReplication() EXCLUDES(mu_);
  absl::Status StartTasks() EXCLUDES(mu_);
  void StopReplication();
  void StartForwarding();
  absl::Status ApplyStored();
  void SetRole(bool primary);
  std::vector<replication::PeerStatus> LivePeers() EXCLUDES(mu_);

  const Parts parts_;
  session::SessionServer* server_ = nullptr;
  bool primary_ = false;
  std::string upstream_;
  // Changed by the main thread alone, under mu_; read there without it, and by others with it.
  Mutex mu_;
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<NodeReplication> replication_;
  std::unique_ptr<NodeArchive> archive_;  // the main thread's own
  // Changed by the main thread, while neither applier nor client run.
  std::unique_ptr<NodeForward> forward_;
  lease::Positions last_positions_ GUARDED_BY(mu_);
  lease::Positions floor_ GUARDED_BY(mu_);  // what this node had when its reign began
};

}  // namespace litefs
