#include "daemon/replication/peer_directory.h"

#include <chrono>
#include <string_view>

#include "common/clock.h"

namespace litefs::replication {
namespace {

int64_t NowMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(SystemClock().Boot()).count();
}

}  // namespace

void PeerDirectory::Join(const std::string& key, const std::string& node_id) {
  MutexLock lock(mu_);
  peers_[key] = {.node_id = node_id, .acknowledged = {}, .seen_ms = NowMs()};
}

void PeerDirectory::Leave(const std::string& key) {
  MutexLock lock(mu_);
  peers_.erase(key);
}

void PeerDirectory::Seen(const std::string& key) {
  MutexLock lock(mu_);
  const auto it = peers_.find(key);
  if (it != peers_.end()) it->second.seen_ms = NowMs();
}

void PeerDirectory::Acknowledged(const std::string& key, const std::string& database,
                                 const ltx::Position& position) {
  {
    MutexLock lock(mu_);
    const auto it = peers_.find(key);
    if (it == peers_.end()) return;
    it->second.acknowledged[database] = position;
    ++acknowledgements_;
    acknowledged_.NotifyAll();
  }
  if (on_acknowledged_ != nullptr) on_acknowledged_(database);
}

std::vector<ltx::Position> PeerDirectory::Stored(const std::string& database,
                                                 const std::string& but_for) const {
  std::map<std::string_view, ltx::Position> by_node;
  MutexLock lock(mu_);
  for (const auto& [key, entry] : peers_) {
    const auto it = entry.acknowledged.find(database);
    if (it == entry.acknowledged.end()) continue;
    if (!but_for.empty() && entry.node_id == but_for) continue;
    ltx::Position& most = by_node[entry.node_id];
    if (it->second.txid >= most.txid) most = it->second;
  }
  std::vector<ltx::Position> stored;
  for (const auto& [node, position] : by_node) stored.push_back(position);
  return stored;
}

void PeerDirectory::ForgetDatabase(const std::string& database) {
  MutexLock lock(mu_);
  for (auto& [key, entry] : peers_) entry.acknowledged.erase(database);
}

uint64_t PeerDirectory::acknowledgements() const {
  MutexLock lock(mu_);
  return acknowledgements_;
}

void PeerDirectory::AwaitAcknowledgement(uint64_t seen, std::chrono::milliseconds timeout) const {
  const auto end = std::chrono::steady_clock::now() + timeout;
  MutexLock lock(mu_);
  while (acknowledgements_ == seen && acknowledged_.WaitUntil(mu_, end)) continue;
}

std::vector<PeerStatus> PeerDirectory::Snapshot() const {
  MutexLock lock(mu_);
  std::vector<PeerStatus> peers;
  const int64_t now_ms = NowMs();
  for (const auto& [key, entry] : peers_) {
    PeerStatus& peer = peers.emplace_back();
    peer.node_id = entry.node_id;
    peer.last_seen_ms = now_ms - entry.seen_ms;
    for (const auto& [name, position] : entry.acknowledged) {
      peer.acknowledged.push_back({name, position});
    }
  }
  return peers;
}

}  // namespace litefs::replication
