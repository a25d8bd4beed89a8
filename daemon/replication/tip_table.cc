#include "daemon/replication/tip_table.h"

#include <algorithm>

#include "daemon/replication/message.h"

namespace litefs::replication {

bool TipTable::Learn(const ChainTip& news, uint64_t sequence) {
  const auto& [database, position, committed_ms, end_bytes] = news;
  AdvanceSequence(sequence);
  const auto [it, added] = tips_.try_emplace(database);
  Tip& tip = it->second;
  if (!added && sequence < tip.sequence) return false;
  tip.sequence = sequence;
  if (!added && tip.position == position) return false;
  if (!added) digest_ ^= StateDigest(database, tip.position);
  tip.position = position;
  tip.committed_ms = committed_ms;
  tip.end_bytes = end_bytes;
  digest_ ^= StateDigest(database, position);
  return true;
}

void TipTable::Forget(const std::string& database) {
  const auto it = tips_.find(database);
  if (it == tips_.end()) return;
  digest_ ^= StateDigest(database, it->second.position);
  tips_.erase(it);
}

void TipTable::Clear() { *this = TipTable(); }

const TipTable::Tip* TipTable::Find(const std::string& database) const {
  const auto it = tips_.find(database);
  return it == tips_.end() ? nullptr : &it->second;
}

std::vector<ChainTip> TipTable::Page(const std::string& after, size_t max_count, bool* last) const {
  std::vector<ChainTip> page;
  auto it = tips_.upper_bound(after);
  for (; it != tips_.end() && page.size() < max_count; ++it) {
    const Tip& tip = it->second;
    page.push_back({it->first, tip.position, tip.committed_ms, tip.end_bytes});
  }
  *last = it == tips_.end();
  return page;
}

void TipTable::AdvanceSequence(uint64_t sequence) { sequence_ = std::max(sequence_, sequence); }

}  // namespace litefs::replication
