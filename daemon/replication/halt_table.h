// HaltTable: who holds, and who waits for, the halt lock of each database (docs/FORWARDING.md).  A
// lock is one node's, in one session; it ends when it is given back, when its session ends, when it
// has not been kept alive for a while, and when it has been held too long without a transaction.
//
//   Ask ──► waiting ──Grant──► held ──End, EndSession, Expire──► (free)
//
// Pure: no I/O, no clock.  Not thread-safe.

#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace litefs::replication {

class HaltTable {
 public:
  using Time = std::chrono::nanoseconds;  // Clock::Boot
  struct Options {
    Time ttl{};       // a lock that is not kept alive ends after this
    Time max_hold{};  // and any lock, after this without a transaction
    // After a lock has ended that a local app waits for, nobody gets it for so long.
    Time local_turn{};
    size_t max_waiting = 256;  // for one database
  };
  struct Asker {
    std::string session;
    uint64_t request = 0;
    Time until{};  // waits no longer

    friend bool operator==(const Asker&, const Asker&) = default;
  };
  struct Lock {
    uint64_t id = 0;
    std::string session;
    Time expires{};
    Time hold_ends{};
    bool recalled = false;
  };

  explicit HaltTable(const Options& options) : options_(options) {}

  // False: too many wait.
  bool Ask(const std::string& database, Asker asker);
  // Whose turn it is for a free lock; null: nobody's, or not yet.
  const Asker* Next(const std::string& database, Time now) const;
  // Gives it the lock.  REQUIRES: Next(database, now) is not null.
  const Lock& Grant(const std::string& database, Time now);
  // Takes the one whose turn it is out of the queue.  REQUIRES: likewise.
  Asker Dismiss(const std::string& database);
  // An asker does not wait any more.
  void Cancel(const std::string& session, uint64_t request);

  // The lock if it is this session's; null: it is not, or has ended.
  Lock* Find(const std::string& database, uint64_t id, const std::string& session);
  // The database of a lock; "": it has ended.
  std::string DatabaseOf(uint64_t id) const;
  // The lock of a database; null: nobody holds it.
  Lock* Held(const std::string& database);
  // Its holder is alive.
  void Keep(Lock* lock, Time now);
  // It has made a transaction.
  void Used(Lock* lock, Time now);
  // It has ended.  wanted: by a local app.
  void End(const std::string& database, Time now, bool wanted);
  // All that a session waits for is forgotten; the databases whose lock it holds are returned.
  std::vector<std::string> EndSession(const std::string& session);

  std::vector<std::string> Databases() const;
  // Askers that have waited long enough are taken out.
  std::vector<Asker> Tired(Time now);
  // Databases whose lock has run out.
  std::vector<std::string> Expired(Time now) const;
  bool HasWaiting(const std::string& database) const;
  size_t held() const;
  // When Tired, Expired or Next have something new.
  Time NextDeadline() const;

 private:
  struct Database {
    std::optional<Lock> lock;
    std::deque<Asker> waiting;
    Time not_before{};
  };
  void Forget(const std::string& database);

  const Options options_;
  uint64_t last_id_ = 0;
  std::map<std::string, Database> databases_;  // those with a lock or askers, or a local turn
};

}  // namespace litefs::replication
