// NodeHalts: what a primary's halt locks do to its databases (docs/FORWARDING.md).

#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <utility>

#include "daemon/node_sync.h"
#include "daemon/replication/forward_target.h"
#include "daemon/session/status_file.h"
#include "daemon/store/store.h"

namespace litefs {

class NodeHalts final : public replication::ForwardTarget {
 public:
  // All must outlive this.
  NodeHalts(store::Store* store, session::StatusFile* status, NodeSync* sync,
            std::string temporary_directory)
      : store_(store), status_(status), sync_(sync), temporary_(std::move(temporary_directory)) {}

  absl::StatusOr<ltx::Position> Halt(const std::string& database) override;
  void EndHalt(const std::string& database) override;
  bool IsWanted(const std::string& database) override;
  absl::StatusOr<ltx::Position> Accept(const std::string& database, UniqueFd fd,
                                       bool sync) override;
  absl::StatusOr<bool> HasReached(const std::string& database, const ltx::Position& end) override;
  std::unique_ptr<replication::Confirmation> Confirm(const std::string& database,
                                                     const ltx::Position& end,
                                                     const std::string& node_id) override;
  absl::StatusOr<UniqueFd> SpoolFile() override;

 private:
  bool PastLease() const;

  store::Store* const store_;
  session::StatusFile* const status_;
  NodeSync* const sync_;
  const std::string temporary_;
};

}  // namespace litefs
