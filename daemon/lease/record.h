// What stands in the lease's server, as JSON, and its checks.  What is read there is not trusted:
// sizes are bounded, and what does not parse is kDataLoss.
//
//   owner    {"node_id": 16 hex digits, "endpoint": "tcp://…", "cluster_id": "…", "epoch": 7}
//   candidate  as owner, with "positions" (as the record's) and, if it asks for the lease,
//            "wants": true
//   record   {"epoch": 7, "cluster_id": "…", "positions": {"sum": 90, "databases":
//            {"app.db": "txid/checksum"}}}
//
// No state; any thread.

#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "ltx/types.h"

namespace litefs::lease {

struct Owner {
  std::string node_id;     // 16 hex digits
  std::string endpoint{};  // where it serves replicas; may be empty: nowhere
  std::string cluster_id{};
  uint64_t epoch = 0;
};

// How far the databases of a node have come.  Of many databases only kMaxPositions are listed, and
// the sum of all TXIDs stands for the others.
struct Positions {
  uint64_t sum = 0;
  std::map<std::string, ltx::Position> databases{};

  void Add(const std::string& name, const ltx::Position& position);
  // Empty if whoever is at these positions has all that known names; else what is missing, for a
  // human, of one database or of all: "app.db is at 5, the cluster has reached 7".
  std::string Behind(const Positions& known) const;
  std::vector<std::string> AllBehind(const Positions& known) const;
  // No database is behind floor's any more.
  void RaiseTo(const Positions& floor);
};

// A node that would take over.
struct Candidate {
  Owner node{};          // its epoch: the last reign that it was or followed
  std::string handle{};  // of the lease that it keeps alive for that purpose; opaque, not stored
  Positions positions{};
  bool wants = false;  // asks the owner for the lease
};

struct Record {
  uint64_t epoch = 0;  // of the last reign; 0: there was none
  std::string cluster_id{};
  Positions positions{};
};

inline constexpr size_t kMaxPositions = 2000;
inline constexpr size_t kMaxRecordBytes = 400 << 10;  // Consul takes 512 KiB, etcd 1.5 MiB

std::string FormatOwner(const Owner& owner);
std::string FormatCandidate(const Candidate& candidate);
std::string FormatRecord(const Record& record);
absl::StatusOr<Owner> ParseOwner(const std::string& text);
absl::StatusOr<Candidate> ParseCandidate(const std::string& text);
absl::StatusOr<Record> ParseRecord(const std::string& text);

}  // namespace litefs::lease
