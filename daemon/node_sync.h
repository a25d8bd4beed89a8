// NodeSync: synchronous commit (docs/CLUSTER.md, 11).  A commit of a database with `sync: N` is
// answered when N replicas have stored it durably, or as `on-timeout` says.
//
// AtSync belongs to the main thread; what concerns one Forwarded to one thread; all else to any.

#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "common/mutex.h"
#include "daemon/config.h"
#include "daemon/session/session.h"
#include "daemon/store/store.h"
#include "ltx/types.h"

namespace litefs {

class NodeSync {
 public:
  // Of a database: what each replica, but for the node but_for, has stored durably, as far as it
  // has said so; one a node.
  using StoredPositions = std::function<std::vector<ltx::Position>(const std::string& database,
                                                                   const std::string& but_for)>;
  // A transaction that an app on a replica has made, and which is in the chain here.
  struct Forwarded {
    const db::Database* database = nullptr;
    ltx::TxId txid = 0;
    std::string node_id;                // that replica
    std::chrono::nanoseconds since{0};  // Clock::Boot
    bool waits = false;                 // the rest is NodeSync's
    bool late = false;
  };
  enum class Verdict {
    kWait,
    kEnough,     // have stored it, or it is not waited for
    kIfDurable,  // if that replica has, which has not said so
  };
  // All must outlive this.
  NodeSync(const Config* config, StoredPositions stored)
      : config_(*config), stored_(std::move(stored)) {}

  // Of Welcome, for a session on this database.
  uint64_t WelcomeFlags(const std::string& database) const;

  // session::Gate, of a kSync.
  uint32_t AtSync(store::Store::Entry& entry, const session::GateRequest& request,
                  const session::Defer& defer) EXCLUDES(mu_);
  // Whether enough replicas have it; asked again while they have not.  Then Forget.
  Verdict AtForwarded(Forwarded* commit, std::chrono::nanoseconds now) EXCLUDES(mu_);
  void Forget(Forwarded* commit) EXCLUDES(mu_);
  // Until then no other node reigns (Clock::Boot), and what replicas have stored is known to the
  // election after that.  At first: for ever.
  void SetLease(std::chrono::nanoseconds until) { lease_until_ns_ = until.count(); }
  // A replica has stored something of this database; now they have this.
  void Stored(const std::string& database, const std::vector<ltx::Position>& stored) EXCLUDES(mu_);
  // The databases go, and with them all sessions.  REQUIRES: Stored is not called until AtSync is.
  void Forget() EXCLUDES(mu_);

  // A database's "sync" in litefs status; null where none is configured.
  nlohmann::json StatusJson(const store::Store::Entry& entry) EXCLUDES(mu_);
  void AddCountersTo(nlohmann::json* json) const EXCLUDES(mu_);

 private:
  struct Waiter {
    uint64_t id = 0;
    ltx::TxId txid = 0;
    session::Respond respond;
  };
  // Of one database.
  struct State {
    const SyncConfig* rule = nullptr;
    const db::Database* database = nullptr;  // null: nobody has asked yet
    std::vector<Waiter> waiters;
    size_t forwarded = 0;  // that wait
    bool degraded = false;
    ltx::TxId degraded_txid = 0;            // the commit that was not waited for any longer
    std::chrono::nanoseconds logged_at{0};  // Clock::Boot; 0: never
  };
  // Of a turn of a wait: sync-timeout is over at its end, and was not at its beginning.
  struct Lateness {
    bool times_out = false;
    bool overdue = false;
  };
  struct Counters {
    uint64_t confirmed = 0;
    uint64_t timeouts = 0;
    uint64_t degraded = 0;
    uint64_t unconfirmed = 0;
  };

  State& StateOf(const std::string& name) REQUIRES(mu_);
  uint32_t Unconfirmed(const std::string& name, std::string_view why) EXCLUDES(mu_);
  bool MayPass(const std::string& name, const db::Database& database,
               const std::vector<ltx::Position>& stored) EXCLUDES(mu_);
  void Restore(const std::string& name, State& state, const std::vector<ltx::Position>& stored)
      REQUIRES(mu_);
  session::Deferral Patience(const SyncConfig& rule, const session::GateRequest& request,
                             const std::string& name, uint64_t id);
  void Ended(const std::string& name, uint64_t id, std::optional<uint32_t> error, Lateness late)
      EXCLUDES(mu_);
  bool InLease() const;
  void Degrade(const std::string& name, State& state, ltx::TxId txid) REQUIRES(mu_);
  void LogWait(const std::string& name, State& state) REQUIRES(mu_);

  const Config& config_;
  const StoredPositions stored_;
  mutable Mutex mu_;
  absl::flat_hash_map<std::string, State> states_ GUARDED_BY(mu_);
  Counters counters_ GUARDED_BY(mu_);
  uint64_t last_id_ = 0;  // AtSync's
  std::atomic<int64_t> lease_until_ns_ = std::numeric_limits<int64_t>::max();
};

}  // namespace litefs
