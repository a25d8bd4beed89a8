// What the halt locks of replicas need of a primary's databases (docs/FORWARDING.md).  Replication
// knows no SQLite lock; the node implements this.  Called from one thread, HaltServer's.

#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/unique_fd.h"
#include "ltx/types.h"

namespace litefs::replication {

// When the replica that has made a transaction, which is in the chain now, may be told so.
class Confirmation {
 public:
  virtual ~Confirmation() = default;
  // None: not yet, look again.  Else as Forwarded::durable_within_ms.
  virtual std::optional<std::chrono::milliseconds> Look() = 0;
  // After that: it waits for other replicas only, on a node that reigns.
  virtual bool WaitsForReplicas() const = 0;
};

class ForwardTarget {
 public:
  virtual ~ForwardTarget() = default;

  // Keeps local apps from writing.  Returns where the database stands; a database that is not there
  // is at transaction 0.  kUnavailable: a local app writes, try again soon.  Others: not to be had.
  virtual absl::StatusOr<ltx::Position> Halt(const std::string& database) = 0;
  virtual void EndHalt(const std::string& database) = 0;
  // Whether a local app waits for its end.
  virtual bool IsWanted(const std::string& database) = 0;

  // Makes a halted database's next transaction of the LTX file behind fd, and returns where that
  // ends.  kDeadlineExceeded: nobody can say yet whether it is made and lasts; HasReached can,
  // later.  Any other error: it is not made.  sync: durable on return.
  virtual absl::StatusOr<ltx::Position> Accept(const std::string& database, UniqueFd fd,
                                               bool sync) = 0;
  // Whether the chain has a transaction that ends there.  An error: that cannot be said yet.
  virtual absl::StatusOr<bool> HasReached(const std::string& database,
                                          const ltx::Position& end) = 0;

  // Of a transaction that is in the chain and ends there, which this node of the cluster has made.
  virtual std::unique_ptr<Confirmation> Confirm(const std::string& database,
                                                const ltx::Position& end,
                                                const std::string& node_id) = 0;

  // An unlinked temporary file, for a transaction that arrives.
  virtual absl::StatusOr<UniqueFd> SpoolFile() = 0;
};

}  // namespace litefs::replication
