// NodeHalts: what a primary's halt locks do to its databases (docs/FORWARDING.md).

#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <utility>

#include "daemon/replication/forward_target.h"
#include "daemon/session/status_file.h"
#include "daemon/store/store.h"

namespace litefs {

class NodeHalts final : public replication::ForwardTarget {
 public:
  // With synchronous commit: whether enough replicas have it.  As ForwardTarget::MayAcknowledge.
  using MayAcknowledgeNow =
      std::function<bool(const db::Database& database, const ltx::Position& end,
                         const std::string& node_id, std::chrono::milliseconds waited)>;
  // All must outlive this.  may_acknowledge: null: at once.
  NodeHalts(store::Store* store, session::StatusFile* status, std::string temporary_directory,
            MayAcknowledgeNow may_acknowledge)
      : store_(store),
        status_(status),
        temporary_(std::move(temporary_directory)),
        may_acknowledge_(std::move(may_acknowledge)) {}

  absl::StatusOr<ltx::Position> Halt(const std::string& database) override;
  void EndHalt(const std::string& database) override;
  bool IsWanted(const std::string& database) override;
  absl::StatusOr<ltx::Position> Accept(const std::string& database, UniqueFd fd,
                                       bool sync) override;
  bool MayAcknowledge(const std::string& database, const ltx::Position& end,
                      const std::string& node_id, std::chrono::milliseconds waited) override;
  absl::StatusOr<bool> HasReached(const std::string& database, const ltx::Position& end) override;
  absl::StatusOr<UniqueFd> SpoolFile() override;

 private:
  bool PastLease() const;

  store::Store* const store_;
  session::StatusFile* const status_;
  const std::string temporary_;
  const MayAcknowledgeNow may_acknowledge_;
};

}  // namespace litefs
