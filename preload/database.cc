#include "preload/database.h"

#include <cstring>

#include "preload/session_channel.h"

namespace litefs::preload {

constinit DatabaseTable databases;

namespace {

void ForgetTransaction(Database& db) {
  db.locks.store(Locks{}, std::memory_order_release);
  db.provisional.store(false);
  db.was_empty.store(false);
  db.pending.Clear();
  db.sent.Clear();
  db.sent_overflowed = db.unknown = db.synced = db.hands_over = false;
  db.noted.store(false);
  db.foreign.store(false);
  db.forwards.store(false);
  db.frame_held = db.frame_accepted = false;
}

}  // namespace

int DatabaseTable::FindLocked(uint64_t device, uint64_t inode) const {
  const uint32_t end = end_.load(std::memory_order_relaxed);
  for (uint32_t i = 0; i < end; ++i) {
    const Database& db = entries_[i];
    if (db.inode == inode && db.device == device && db.refs.load() > 0) return static_cast<int>(i);
  }
  return -1;
}

int DatabaseTable::Acquire(uint64_t device, uint64_t inode) {
  FutexLockHolder hold(lock_);
  const int index = FindLocked(device, inode);
  if (index >= 0) entries_[index].refs.fetch_add(1);
  return index;
}

int DatabaseTable::AcquireOrEnter(uint64_t device, uint64_t inode, std::string_view directory,
                                  std::string_view name, bool* entered) {
  FutexLockHolder hold(lock_);
  *entered = false;
  if (const int found = FindLocked(device, inode); found >= 0) {
    entries_[found].refs.fetch_add(1);
    return found;
  }
  if (directory.size() > kMaxDirectoryBytes || name.size() > ipc::kMaxDatabaseNameBytes) return -1;
  const uint32_t end = end_.load(std::memory_order_relaxed);
  uint32_t index = 0;
  while (index < end && entries_[index].refs.load() > 0) ++index;
  if (index == kMaxDatabases) return -1;
  Database& db = entries_[index];
  db.device = device;
  db.inode = inode;
  std::memcpy(db.directory, directory.data(), directory.size());
  db.directory_bytes = static_cast<uint16_t>(directory.size());
  std::memcpy(db.name, name.data(), name.size());
  db.name_bytes = static_cast<uint16_t>(name.size());
  ForgetTransaction(db);
  db.refs.store(1);
  if (index == end) end_.store(end + 1, std::memory_order_release);
  *entered = true;
  return static_cast<int>(index);
}

Database* DatabaseTable::Find(uint64_t device, uint64_t inode) {
  FutexLockHolder hold(lock_);
  const int index = FindLocked(device, inode);
  return index < 0 ? nullptr : &entries_[index];
}

void DatabaseTable::Release(uint32_t index) {
  Database& db = entries_[index];
  FutexLockHolder hold(lock_);
  if (db.refs.load() > 1) {
    db.refs.fetch_sub(1);
    return;
  }
  SessionChannel(db).End();
  ForgetTransaction(db);
  db.inode = 0;
  db.refs.store(0);
}

void DatabaseTable::AfterForkInChild() {
  lock_.Forget();
  for (uint32_t i = 0; i < end(); ++i) {
    Database& db = entries_[i];
    db.lock.Forget();
    if (db.refs.load() == 0) continue;
    const bool provisional = db.provisional.load();
    const bool was_empty = db.was_empty.load();
    SessionChannel(db).End();
    ForgetTransaction(db);  // fcntl locks are not inherited either
    db.provisional.store(provisional);
    db.was_empty.store(was_empty);
  }
}

}  // namespace litefs::preload
