// NodeDirectory: the .litefs/ directory of a database directory: who this node is, and that only
// one daemon runs on it.
//
//   .litefs/lock      held (flock) by the running daemon
//   .litefs/id        {"node_id": "16 hex digits", "cluster_id": "16 hex digits"}
//   .litefs/epoch     the last reign that this node was or followed, in decimal
//   .litefs/role      "primary" or "replica": as what the databases were opened last
//   .litefs/socket    sessions and the command line (ipc/)
//   .litefs/status    the shared status page (ipc/protocol.h)
//   .litefs/dbs/NAME/ ltx/ (the chain), checksums, branches/, set-aside files
//   .litefs/tmp/      unlinked and half-written files
//
// Not thread-safe.

#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/mutex.h"
#include "common/unique_fd.h"

namespace litefs::store {

class NodeDirectory {
 public:
  // Creates what is missing and takes the lock.  kAlreadyExists: another daemon has it.
  // node_id and cluster_id: wanted ones, empty for those on disk or new ones.
  struct Options {
    std::string database_directory;
    std::string node_id;
    std::string cluster_id;
    bool make_cluster_id = false;  // a primary founds a cluster; a replica joins one
  };
  static absl::StatusOr<std::unique_ptr<NodeDirectory>> Open(const Options& options);

  uint64_t node_id() const { return node_id_; }
  std::string cluster_id() const EXCLUDES(mu_);  // "" until a cluster is joined; any thread
  // Notes the cluster that this node has joined, durably.  leave: also if it is of another one.
  absl::Status JoinCluster(const std::string& cluster_id, bool leave = false) EXCLUDES(mu_);

  // 0: none.  Any thread.
  uint64_t epoch() const EXCLUDES(mu_);
  // Notes a later reign, durably; an earlier one is none of its business.
  absl::Status NoteEpoch(uint64_t epoch) EXCLUDES(mu_);

  // Makes a cluster of this node, if it is of none.  Returns its id, noted durably.
  absl::StatusOr<std::string> FoundCluster() EXCLUDES(mu_);

  // Nothing if the directory has not been opened in any role.
  std::optional<bool> was_primary() const { return was_primary_; }
  // Notes the role, durably.  The main thread's, as was_primary.
  absl::Status NoteRole(bool primary);

  std::string control_path() const { return control_; }
  std::string socket_path() const { return control_ + "/socket"; }
  std::string status_path() const { return control_ + "/status"; }
  std::string databases_path() const { return control_ + "/dbs"; }
  std::string temporary_path() const { return control_ + "/tmp"; }
  const std::string& database_directory() const { return directory_; }

 private:
  NodeDirectory(std::string directory, std::string control)
      : directory_(std::move(directory)), control_(std::move(control)) {}
  absl::Status LoadEpoch() EXCLUDES(mu_);
  absl::Status LoadRole();
  absl::Status LoadIdentity(const Options& options) EXCLUDES(mu_);
  std::string IdentityText() const REQUIRES(mu_);
  absl::Status SaveIdentity() REQUIRES(mu_);

  const std::string directory_;
  const std::string control_;
  UniqueFd lock_;
  uint64_t node_id_ = 0;
  std::optional<bool> was_primary_;
  mutable Mutex mu_;  // the replication thread joins a cluster
  std::string cluster_id_ GUARDED_BY(mu_);
  uint64_t epoch_ GUARDED_BY(mu_) = 0;
};

}  // namespace litefs::store
