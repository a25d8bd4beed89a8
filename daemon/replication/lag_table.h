// LagTable: how far a replica is behind, in transactions, bytes and time (docs/REPLICATION.md,
// "Lag").  Fed by the receiving thread with what the primary says; asked from any thread, with the
// position that counts: that of the database file for readers, that of the chain for replicas of
// this replica.
//
// Time is the primary's wall clock, which is known here as an offset to Clock::Boot.  A database's
// lag is the age of the first transaction that is missing; the node's is that of its worst
// database, or the time since the primary was last heard if that is longer than a beacon takes.

#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/mutex.h"
#include "daemon/replication/chain.h"
#include "daemon/replication/clock_offset.h"
#include "daemon/replication/message.h"

namespace litefs::replication {

class LagTable {
 public:
  // Without news for longer than this, silence counts as lag: a beacon is due every second.
  static constexpr std::chrono::milliseconds kSilenceGrace{1500};
  // What is known of each database's missing transactions, at most; then neighbours are joined.
  static constexpr size_t kMaxMarks = 256;

  // clock must outlive the table.
  explicit LagTable(const Clock* clock) : clock_(clock) {}

  // ---- The receiving thread ----
  // A session begins: another sender may count and date otherwise.
  void SessionStarted() EXCLUDES(mu_);
  void Add(const Pong& pong) EXCLUDES(mu_);
  // A tip as Positions and Beacon give it.
  void Learn(const ChainTip& tip) EXCLUDES(mu_);
  // A file of the chain, known before it is here.
  void Learn(const std::string& database, const FileIdentity& file, uint64_t committed_ms,
             uint64_t end_bytes) EXCLUDES(mu_);
  void SetAsOf(uint64_t as_of_ms) EXCLUDES(mu_);
  void SetComplete(bool complete) EXCLUDES(mu_);
  void Forget(const std::string& database) EXCLUDES(mu_);

  // ---- Any thread ----
  struct Lag {
    ltx::Position primary;            // as far as we know
    uint64_t transactions = 0;        // at least 1 on another branch
    std::optional<uint64_t> bytes;    // of LTX files; nullopt: not known
    std::optional<uint64_t> time_ms;  // likewise
  };
  // nullopt: the primary has named no such database.
  std::optional<Lag> Of(const std::string& database, const ltx::Position& here) EXCLUDES(mu_);

  struct NodeLag {
    uint64_t transactions = 0;
    std::optional<uint64_t> bytes;
    std::optional<uint64_t> time_ms;
    std::optional<uint64_t> heard_ms;  // since the time as of which the primary's tips are known
    std::optional<uint64_t> clock_error_ms;
  };
  // Of all databases that the primary has named; one that is not among here is wholly missing.
  NodeLag OfNode(const std::vector<DatabaseState>& here) EXCLUDES(mu_);

  // ---- For those who follow this replica ----
  // The primary's time; nullopt: not known yet.
  std::optional<int64_t> TimeUs() const EXCLUDES(mu_);
  // Everything that the primary had committed by this time is here, if these are the ends of the
  // chains here; 0: not known.
  uint64_t AsOfMs(const std::vector<DatabaseState>& here) EXCLUDES(mu_);
  // Every database of the primary is here.
  bool complete() const EXCLUDES(mu_);

 private:
  // Transactions that follow each other; what is known of them in common.
  struct Mark {
    ltx::TxId min_txid = 0;
    ltx::TxId max_txid = 0;
    uint64_t begin_bytes = 0;
    uint64_t end_bytes = 0;
    uint64_t committed_ms = 0;  // of the first
  };
  struct Database {
    ChainTip tip;
    std::deque<Mark> marks;  // by max_txid
    // Of the last mark that was passed: nothing later was committed earlier.
    uint64_t passed_ms = 0;
    std::optional<uint64_t> passed_bytes;
  };

  std::optional<int64_t> NowMs() const REQUIRES(mu_);
  void Insert(Database& database, const Mark& mark) REQUIRES(mu_);
  static void Pass(Database& database, ltx::TxId txid);
  Lag Measure(Database& database, const ltx::Position& here) REQUIRES(mu_);
  static uint64_t FirstMissingMs(const Database& database, const ltx::Position& here);

  const Clock* const clock_;
  mutable Mutex mu_;
  ClockOffset offset_ GUARDED_BY(mu_);
  uint64_t as_of_ms_ GUARDED_BY(mu_) = 0;
  bool complete_ GUARDED_BY(mu_) = false;
  std::map<std::string, Database> databases_ GUARDED_BY(mu_);
};

}  // namespace litefs::replication
