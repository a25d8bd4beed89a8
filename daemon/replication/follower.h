// Follower: what a replica knows of each database, and what it must ask for.  Fed with the
// primary's messages, by whatever way and in whatever order they come; hands complete files to the
// sink and says which messages to send.  Knows no sockets.
//
// A database:
//   unknown ──(Positions, Beacon or Transaction names it)──► behind ──► pull queued ──► pulling
//      ▲                                                       ▲                          │
//      │ connection lost                     gap, or primary   │                  Current │
//      └───────────────────────────────────  ahead of us  ─────┴──── streaming ◄──────────┘
//
// Correct without a single Transaction message: those only save the round trip of a pull.
// Not thread-safe: the replica's receiving thread.

#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "daemon/replication/chain.h"
#include "daemon/replication/follower_status.h"
#include "daemon/replication/message.h"
#include "daemon/replication/tip_table.h"
#include "daemon/replication/transfer.h"

namespace litefs::replication {

class Follower {
 public:
  using Time = std::chrono::nanoseconds;  // Clock::Boot

  // Pulls that are open at once: more would not be faster, and each may have a spool file.
  static constexpr size_t kMaxPulls = 8;
  // Files that are incomplete at once, pushed ones and those of earlier sessions included.
  static constexpr size_t kMaxTransfers = 4 * kMaxPulls;
  // Published files that came while their database was being pulled, kept for the end of that.
  static constexpr size_t kMaxHeldBytes = 8 << 20;

  // Both must outlive the follower.
  Follower(ChainSink* sink, FollowerStatus* status) : sink_(sink), status_(status) {}

  // A session with a primary begins: everything but the partial transfers starts anew.
  void SessionStarted();
  // The sink may have stored, or lost, something by another way.
  void LookAtSink(Time now);
  // Whether the primary sends new files by the pull socket too (Mode::push).
  void set_push(bool push) { push_ = push; }

  // ---- The primary's messages ----
  void On(const Positions& positions, Time now);
  void On(const Beacon& beacon, Time now);
  void On(const Transaction& transaction, std::span<const std::byte> payload, Time now);
  void On(const Chunk& chunk, std::span<const std::byte> payload, Time now);
  void On(const Current& current, Time now);
  void On(const Refused& refused, Time now);  // of a stream
  void On(const SumsRequest& request, Time now);

  // ---- What to send; each is given once ----
  std::optional<PositionsRequest> NextPositionsRequest(Time now);
  std::optional<Pull> NextPull(Time now);
  std::optional<Ack> NextAck();
  std::optional<Sums> NextSums();
  // When one of them will have something to give, if nothing comes before; max(): never.
  Time NextDeadline() const;

 private:
  struct Database {
    ltx::Position stored;
    uint64_t stream = 0;     // open on the primary; 0: none
    bool pulling = false;    // stream has not said Current
    bool queued = false;     // in wanted_
    bool suspected = false;  // a beacon has shown us behind a stream that should push
    int failures = 0;        // in a row
    Time not_before{};       // no pull earlier
    std::optional<Transfer> transfer;
    std::optional<PageSums> sums;  // while the stream's primary asks for them
  };
  // Page checksums that the primary has asked for and not yet been told.
  struct SumsAnswer {
    std::string database;
    uint64_t stream = 0;
    uint64_t next_page = 1;
    uint64_t end_page = 1;  // past the last one asked for
  };
  struct Held {
    Transaction transaction;
    std::vector<std::byte> payload;
  };

  Database& DatabaseOf(const std::string& name) { return databases_[name]; }
  bool IsBehind(const std::string& name, const Database& database) const;
  void Learn(const ChainTip& tip, uint64_t sequence, Time now);
  void CheckComplete();
  void DropMissing(uint64_t sequence);
  void Want(const std::string& name, Time now);
  void Compare(const std::string& name, Time now);
  void CloseStream(Database& database);
  void WantPositions(Time now);

  void Deliver(const std::string& name, const absl::StatusOr<ltx::Position>& result, Time now);
  void Fail(const std::string& name, Time now, const std::string& why);
  void Hold(const Transaction& transaction, std::span<const std::byte> payload);
  void ApplyHeld(const std::string& name, Time now);

  ChainSink* const sink_;
  FollowerStatus* const status_;
  bool push_ = true;

  TipTable tips_;  // the primary's
  std::map<std::string, Database> databases_;
  std::map<uint64_t, std::string> streams_;  // open streams' databases
  std::deque<std::string> wanted_;           // databases to pull
  std::set<std::string> transferring_;       // databases with a transfer
  size_t pulls_ = 0;                         // databases that are pulling
  uint64_t last_stream_ = 0;                 // never reused, so late chunks are recognised
  std::set<std::string> unacknowledged_;
  std::deque<SumsAnswer> sums_answers_;
  std::deque<Held> held_;
  size_t held_bytes_ = 0;

  // The listing of the primary's databases, in pages.
  bool positions_wanted_ = false;
  bool positions_asked_ = false;  // an answer is awaited
  // The last whole listing named all that the primary has; so did the last beacon.
  bool listed_all_ = false;
  Time positions_not_before_{};
  uint64_t positions_request_ = 0;
  uint64_t positions_sequence_ = 0;  // of the first page
  std::string positions_after_;
  std::set<std::string> positions_seen_;
};

}  // namespace litefs::replication
