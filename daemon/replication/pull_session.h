// PullSession: what a PullServer keeps of one replica: its credit, its streams and whose turn it
// is. Book-keeping only: it neither sends nor reads files.  For the server's thread.

#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "daemon/replication/chain.h"
#include "daemon/replication/counted_frame.h"
#include "daemon/replication/message.h"
#include "daemon/replication/snapshot_worker.h"

namespace litefs::replication {

inline constexpr size_t kMaxStreamsPerPeer = 4096;
inline constexpr size_t kMaxOpenFiles = 8;  // per peer

// The page checksums of a replica, as they are gathered; they count as long as anybody has them.
class HeldSums final : public PageSums {
 public:
  enum class Part {
    kMore,  // all that was asked for may not be there yet
    kAsk,   // ask for the next part, from pages.size() + 1 on
    kComplete,
    kNothing,    // the replica has nothing to build on, or more than fits
    kMalformed,  // out of order
  };

  // held: the pages of all together.
  explicit HeldSums(std::shared_ptr<std::atomic<uint64_t>> held) : held_(std::move(held)) {}
  ~HeldSums() { *held_ -= size_pages_; }
  HeldSums(const HeldSums&) = delete;
  HeldSums& operator=(const HeldSums&) = delete;

  // The request for the next part.
  SumsRequest NextRequest(uint64_t stream, const std::string& database);
  Part Take(const Sums& sums);

 private:
  bool Reserve(uint64_t pages_to_come);

  const std::shared_ptr<std::atomic<uint64_t>> held_;
  uint64_t size_pages_ = 0;
  uint64_t asked_ = 0;  // the last page asked for
};

// One database's pull.
struct PullStream {
  enum class State { kIdle, kReady, kSums, kSnapshot, kSending };
  uint64_t id = 0;
  std::string database;
  State state = State::kIdle;
  ltx::Position position;     // of the replica, once what was sent has arrived
  bool owes_current = false;  // it asked, and has not been told that it has caught up
  Pull partial;               // what it has of an interrupted transfer
  SharedFile file;            // being sent
  bool is_snapshot = false;
  uint64_t offset = 0;
  int snapshots_in_a_row = 0;
  std::shared_ptr<HeldSums> sums;  // what the replica has, until the difference is made
  bool sums_tried = false;         // since it was last in the chain
};

class PullSession {
 public:
  PullSession(std::string key, const Hello& hello, std::chrono::nanoseconds now);

  // Whether any message can be sent.
  bool HasCredit() const;
  void Grant(const Credit& credit);
  void Charge(size_t header_bytes, size_t payload_bytes);

  // nullptr: none.
  PullStream* Find(uint64_t id);
  PullStream* FindDatabase(const std::string& database);
  // One that can be closed without harm.
  PullStream* FindIdle();
  bool full() const { return streams_.size() >= kMaxStreamsPerPeer; }
  std::map<uint64_t, PullStream>& streams() { return streams_; }

  // REQUIRES: neither the stream nor one of its database is there.
  void Open(const Pull& pull);
  void Close(uint64_t id);
  void SetReady(PullStream& stream);
  void SetSending(PullStream& stream);

  // Streams by turns.  deques of ids, also of streams that are gone.
  std::deque<uint64_t> ready;
  std::deque<uint64_t> sending;  // at most kMaxOpenFiles

  const std::string key;  // routing id
  const std::string node_id;
  bool push = false;
  bool gone = false;
  QueuedBytes queued_bytes;                   // in the socket
  std::optional<PositionsRequest> positions;  // owed
  std::optional<Pong> pong;                   // owed
  std::chrono::nanoseconds seen{};
  std::chrono::nanoseconds blocked_until{};

 private:
  uint64_t granted_bytes_ = 0;
  uint64_t spent_bytes_ = 0;
  std::map<uint64_t, PullStream> streams_;
  std::map<std::string, uint64_t> by_database_;
};

}  // namespace litefs::replication
