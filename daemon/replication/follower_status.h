// FollowerStatus: what a replica shows of itself.  Written by its receiving thread, which may be
// busy applying for seconds; read by any thread at any time.

#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/mutex.h"
#include "ltx/types.h"

namespace litefs::replication {

struct DatabaseLag {
  std::string name;
  ltx::Position stored;
  ltx::Position primary;  // as far as we know
};

struct ClientStatus {
  bool connected = false;       // in session with a primary
  bool pub_healthy = false;     // new files come by PUB
  std::string primary_node_id;  // of the last session
  std::string cluster_id;
  uint64_t epoch = 0;
  std::vector<DatabaseLag> databases;  // by name
  uint64_t lag_transactions = 0;       // over all databases
  int64_t beacon_age_ms = -1;          // -1: none yet
  std::string last_error;              // why there is no session, or the last file that failed
};

class FollowerStatus {
 public:
  // Counters for metrics and tests.  Any thread.
  std::atomic<uint64_t> received{0};         // files stored
  std::atomic<uint64_t> received_by_pub{0};  // of these, by PUB
  std::atomic<uint64_t> pulls{0};            // pulls asked for
  std::atomic<uint64_t> discarded{0};        // messages that were old, or of no use
  std::atomic<uint64_t> corrupt{0};          // wrong digests, broken files, malformed messages
  std::atomic<uint64_t> sessions{0};         // sessions begun

  void SetSession(bool connected, const std::string& node_id, const std::string& cluster_id,
                  uint64_t epoch) EXCLUDES(mu_);
  void SetConnected(bool connected) EXCLUDES(mu_);
  void SetPubHealthy(bool healthy) EXCLUDES(mu_);
  void SetError(const std::string& error) EXCLUDES(mu_);
  void SetBeacon() EXCLUDES(mu_);  // one has just come
  void SetDatabase(const std::string& name, const ltx::Position& stored,
                   const ltx::Position& primary) EXCLUDES(mu_);
  void ForgetDatabase(const std::string& name) EXCLUDES(mu_);

  ClientStatus Snapshot() const EXCLUDES(mu_);

 private:
  mutable Mutex mu_;
  ClientStatus status_ GUARDED_BY(mu_);  // without databases
  int64_t beacon_ms_ GUARDED_BY(mu_) = -1;
  std::map<std::string, DatabaseLag> databases_ GUARDED_BY(mu_);
};

}  // namespace litefs::replication
