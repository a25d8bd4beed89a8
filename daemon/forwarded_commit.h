// ForwardedCommit: when the primary tells a replica that the transaction which an app made there is
// committed: at once, or with synchronous commit when enough replicas have stored it
// (docs/FORWARDING.md); never past the lease.

#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "daemon/db/database.h"
#include "daemon/node_sync.h"
#include "daemon/replication/forward_target.h"
#include "daemon/session/status_file.h"
#include "ltx/types.h"

namespace litefs {

class ForwardedCommit final : public replication::Confirmation {
 public:
  // All must outlive this.  node_id: whose app has made it.
  ForwardedCommit(NodeSync* sync, session::StatusFile* status, const db::Database* database,
                  ltx::TxId txid, const std::string& node_id);
  ~ForwardedCommit() override;
  ForwardedCommit(const ForwardedCommit&) = delete;
  ForwardedCommit& operator=(const ForwardedCommit&) = delete;

  std::optional<std::chrono::milliseconds> Look() override;
  bool WaitsForReplicas() const override { return reigns_; }

 private:
  // Until when this node may say anything; none: no more.
  std::optional<std::chrono::milliseconds> LeaseLeft() const;

  NodeSync* const sync_;
  session::StatusFile* const status_;
  NodeSync::Forwarded commit_;
  bool reigns_ = false;
};

}  // namespace litefs
