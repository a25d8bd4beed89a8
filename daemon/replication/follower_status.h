// FollowerStatus: what a replica shows of itself.  Written by its receiving thread, which may be
// busy applying for seconds; read by any thread at any time.

#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "common/clock.h"
#include "common/mutex.h"
#include "daemon/replication/lag_table.h"

namespace litefs::replication {

struct ClientStatus {
  bool connected = false;       // in session with a primary
  bool pub_healthy = false;     // new files come by PUB
  std::string primary_node_id;  // of the last session
  std::string cluster_id;
  uint64_t epoch = 0;
  std::string path;        // of the last session: the nodes from the primary to that one
  std::string proxy;       // of the last session: URL of the primary's HTTP proxy; empty: none
  std::string last_error;  // why there is no session, or the last file that failed
  // The node that is followed has just answered that it is a replica itself, and has reached no
  // primary; until the next attempt.
  bool upstream_is_replica = false;
};

class FollowerStatus {
 public:
  explicit FollowerStatus(const Clock* clock) : lag(clock) {}

  LagTable lag;

  // Counters for metrics and tests.  Any thread.
  std::atomic<uint64_t> received{0};         // files stored
  std::atomic<uint64_t> received_by_pub{0};  // of these, by PUB
  std::atomic<uint64_t> pulls{0};            // pulls asked for
  std::atomic<uint64_t> discarded{0};        // messages that were old, or of no use
  std::atomic<uint64_t> corrupt{0};          // wrong digests, broken files, malformed messages
  std::atomic<uint64_t> sessions{0};         // sessions begun

  // A session has begun.
  void SetSession(const std::string& node_id, const std::string& cluster_id, uint64_t epoch,
                  const std::string& path, const std::string& proxy) EXCLUDES(mu_);
  void SetConnected(bool connected) EXCLUDES(mu_);
  void SetPubHealthy(bool healthy) EXCLUDES(mu_);
  void SetError(const std::string& error) EXCLUDES(mu_);
  void SetUpstreamIsReplica(bool is_replica) EXCLUDES(mu_);

  ClientStatus Snapshot() const EXCLUDES(mu_);

 private:
  mutable Mutex mu_;
  ClientStatus status_ GUARDED_BY(mu_);
};

}  // namespace litefs::replication
