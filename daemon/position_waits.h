// PositionWaits: who waits for a database to reach a transaction.  Nobody polls: who moves a
// database on wakes them.  Any thread.

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "common/mutex.h"
#include "ltx/types.h"

namespace litefs {

class PositionWaits {
 public:
  using Wake = std::function<void()>;

  // wake is called once, when Moved tells of this transaction or a later one, or by WakeAll, on
  // that thread, which may hold locks of the database: it must only pass it on.  Look at the
  // database after this call: what happened before it is not told.  Returns an id, never 0.
  uint64_t Add(const std::string& database, ltx::TxId txid, Wake wake) EXCLUDES(mu_);
  // False: wake has been, or is being, called.
  bool Remove(uint64_t id) EXCLUDES(mu_);

  // The database has reached this transaction.
  void Moved(const std::string& database, ltx::TxId txid) EXCLUDES(mu_);
  // Databases may be elsewhere than one has been told.
  void WakeAll() EXCLUDES(mu_);
  size_t size() const EXCLUDES(mu_);

 private:
  struct Wait {
    std::string database;
    ltx::TxId txid = 0;
    Wake wake;
  };
  mutable Mutex mu_;
  uint64_t last_id_ GUARDED_BY(mu_) = 0;
  std::map<uint64_t, Wait> waits_ GUARDED_BY(mu_);
};

}  // namespace litefs
