// ReplicationServer: the serving end of replication, on a primary and on a replica that has
// replicas of its own.  One thread owns the PUB and the ROUTER
// socket; a second one makes snapshots.  Idle, it wakes once a second for a beacon, and without
// replicas not at all.

#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "common/mutex.h"
#include "daemon/replication/chain.h"
#include "daemon/replication/context.h"
#include "daemon/replication/forward_target.h"
#include "daemon/replication/halt_server.h"
#include "daemon/replication/peer_directory.h"
#include "daemon/replication/publisher.h"
#include "daemon/replication/pull_server.h"
#include "daemon/replication/snapshot_worker.h"
#include "daemon/replication/tip_table.h"
#include "daemon/replication/wakeup.h"
#include "daemon/replication/wall_time.h"

namespace litefs::replication {

class ReplicationServer {
 public:
  struct Options {
    std::string pub_endpoint;   // "tcp://*:port" or "ipc://path"; unused without publish
    std::string pull_endpoint;  // likewise; empty: only those are served that are dialled
    std::string cluster_id;
    std::string node_id;
    uint64_t epoch = 0;
    bool publish = true;
    Security security = {};
    // Replicas are to confirm only what is on their disks.
    bool durable = false;
    std::string proxy{};  // Welcome::proxy, of a primary
    // Called on the server's thread when a replica has confirmed something of a database, with what
    // each node has.  May be null.
    std::function<void(const std::string& database, const std::vector<ltx::Position>& stored)>
        on_stored = nullptr;
    std::chrono::milliseconds beacon_interval{1000};
    std::vector<std::string> dial = {};  // replicas that wait for us to connect
    // On a replica: what it knows of its primary; must outlive the server.  Such a server refuses
    // everybody until Renew.
    LagTable* upstream = nullptr;
    const Clock* clock = &SystemClock();  // for the times that replicas are told
    // On a primary: what replicas write; must outlive the server.  Null: they do not.
    ForwardTarget* forward_target = nullptr;
    std::chrono::milliseconds max_halt{30'000};  // of a lock without a transaction
  };

  // source must outlive the server.
  ReplicationServer(Options options, ChainSource* source);
  ~ReplicationServer();  // Stop()
  ReplicationServer(const ReplicationServer&) = delete;
  ReplicationServer& operator=(const ReplicationServer&) = delete;

  // Binds and begins to serve; once.  kInvalidArgument: a bad option or endpoint.
  // kAlreadyExists: an endpoint is in use.
  absl::Status Start();
  // Joins the threads (a snapshot being made is waited for) and closes the sockets.  What has been
  // queued for replicas and not sent is dropped.  No effect when stopped.
  void Stop();

  // The chain of database has grown by these transactions.  Any thread, also before Start; O(1) and
  // never blocks on a replica: commits that follow each other closely are looked up together.
  void Committed(const std::string& database, ltx::TxId min_txid, ltx::TxId max_txid) EXCLUDES(mu_);
  // From now on this node serves that cluster in that epoch, and path is how the primary's files
  // come here (Welcome::path, this node included), proxy where its HTTP proxy is.  Unless all are
  // as before, every session ends, and its replica begins another.  Any thread, between Start and
  // Stop.
  void Renew(const std::string& cluster_id, uint64_t epoch, const std::string& path,
             const std::string& proxy) EXCLUDES(mu_);
  // States() changed otherwise: a database was dropped, or its chain replaced.  Any thread.
  void Changed(const std::string& database) EXCLUDES(mu_);

  // The replicas in session.  Any thread, between Start and Stop.
  std::vector<PeerStatus> Peers() const { return peers_.Snapshot(); }
  const PeerDirectory& directory() const { return peers_; }
  // The replicas that are dialled.  Likewise.
  std::vector<DialStatus> Dialled() const { return pull_server_->sockets().Status(); }
  const PullServer::Counters& counters() const { return pull_server_->counters(); }
  Refusals::Summary refusals() const { return context_->refusals().Get(); }
  // The halt locks that replicas hold; null: they get none.  Likewise.
  HaltServer* halts() const { return halts_.get(); }

  // The endpoints bound, with the ports chosen for "*".  After Start.
  const std::string& pub_endpoint() const { return pub_endpoint_; }
  const std::string& pull_endpoint() const { return pull_endpoint_; }

 private:
  using Time = std::chrono::nanoseconds;  // Clock::Boot
  // Databases to look at, with the transaction that their chain has reached at least.
  using Dirty = std::map<std::string, ltx::TxId>;

  absl::Status Validate() const;
  PullServer::Identity IdentityNow() const;
  void TakeRenewal() EXCLUDES(mu_);
  void Run();
  bool Turn(bool requests_waiting);
  void StartListening() EXCLUDES(mu_);
  void StopListening() EXCLUDES(mu_);
  void ReloadTips();
  bool TakeDirty() EXCLUDES(mu_);
  bool PublishDirty();
  enum class Progress { kTip, kMore, kFailed };
  Progress PublishNext(const std::string& database, ltx::TxId at_least);
  void SetTip(const ChainTip& tip);
  void ForgetTip(const std::string& database);
  void Resynchronise(const std::string& database);
  uint64_t AsOfMs() const;
  void SendBeacon(Time now);
  Time NextBeacon() const;
  Time NextWakeup(Time now);

  const Options options_;
  ChainSource* const source_;
  const WallTime time_;
  Envelope envelope_;
  std::string path_;  // empty: not ready
  std::string proxy_;
  std::string pub_endpoint_;
  std::string pull_endpoint_;
  PeerDirectory peers_;
  Wakeup wakeup_;

  // The thread's own, once it runs.
  std::unique_ptr<Context> context_;
  std::unique_ptr<SnapshotWorker> snapshots_;
  std::unique_ptr<Publisher> publisher_;  // nullptr without publish
  std::unique_ptr<HaltServer> halts_;     // its thread calls wakeup_
  std::unique_ptr<PullServer> pull_server_;
  TipTable tips_;
  Dirty pending_;
  bool listening_here_ = false;  // as listening_
  // Since the last beacon, at most kMaxListedDatabases, with the first commit's time.
  std::map<std::string, uint64_t> changed_;
  uint64_t as_of_ms_ = 0;                        // on a primary: nothing older is missing in tips_
  bool beacon_due_ = false;                      // something changed
  std::chrono::milliseconds beacon_spacing_{0};  // until the next beacon, if nothing changes
  Time last_beacon_{};
  Time retry_at_ = Time::max();  // for databases in pending_ that failed

  Mutex mu_;
  Dirty dirty_ GUARDED_BY(mu_);
  // While nobody listens, commits are not even noted: the tips are read afresh for the first one.
  bool listening_ GUARDED_BY(mu_) = false;
  bool stopping_ GUARDED_BY(mu_) = false;
  struct Renewal {
    std::string cluster_id;
    uint64_t epoch = 0;
    std::string path;
    std::string proxy;
  };
  std::optional<Renewal> renewal_ GUARDED_BY(mu_);
  std::thread thread_;
};

}  // namespace litefs::replication
