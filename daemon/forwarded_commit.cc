#include "daemon/forwarded_commit.h"

#include "common/clock.h"
#include "ipc/protocol.h"

namespace litefs {
namespace {

using std::chrono::milliseconds;

// Of a primary that needs no lease.
constexpr milliseconds kForGood = std::chrono::hours(24);

}  // namespace

ForwardedCommit::ForwardedCommit(NodeSync* sync, session::StatusFile* status,
                                 const db::Database* database, ltx::TxId txid,
                                 const std::string& node_id)
    : sync_(sync),
      status_(status),
      commit_{
          .database = database, .txid = txid, .node_id = node_id, .since = SystemClock().Boot()} {}

ForwardedCommit::~ForwardedCommit() { sync_->Forget(&commit_); }

std::optional<milliseconds> ForwardedCommit::LeaseLeft() const {
  const uint64_t deadline = status_->status().lease_deadline_ns.load();
  if (deadline == ipc::kNoDeadline) return kForGood;
  const std::chrono::nanoseconds end(static_cast<int64_t>(deadline));
  const auto left = std::chrono::floor<milliseconds>(end - SystemClock().Boot());
  if (left <= milliseconds(0)) return std::nullopt;
  return left;
}

// Another node can reign only after this one's lease.  What was stored before it by a node that
// lives is known to the election, and what is only then stored may be on a branch.
std::optional<milliseconds> ForwardedCommit::Look() {
  reigns_ = LeaseLeft().has_value();
  if (!reigns_) return std::nullopt;
  const NodeSync::Verdict verdict = sync_->AtForwarded(&commit_, SystemClock().Boot());
  const std::optional<milliseconds> left = LeaseLeft();
  if (!left || verdict == NodeSync::Verdict::kWait) return std::nullopt;
  return verdict == NodeSync::Verdict::kIfDurable ? *left : milliseconds(0);
}

}  // namespace litefs
