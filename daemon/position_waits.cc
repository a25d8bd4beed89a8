#include "daemon/position_waits.h"

#include <utility>
#include <vector>

namespace litefs {

uint64_t PositionWaits::Add(const std::string& database, ltx::TxId txid, Wake wake) {
  MutexLock lock(mu_);
  waits_.emplace(++last_id_, Wait{database, txid, std::move(wake)});
  return last_id_;
}

bool PositionWaits::Remove(uint64_t id) {
  MutexLock lock(mu_);
  return waits_.erase(id) != 0;
}

void PositionWaits::Moved(const std::string& database, ltx::TxId txid) {
  std::vector<Wake> woken;
  {
    MutexLock lock(mu_);
    for (auto it = waits_.begin(); it != waits_.end();) {
      const bool reached = it->second.txid <= txid && it->second.database == database;
      if (reached) woken.push_back(std::move(it->second.wake));
      it = reached ? waits_.erase(it) : std::next(it);
    }
  }
  for (const Wake& wake : woken) wake();
}

void PositionWaits::WakeAll() {
  std::map<uint64_t, Wait> woken;
  {
    MutexLock lock(mu_);
    woken.swap(waits_);
  }
  for (const auto& [id, wait] : woken) wait.wake();
}

size_t PositionWaits::size() const {
  MutexLock lock(mu_);
  return waits_.size();
}

}  // namespace litefs
