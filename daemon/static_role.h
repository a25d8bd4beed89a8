// StaticRole: the change of a configured role (lease.type: static) while the daemon runs, by
// reading the configuration again (docs/CLUSTER.md, "A static role").
//
// A primary becomes a replica at once, if every replica that is connected confirms all that is
// here; else nothing is changed.  A replica becomes the primary when the node that it follows says
// that it is none; until then it goes on as a replica.
//
// All methods belong to the main thread.

#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/config.h"
#include "daemon/node.h"
#include "daemon/session/session_server.h"
#include "daemon/session/status_file.h"
#include "daemon/store/node_directory.h"

namespace litefs {

class StaticRole {
 public:
  // All must outlive this.
  struct Parts {
    Config* config = nullptr;  // the daemon's: what a reload changes is changed in it
    store::NodeDirectory* directory = nullptr;
    session::StatusFile* status = nullptr;
    Node* node = nullptr;
    session::SessionServer* server = nullptr;
    // The role could not be changed half-way: the daemon must end.
    std::function<void(const absl::Status&)> on_fatal;
  };
  explicit StaticRole(Parts parts) : parts_(std::move(parts)) {}
  StaticRole(const StaticRole&) = delete;
  StaticRole& operator=(const StaticRole&) = delete;

  // Takes over lease.primary, replication.primary and its key.  Returns what to tell the operator.
  // kFailedPrecondition: takes a restart; kUnavailable: not now, nothing has changed.
  absl::StatusOr<nlohmann::json> Reload(const Config& next);

  // Becomes the primary at once, whatever the node that is followed may do.  kFailedPrecondition:
  // this node is not told to be the primary.
  absl::Status Force();

  // Why this node is not yet what it is told to be; empty: it is.
  std::string problem() const;

 private:
  absl::StatusOr<nlohmann::json> StepDown(const Config& next);
  void Adopt(const Config& next);
  void AwaitTurn();
  absl::Status TakeOver();

  const Parts parts_;
  bool waits_ = false;        // told to be the primary
  bool taking_over_ = false;  // may be it, and what is stored is not applied yet
};

}  // namespace litefs
