// The databases that this process has open: who they are, what of them is written and not yet
// committed, and their session with the daemon.  Shim-safe.

#pragma once

#include <atomic>
#include <cstdint>
#include <string_view>

#include "common/sqlite_format.h"
#include "ipc/protocol.h"
#include "preload/fd_table.h"
#include "preload/futex_lock.h"
#include "preload/page_stage.h"
#include "preload/range_list.h"
#include "preload/transaction_tracker.h"

namespace litefs::preload {

inline constexpr size_t kMaxDirectoryBytes = 1023;

// The connection behind a session; session_channel.h says what it does.  Guarded by Database::lock.
struct Session {
  int fd = 0;                  // 0: none (all zeros, so that the table lies in BSS)
  uint64_t socket_device = 0;  // of fd, to know it again: the app may have closed or replaced it
  uint64_t socket_inode = 0;
  uint32_t bell_slot = 0;
  uint64_t flags = 0;  // Welcome's, of the newest session
  uint64_t last_request = 0;
  // The daemon's numbers in the status page when the session was last seen to live.
  uint64_t seen_generation = 0;  // 0: it was not
  uint32_t seen_ended = 0;
  uint32_t refusal = 0;  // why the last attempt failed for good: an errno; 0: it did not
  // The status file of the newest session, also after its end; null before the first.
  const ipc::StatusPage* status = nullptr;
  ipc::BellPage* bells = nullptr;
  PageStage stage{};          // its ring is this session's
  bool ring_refused = false;  // there is none to be had
  bool told = false;          // a commit was a kCommit: the daemon knows where the next one begins
  // Not 0: the app goes on without a daemon, and one is looked for again from then
  // (CLOCK_MONOTONIC).
  int64_t next_probe_ns = 0;
};

struct Database {
  // Constant while refs > 0.
  uint64_t device = 0;
  uint64_t inode = 0;
  char directory[kMaxDirectoryBytes + 1] = {};
  char name[ipc::kMaxDatabaseNameBytes + 1] = {};
  uint16_t directory_bytes = 0;
  uint16_t name_bytes = 0;

  std::atomic<uint32_t> refs{0};  // descriptors on it and on its journal, WAL and wal-index
  std::atomic<Locks> locks{Locks{}};
  // The file was empty, or could not be read: the first write decides whether it is a database.
  std::atomic<bool> provisional{false};
  std::atomic<bool> was_empty{false};
  // The daemon has said that by its configuration this is no database of its: it is left alone.
  std::atomic<bool> foreign{false};
  // Something is noted below.  Written under lock, read without.
  std::atomic<bool> noted{false};

  // The write lock was got from a replica's daemon: what is committed goes to the primary first.
  std::atomic<bool> forwards{false};

  // Held during an exchange with the daemon, never during a real call.
  FutexLock lock;
  // All below: guarded by lock.  What is written and not committed: not told to this session, told
  // to it (and kept, to be told again if it dies), and whether some of the latter was not kept.
  RangeList pending;
  RangeList sent;
  bool sent_overflowed = false;
  bool unknown = false;     // some ranges are lost: all pages must be compared
  bool synced = false;      // the app syncs this database
  bool hands_over = false;  // the commit under way is told by the ring, once it is done
  // While forwards, in WAL mode: the commit frame's header that is kept back until its page is
  // written and the primary has accepted the transaction; and whether it has.
  bool frame_held = false;
  bool frame_accepted = false;
  // The app did not sync the log at its last commit: it is held not to at the next.
  std::atomic<bool> log_unsynced{false};
  std::atomic<bool> log_sync_seen{false};
  uint64_t frame_offset = 0;
  char frame_header[sqlite::kWalFrameHeaderBytes] = {};
  Session session;

  std::string_view DirectoryText() const { return {directory, directory_bytes}; }
  std::string_view NameText() const { return {name, name_bytes}; }

  Locks CurrentLocks() const { return locks.load(std::memory_order_acquire); }
  template <typename Change>
  void ChangeLocks(Change change) {
    Locks before = CurrentLocks();
    Locks after;
    do {
      after = before;
      change(&after);
    } while (!locks.compare_exchange_weak(before, after, std::memory_order_acq_rel));
  }
};

class DatabaseTable {
 public:
  // The database with this inode and one more reference to it, or -1.
  int Acquire(uint64_t device, uint64_t inode);
  // As Acquire, entering it if need be; -1 if the table is full or a text too long.  *entered tells
  // whether it is new.
  int AcquireOrEnter(uint64_t device, uint64_t inode, std::string_view directory,
                     std::string_view name, bool* entered);
  // The same without a reference, for calls that name a file.
  Database* Find(uint64_t device, uint64_t inode);

  void AddReference(uint32_t index) { entries_[index].refs.fetch_add(1); }
  // Drops a reference; with the last one the session ends and the entry becomes free.
  void Release(uint32_t index);

  Database& operator[](uint32_t index) { return entries_[index]; }
  // Entries at and past this were never used.
  uint32_t end() const { return end_.load(std::memory_order_acquire); }
  bool unused() const { return end() == 0; }

  // Around fork: the table is consistent in the child, which forgets all sessions and transactions.
  void BeforeFork() { lock_.Lock(); }
  void AfterForkInParent() { lock_.Unlock(); }
  void AfterForkInChild();

 private:
  int FindLocked(uint64_t device, uint64_t inode) const;

  FutexLock lock_;  // entering and releasing
  std::atomic<uint32_t> end_{0};
  Database entries_[kMaxDatabases];
};

// The process's table.
extern DatabaseTable databases;

}  // namespace litefs::preload
