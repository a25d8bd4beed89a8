#include "daemon/replication/follower_status.h"

#include <chrono>

#include "common/clock.h"

namespace litefs::replication {
namespace {

int64_t NowMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(SystemClock().Boot()).count();
}

}  // namespace

void FollowerStatus::SetSession(bool connected, const std::string& node_id,
                                const std::string& cluster_id, uint64_t epoch) {
  MutexLock lock(mu_);
  status_.connected = connected;
  status_.primary_node_id = node_id;
  status_.cluster_id = cluster_id;
  status_.epoch = epoch;
  if (connected) status_.last_error.clear();
}

void FollowerStatus::SetConnected(bool connected) {
  MutexLock lock(mu_);
  status_.connected = connected;
  if (!connected) status_.pub_healthy = false;
}

void FollowerStatus::SetPubHealthy(bool healthy) {
  MutexLock lock(mu_);
  status_.pub_healthy = healthy;
}

void FollowerStatus::SetError(const std::string& error) {
  MutexLock lock(mu_);
  status_.last_error = error;
}

void FollowerStatus::SetBeacon() {
  MutexLock lock(mu_);
  beacon_ms_ = NowMs();
}

void FollowerStatus::SetDatabase(const std::string& name, const ltx::Position& stored,
                                 const ltx::Position& primary) {
  MutexLock lock(mu_);
  databases_[name] = {name, stored, primary};
}

void FollowerStatus::ForgetDatabase(const std::string& name) {
  MutexLock lock(mu_);
  databases_.erase(name);
}

ClientStatus FollowerStatus::Snapshot() const {
  MutexLock lock(mu_);
  ClientStatus status = status_;
  status.beacon_age_ms = beacon_ms_ < 0 ? -1 : NowMs() - beacon_ms_;
  for (const auto& [name, lag] : databases_) {
    status.databases.push_back(lag);
    if (lag.primary.txid > lag.stored.txid) {
      status.lag_transactions += lag.primary.txid - lag.stored.txid;
    }
  }
  return status;
}

}  // namespace litefs::replication
