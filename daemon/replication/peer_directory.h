// PeerDirectory: which replicas are connected and how far each has confirmed, for status output and
// for those who wait for that.  Written by the server's thread; any thread reads.

#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "common/mutex.h"
#include "daemon/replication/chain.h"

namespace litefs::replication {

struct PeerStatus {
  std::string node_id;
  std::vector<DatabaseState> acknowledged;  // by name
  int64_t last_seen_ms = 0;                 // since the last message from it
};

class PeerDirectory {
 public:
  // key is the peer's routing id.
  void Join(const std::string& key, const std::string& node_id) EXCLUDES(mu_);
  void Leave(const std::string& key) EXCLUDES(mu_);
  void Seen(const std::string& key) EXCLUDES(mu_);
  void Acknowledged(const std::string& key, const std::string& database,
                    const ltx::Position& position) EXCLUDES(mu_);
  // Called after each Acknowledged, with the database, on its thread.  Before the first of them.
  void set_on_acknowledged(std::function<void(const std::string& database)> on_acknowledged) {
    on_acknowledged_ = std::move(on_acknowledged);
  }
  void ForgetDatabase(const std::string& database) EXCLUDES(mu_);

  std::vector<PeerStatus> Snapshot() const EXCLUDES(mu_);
  // What each node, but for one, has confirmed of a database: the most, if it is connected more
  // than once.
  std::vector<ltx::Position> Stored(const std::string& database,
                                    const std::string& but_for = "") const EXCLUDES(mu_);
  // How often anything has been confirmed; and returns when that is not seen any more, or after the
  // time-out.
  uint64_t acknowledgements() const EXCLUDES(mu_);
  void AwaitAcknowledgement(uint64_t seen, std::chrono::milliseconds timeout) const EXCLUDES(mu_);

 private:
  struct Entry {
    std::string node_id;
    std::map<std::string, ltx::Position> acknowledged;
    int64_t seen_ms = 0;
  };

  std::function<void(const std::string& database)> on_acknowledged_;
  mutable Mutex mu_;
  mutable CondVar acknowledged_;
  uint64_t acknowledgements_ GUARDED_BY(mu_) = 0;
  std::map<std::string, Entry> peers_ GUARDED_BY(mu_);
};

}  // namespace litefs::replication
