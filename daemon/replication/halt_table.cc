#include "daemon/replication/halt_table.h"

#include <algorithm>
#include <utility>

#include "common/check.h"

namespace litefs::replication {

bool HaltTable::Ask(const std::string& database, Asker asker) {
  Database& entry = databases_[database];
  if (entry.waiting.size() >= options_.max_waiting) return false;
  entry.waiting.push_back(std::move(asker));
  return true;
}

const HaltTable::Asker* HaltTable::Next(const std::string& database, Time now) const {
  const auto it = databases_.find(database);
  if (it == databases_.end() || it->second.lock || it->second.waiting.empty()) return nullptr;
  return now < it->second.not_before ? nullptr : &it->second.waiting.front();
}

const HaltTable::Lock& HaltTable::Grant(const std::string& database, Time now) {
  CHECK(Next(database, now) != nullptr);
  Database& entry = databases_[database];
  entry.lock = Lock{.id = ++last_id_,
                    .session = entry.waiting.front().session,
                    .expires = now + options_.ttl,
                    .hold_ends = now + options_.max_hold};
  entry.waiting.pop_front();
  entry.not_before = {};
  return *entry.lock;
}

HaltTable::Asker HaltTable::Dismiss(const std::string& database) {
  Database& entry = databases_[database];
  CHECK(!entry.waiting.empty());
  Asker asker = std::move(entry.waiting.front());
  entry.waiting.pop_front();
  Forget(database);
  return asker;
}

void HaltTable::Cancel(const std::string& session, uint64_t request) {
  for (auto it = databases_.begin(); it != databases_.end();) {
    const std::string database = it->first;
    std::erase_if(it++->second.waiting, [&](const Asker& asker) {
      return asker.session == session && asker.request == request;
    });
    Forget(database);
  }
}

HaltTable::Lock* HaltTable::Find(const std::string& database, uint64_t id,
                                 const std::string& session) {
  Lock* const lock = Held(database);
  return lock != nullptr && lock->id == id && lock->session == session ? lock : nullptr;
}

std::string HaltTable::DatabaseOf(uint64_t id) const {
  for (const auto& [name, entry] : databases_) {
    if (entry.lock && entry.lock->id == id) return name;
  }
  return "";
}

HaltTable::Lock* HaltTable::Held(const std::string& database) {
  const auto it = databases_.find(database);
  return it == databases_.end() || !it->second.lock ? nullptr : &*it->second.lock;
}

void HaltTable::Keep(Lock* lock, Time now) { lock->expires = now + options_.ttl; }

void HaltTable::Used(Lock* lock, Time now) {
  Keep(lock, now);
  lock->hold_ends = now + options_.max_hold;
}

void HaltTable::End(const std::string& database, Time now, bool wanted) {
  Database& entry = databases_[database];
  entry.lock.reset();
  if (wanted) entry.not_before = now + options_.local_turn;
  Forget(database);
}

std::vector<std::string> HaltTable::EndSession(const std::string& session) {
  std::vector<std::string> held;
  for (auto it = databases_.begin(); it != databases_.end();) {
    const std::string database = it->first;
    Database& entry = it++->second;
    std::erase_if(entry.waiting, [&](const Asker& asker) { return asker.session == session; });
    if (entry.lock && entry.lock->session == session) held.push_back(database);
    Forget(database);
  }
  return held;
}

// Nothing is kept of a database of which nothing is to be said.
void HaltTable::Forget(const std::string& database) {
  const auto it = databases_.find(database);
  if (it == databases_.end() || it->second.lock || !it->second.waiting.empty()) return;
  if (it->second.not_before == Time{}) databases_.erase(it);
}

std::vector<std::string> HaltTable::Databases() const {
  std::vector<std::string> names;
  for (const auto& [name, entry] : databases_) names.push_back(name);
  return names;
}

std::vector<HaltTable::Asker> HaltTable::Tired(Time now) {
  std::vector<Asker> tired;
  for (auto it = databases_.begin(); it != databases_.end();) {
    const std::string database = it->first;
    if (it->second.not_before <= now) it->second.not_before = {};
    std::deque<Asker>& waiting = it++->second.waiting;
    for (const Asker& asker : waiting) {
      if (asker.until <= now) tired.push_back(asker);
    }
    std::erase_if(waiting, [&](const Asker& asker) { return asker.until <= now; });
    Forget(database);
  }
  return tired;
}

std::vector<std::string> HaltTable::Expired(Time now) const {
  std::vector<std::string> expired;
  for (const auto& [name, entry] : databases_) {
    if (entry.lock && std::min(entry.lock->expires, entry.lock->hold_ends) <= now) {
      expired.push_back(name);
    }
  }
  return expired;
}

bool HaltTable::HasWaiting(const std::string& database) const {
  const auto it = databases_.find(database);
  return it != databases_.end() && !it->second.waiting.empty();
}

size_t HaltTable::held() const {
  return static_cast<size_t>(
      std::count_if(databases_.begin(), databases_.end(),
                    [](const auto& item) { return item.second.lock.has_value(); }));
}

HaltTable::Time HaltTable::NextDeadline() const {
  Time next = Time::max();
  for (const auto& [name, entry] : databases_) {
    if (entry.lock) next = std::min({next, entry.lock->expires, entry.lock->hold_ends});
    if (!entry.lock && !entry.waiting.empty()) next = std::min(next, entry.not_before);
    for (const Asker& asker : entry.waiting) next = std::min(next, asker.until);
  }
  return next;
}

}  // namespace litefs::replication
