// The messages between a primary and its replicas, and their limits: docs/REPLICATION.md.
// A message is one msgpack header frame (a flat array) and, for Chunk and Transaction, one payload
// frame.  This file is the header's codec: pure, any thread.

#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/replication/chain.h"
#include "ltx/types.h"

namespace litefs::replication {

// Bump when the meaning or the layout of any message but Refused changes.
inline constexpr uint64_t kWireVersion = 7;

// ---- Limits
// --------------------------------------------------------------------------------------
inline constexpr size_t kMaxClusterIdBytes = 128;
inline constexpr size_t kMaxNodeIdBytes = 128;
inline constexpr size_t kMaxProxyBytes = 512;
inline constexpr size_t kMaxPathNodes = 16;
inline constexpr size_t kMaxPathBytes = kMaxPathNodes * (kMaxNodeIdBytes + 1);
inline constexpr size_t kMaxDatabaseNameBytes = 512;
inline constexpr size_t kMaxRefusalTextBytes = 512;
inline constexpr size_t kMaxListedDatabases = 128;  // in one Positions or Beacon
inline constexpr size_t kSumsInMessage = 256;       // page checksums in one Sums
inline constexpr uint64_t kMaxSumsAsked = 1 << 16;  // by one SumsRequest
// Page checksums that a primary holds at once, over all its replicas: 8 bytes each.  What does not
// fit gets snapshots.
inline constexpr uint64_t kMaxSumsHeld = 4 << 20;
inline constexpr size_t kMaxHeaderBytes = 96 << 10;
inline constexpr size_t kMaxRequestBytes = 4 << 10;  // header of a message from a replica
inline constexpr size_t kChunkBytes = 256 << 10;
inline constexpr size_t kForwardChunkBytes = 64 << 10;  // payload of a Forward
inline constexpr size_t kForwardWindow = 8;             // Forwards on the way before a Forwarded
inline constexpr uint64_t kMaxForwardBytes = uint64_t{4} << 30;  // of one transaction
inline constexpr size_t kMaxInlineBytes = 1 << 20;  // a larger file is announced, not published
inline constexpr uint64_t kMaxFileBytes = uint64_t{1} << 44;
inline constexpr size_t kTopicBytes = 20;

// Credit: what a replica allows the primary to have on the way to it.
inline constexpr uint64_t kWindowBytes = 4 << 20;
inline constexpr uint64_t kMaxWindowBytes = 8 << 20;  // more is not given, whatever is granted
inline constexpr size_t kMessageOverheadBytes = 1 << 10;

static_assert(kMaxListedDatabases * (kMaxDatabaseNameBytes + 64) + 1024 <= kMaxHeaderBytes);
static_assert(kMaxClusterIdBytes + kSumsInMessage * 8 + 256 <= kMaxRequestBytes);
static_assert(kMaxClusterIdBytes + kMaxNodeIdBytes + 2 * kMaxDatabaseNameBytes + 256 <=
              kMaxRequestBytes);

// What a message from the primary takes out of the credit.
inline constexpr uint64_t CreditCost(size_t header_bytes, size_t payload_bytes) {
  return header_bytes + payload_bytes + kMessageOverheadBytes;
}

// ---- Messages
// ------------------------------------------------------------------------------------ Fields 2 to
// 4 of every header, after the wire version and the type.
struct Envelope {
  std::string cluster_id;  // empty only in a replica's first Hello
  uint64_t epoch = 0;      // the highest the sender knows
  uint64_t instance = 0;   // one run of a server; 0 in Hello

  friend bool operator==(const Envelope&, const Envelope&) = default;
};

// Replica: opens a session.
struct Hello {
  std::string node_id;
  uint64_t credit_bytes = 0;
  bool push = true;  // send new files and beacons by this socket, not only by PUB
  friend bool operator==(const Hello&, const Hello&) = default;
};

// Primary: the session is open.
struct Welcome {
  std::string node_id;
  bool publishes = false;  // there is a PUB socket
  // The node ids by which the primary's files come here, separated by spaces: the primary's first,
  // the sender's last.  A node that finds itself in it would follow itself.
  std::string path;
  bool durable = false;  // an Ack says that what it names is on the disk
  std::string proxy{};   // URL of the primary's HTTP proxy; empty: it has none
  friend bool operator==(const Welcome&, const Welcome&) = default;
};

// On the wire: never change.
enum class RefusalCode : uint64_t {
  kWrongVersion = 1,
  kWrongCluster = 2,
  kStaleEpoch = 3,
  kMalformed = 4,
  kNoSession = 5,        // say Hello first
  kUnknownDatabase = 6,  // ends the stream
  kUnavailable = 7,      // ends the stream; pull again later
  kTooMany = 8,          // peers, or streams (then it ends the stream)
  kNotReady = 9,         // a replica that has not reached a primary itself
};

// Primary: no.  Its layout is the same in all wire versions.
struct Refused {
  RefusalCode code = RefusalCode::kMalformed;
  uint64_t stream = 0;  // 0: the session as a whole
  std::string text;
  friend bool operator==(const Refused&, const Refused&) = default;
};

// Replica: asks for the databases whose names sort after `after`.
struct PositionsRequest {
  uint64_t request = 0;
  std::string after;
  friend bool operator==(const PositionsRequest&, const PositionsRequest&) = default;
};

// Primary: one page of its databases, in order of name.
struct Positions {
  uint64_t request = 0;
  uint64_t sequence = 0;
  bool last = false;
  bool complete = true;  // what no page lists is gone
  std::vector<ChainTip> databases;
  friend bool operator==(const Positions&, const Positions&) = default;
};

// Which LTX file a transfer carries; two transfers of one identity carry the same bytes.
struct FileIdentity {
  ltx::TxId min_txid = 0;
  ltx::TxId max_txid = 0;
  ltx::Checksum pre_apply = 0;
  ltx::Checksum post_apply = 0;
  uint64_t size_bytes = 0;
  friend bool operator==(const FileIdentity&, const FileIdentity&) = default;
};

// Replica: from this position on.  Replaces the database's earlier stream.
struct Pull {
  uint64_t stream = 0;  // not 0, never used before in the session
  std::string database;
  ltx::Position from;
  FileIdentity partial;         // an interrupted transfer; all 0: none
  uint64_t partial_offset = 0;  // its bytes that are here
  friend bool operator==(const Pull&, const Pull&) = default;
};

// Primary: a piece of a file.  Payload: 1 to kChunkBytes bytes.
struct Chunk {
  uint64_t stream = 0;
  std::string database;
  bool snapshot = false;
  FileIdentity file;
  uint64_t offset = 0;
  uint64_t digest = 0;        // XXH3-64 of the payload
  uint64_t committed_ms = 0;  // as ChainTip's
  uint64_t end_bytes = 0;
  friend bool operator==(const Chunk&, const Chunk&) = default;
};

// Primary: the stream has reached the tip, and stays open.
struct Current {
  uint64_t stream = 0;
  std::string database;
  ltx::Position position;
  friend bool operator==(const Current&, const Current&) = default;
};

// Replica: the primary may have sent this much since Hello, counted by CreditCost.
struct Credit {
  uint64_t granted_bytes = 0;
  friend bool operator==(const Credit&, const Credit&) = default;
};

// Replica: this position is stored.
struct Ack {
  std::string database;
  ltx::Position position;
  friend bool operator==(const Ack&, const Ack&) = default;
};

// Replica: after a beacon, and first of all.
struct Ping {
  uint64_t sent_us = 0;  // by the sender's own clock
  friend bool operator==(const Ping&, const Ping&) = default;
};

// Replica: as Hello::push.
struct Mode {
  bool push = true;
  friend bool operator==(const Mode&, const Mode&) = default;
};

// Primary, PUB: a new file.  Payload: the file, or nothing if it is only announced.
struct Transaction {
  uint64_t sequence = 0;
  std::string database;
  FileIdentity file;
  bool has_payload = false;
  uint64_t digest = 0;        // XXH3-64 of the payload
  uint64_t committed_ms = 0;  // as ChainTip's
  uint64_t end_bytes = 0;
  friend bool operator==(const Transaction&, const Transaction&) = default;
};

// Primary: still here.  changed may be incomplete; state_digest tells.
struct Beacon {
  uint64_t sequence = 0;
  uint64_t database_count = 0;
  uint64_t state_digest = 0;  // XOR of StateDigest over all databases
  // All that the primary had committed at this time (its wall clock) is in the sender's tables; 0:
  // not known.
  uint64_t as_of_ms = 0;
  bool complete = true;  // as Positions'
  // committed_ms: of the first transaction since the last beacon that named the database.
  std::vector<ChainTip> changed;
  friend bool operator==(const Beacon&, const Beacon&) = default;
};

// Primary: the stream's position is not in the chain; which pages does the replica have?
struct SumsRequest {
  uint64_t stream = 0;
  std::string database;
  uint64_t first_page = 1;  // and so many from it on, as far as there are
  uint64_t pages = 0;       // 1 to kMaxSumsAsked
  friend bool operator==(const SumsRequest&, const SumsRequest&) = default;
};

// Replica: some of them, in order.
struct Sums {
  uint64_t stream = 0;
  uint64_t page_bytes = 0;
  uint64_t size_pages = 0;  // of its database; 0: it has nothing to build on
  uint64_t first_page = 1;
  std::vector<ltx::Checksum> sums;  // at most kSumsInMessage; on the wire 8 bytes each, big-endian
  friend bool operator==(const Sums&, const Sums&) = default;
};

// Primary: answers a Ping.  Times of the primary's wall clock, as well as the sender knows it.
struct Pong {
  uint64_t sent_us = 0;      // the Ping's
  uint64_t received_us = 0;  // when the Ping came; 0: the sender does not know the time
  uint64_t answered_us = 0;  // when this was sent
  friend bool operator==(const Pong&, const Pong&) = default;
};

// Primary, on a connection that it made: asks the replica to say Hello.
struct Call {
  std::string node_id;
  friend bool operator==(const Call&, const Call&) = default;
};

// ---- Writes on a replica: docs/FORWARDING.md
// Replica: asks for a database's halt lock.
struct Halt {
  uint64_t request = 0;  // not 0, never used before in the session
  std::string database{};
  uint64_t wait_ms = 0;  // for how long it may be waited for
  friend bool operator==(const Halt&, const Halt&) = default;
};

// Primary: the lock is the replica's, until it has not been heard of for ttl_ms; or it is not.
struct Halted {
  uint64_t request = 0;
  uint64_t lock = 0;     // 0: refused, for the reason in text
  ltx::Position from{};  // where the database stands
  uint64_t ttl_ms = 0;
  std::string text{};
  friend bool operator==(const Halted&, const Halted&) = default;
};

// Replica: its lock is in use.
struct KeepHalt {
  uint64_t kept = 0;
  friend bool operator==(const KeepHalt&, const KeepHalt&) = default;
};

// Replica: does not need the lock any more, or not what it has asked for.
struct EndHalt {
  uint64_t lock = 0;     // or 0:
  uint64_t request = 0;  // a Halt that is not answered
  friend bool operator==(const EndHalt&, const EndHalt&) = default;
};

// Primary: others wait for the lock; or (over) it has ended.
struct RecallHalt {
  uint64_t lock = 0;
  bool over = false;
  std::string why{};
  friend bool operator==(const RecallHalt&, const RecallHalt&) = default;
};

// Replica: a piece of a transaction made under the lock.  Payload: 1 to kForwardChunkBytes bytes.
struct Forward {
  uint64_t request = 0;  // the same for all pieces
  uint64_t lock = 0;
  std::string database{};
  FileIdentity file{};
  bool sync = false;  // the app asks for durability
  uint64_t offset = 0;
  uint64_t digest = 0;  // XXH3-64 of the payload
  friend bool operator==(const Forward&, const Forward&) = default;
};

// On the wire: never change.
enum class Outcome : uint64_t {
  kMore = 1,      // what has come is stored: send on
  kAccepted = 2,  // the transaction is part of the chain
  kRefused = 3,   // it is not, and will not be
  kWaits = 4,     // it is, and waits for other replicas (synchronous commit); asked for no more
};

// Primary: what became of a Forward, or of what an AskOutcome names.
struct Forwarded {
  uint64_t request = 0;
  Outcome outcome = Outcome::kRefused;
  uint64_t received_bytes = 0;
  std::string text{};
  // kAccepted: it counts as stored by the replica that made it, if it is durable there so soon
  // after that one asked; else it must ask again when it is.  0: it does not matter.
  uint64_t durable_within_ms = 0;
  friend bool operator==(const Forwarded&, const Forwarded&) = default;
};

// Replica, in a later session: was the transaction that ends there accepted?  What comes later of
// earlier sessions of this node is refused from now on.
struct AskOutcome {
  uint64_t request = 0;
  std::string database{};
  ltx::Position end{};
  friend bool operator==(const AskOutcome&, const AskOutcome&) = default;
};

// The wire's type is the alternative's index plus one: append only.
using Body =
    std::variant<Hello, Welcome, Refused, PositionsRequest, Positions, Pull, Chunk, Current, Credit,
                 Ack, Ping, Mode, Transaction, Beacon, SumsRequest, Sums, Pong, Call, Halt, Halted,
                 KeepHalt, EndHalt, RecallHalt, Forward, Forwarded, AskOutcome>;

struct Message {
  Envelope envelope;
  Body body;
};

// The header frame.  REQUIRES: every field is within its limit (Decode accepts the result).
std::string Encode(const Envelope& envelope, const Body& body);

// Parses a header frame of at most max_bytes.
// kUnimplemented: of another wire version (and not Refused).  kInvalidArgument: malformed; the
// message says how.  Every string and number of the result is within its limit.
absl::StatusOr<Message> Decode(std::string_view header, size_t max_bytes = kMaxHeaderBytes);

// XXH3-64.
uint64_t Digest(std::span<const std::byte> data);
// A database's part of Beacon::state_digest.
uint64_t StateDigest(std::string_view database, const ltx::Position& position);
// The topic frame of a cluster's PUB messages: kTopicBytes bytes, no cluster's being a prefix of
// another's.
std::string Topic(std::string_view cluster_id);

}  // namespace litefs::replication
