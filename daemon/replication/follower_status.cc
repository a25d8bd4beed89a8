#include "daemon/replication/follower_status.h"

namespace litefs::replication {

void FollowerStatus::SetSession(const std::string& node_id, const std::string& cluster_id,
                                uint64_t epoch, const std::string& path, const std::string& proxy) {
  MutexLock lock(mu_);
  status_.connected = true;
  status_.primary_node_id = node_id;
  status_.cluster_id = cluster_id;
  status_.epoch = epoch;
  status_.path = path;
  status_.proxy = proxy;
  status_.last_error.clear();
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

void FollowerStatus::SetUpstreamIsReplica(bool is_replica) {
  MutexLock lock(mu_);
  status_.upstream_is_replica = is_replica;
}

ClientStatus FollowerStatus::Snapshot() const {
  MutexLock lock(mu_);
  return status_;
}

}  // namespace litefs::replication
