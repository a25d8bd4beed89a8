// Lease: who may write, as a server that all nodes reach has it (docs/CLUSTER.md).
//
// The server keeps two things.  The *owner* is tied to the life of a lease: it goes when it is not
// renewed.  The *record* is durable: the epoch of the last reign, the cluster's id, and the
// position that the cluster is known to have reached.  Every reign begins by one transaction that
// sets both, so epochs grow strictly, and what a candidate has read in the record still holds when
// it wins.
//
// A holder believes no server about how long it may write: its deadline is the time at which it
// *sent* the last successful request + the time to live - a margin, by CLOCK_BOOTTIME.
//
// Calls block, at most for their timeout.  One thread calls; Interrupt is for the others.
//
// Errors: kUnavailable: the server cannot be reached or does not answer, the outcome of a change is
// unknown; kNotFound: this node does not hold the lease (any more); kAlreadyExists: another node
// holds it; kAborted: the record is not what was seen, read again; kCancelled: Interrupt;
// kDataLoss: what is stored under the key is not ours to understand; kPermissionDenied and
// kInvalidArgument: the server refuses, and will go on to.  Messages name the server and the key.

#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/lease/record.h"

namespace litefs::lease {

using std::chrono::milliseconds;
using BootTime = std::chrono::nanoseconds;  // Clock::Boot

// What the server has at one moment.
struct View {
  std::optional<Owner> owner;
  Record record;          // all zero: there has never been an owner
  std::string version{};  // of both, opaque: for Acquire and Watch
};

struct Reign {
  uint64_t epoch = 0;
  BootTime deadline{};  // until then this node may write; BootTime::max(): for ever
};

class Lease {
 public:
  virtual ~Lease() = default;
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;

  virtual absl::StatusOr<View> Read(milliseconds timeout) = 0;

  // Waits until the owner or the reign is not the one that was seen, and reads; at the timeout it
  // returns what there is.  Renewals and new positions do not wake it.
  virtual absl::StatusOr<View> Watch(const View& seen, milliseconds timeout) = 0;

  // Says that this node would take over (litefs handoff), and keeps it said while Renew is called.
  // Repeating it, with other words, is fine.  self.handle is ignored.
  virtual absl::Status Announce(const Candidate& self, milliseconds timeout) = 0;
  virtual absl::StatusOr<std::vector<Candidate>> Candidates(milliseconds timeout) = 0;

  // Begins a reign, if there is no owner and the record is the one that was seen: epoch + 1, and
  // the record's cluster and positions kept, but for an empty cluster, which becomes self's. An
  // owner that was made of this node by a hand-over is this node's reign: it is returned.
  virtual absl::StatusOr<Reign> Acquire(const Owner& self, const View& seen,
                                        milliseconds timeout) = 0;

  // Keeps the lease alive: a holder's reign, a candidate's announcement.  Returns the new deadline,
  // which says until when this node may write only while it is the owner: after Acquire, and not
  // after HandOver or Release.  kNotFound: lost, for certain.
  virtual absl::StatusOr<BootTime> Renew(milliseconds timeout) = 0;

  // Notes the position reached, as the owner.  kNotFound: this node is not (any more), and nothing
  // was changed.
  virtual absl::Status Note(const Positions& positions, milliseconds timeout) = 0;

  // The candidate's reign begins, with epoch + 1, the moment this node's ends; positions are noted.
  // kNotFound: this node is no owner.  kFailedPrecondition: the candidate is gone; this node
  // is still the owner.
  // REQUIRES: this node has stopped writing.  After kUnavailable nobody knows who the owner is:
  // Read.
  virtual absl::Status HandOver(const Candidate& to, const Positions& positions,
                                milliseconds timeout) = 0;

  // Ends the reign, if there is one, at once, with the positions that were reached; and the
  // announcement.
  // REQUIRES: this node has stopped writing.
  virtual absl::Status Release(const std::optional<Positions>& positions, milliseconds timeout) = 0;

  // The call in progress and all later ones return kCancelled soon, until Resume.  Any thread.
  virtual void Interrupt() = 0;
  virtual void Resume() = 0;

 protected:
  Lease() = default;
};

struct LeaseOptions {
  std::vector<std::string> urls;  // http(s)://HOST:PORT of servers of one cluster, tried in turn
  std::string key;                // PREFIX: <key>/primary, <key>/record, <key>/candidates/NODE_ID
  std::string token;              // Consul's ACL token; empty: none
  milliseconds ttl{10'000};
};

// For how long a node may write after it sent a successful request: time to live - margin.  The
// margin is for clocks that run at different speed and for a commit that is on its way.
milliseconds SafeTime(milliseconds ttl);

}  // namespace litefs::lease
