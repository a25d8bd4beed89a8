// NodeLease: who is primary, decided at run time: the lease's keeper (a thread of its own) on one
// side, the node's role (the main thread) on the other, and the operator's wishes: promote, demote,
// hand off (docs/CLUSTER.md).
//
// All methods belong to the main thread.

#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/status.h"
#include "daemon/config.h"
#include "daemon/lease/keeper.h"
#include "daemon/node.h"
#include "daemon/node_sync.h"
#include "daemon/session/session_server.h"
#include "daemon/session/status_file.h"
#include "daemon/store/node_directory.h"

namespace litefs {

class NodeLease {
 public:
  // All must outlive this.
  struct Parts {
    const Config* config = nullptr;
    store::NodeDirectory* directory = nullptr;
    session::StatusFile* status = nullptr;
    Node* node = nullptr;
    session::SessionServer* server = nullptr;
    NodeSync* sync = nullptr;
    // The role could not be changed half-way: the daemon must end.
    std::function<void(const absl::Status&)> on_fatal;
  };
  explicit NodeLease(Parts parts) : parts_(std::move(parts)) {}
  ~NodeLease() { Stop(); }
  NodeLease(const NodeLease&) = delete;
  NodeLease& operator=(const NodeLease&) = delete;

  // Speaks to the server on another thread: only a bad configuration is an error.
  absl::Status Start();
  // Passes the lease on at once, if a replica has all.
  void Stop();

  // The "lease" of litefs status (docs/IPC.md).
  nlohmann::json StatusJson() const;

  // Called once, on the main thread: the answer to the operator.
  using Done = std::function<void(const absl::Status&, nlohmann::json)>;
  // The lease goes to the node with this id, or whose id begins so; empty: to the candidate that
  // has most.  The new primary has every transaction, or nothing is changed.
  void HandOff(const std::string& node, Done done);
  // This node wants the lease: from its owner, or, if there is none, where that is safe; force:
  // also where it is not.
  void Promote(bool force, Done done);

 private:
  struct Transfer;
  void Reign(uint64_t epoch);
  void TryToReign();
  void Serve(const lease::Owner& owner);
  void StepDown();
  void AwaitPromotion(std::chrono::nanoseconds until, const Done& done);
  void ApproachHandOff(const std::shared_ptr<Transfer>& transfer);
  void CarryOut(const std::shared_ptr<Transfer>& transfer);
  void EndHandOff(const std::shared_ptr<Transfer>& transfer, const absl::Status& status);
  absl::StatusOr<std::string> FindCandidate(const std::string& node) const;
  lease::Standing Standing() const;

  const Parts parts_;
  std::unique_ptr<lease::LeaseKeeper> keeper_;
  uint64_t epoch_ = 0;                // of the reign that begins or is
  std::chrono::nanoseconds until_{};  // to become the primary
  bool stepping_down_ = false;
  std::string upstream_;
  bool transferring_ = false;
};

}  // namespace litefs
