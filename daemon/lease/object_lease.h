// ObjectLease: a Lease in a store of objects with conditional writes and no clock that anybody
// believes (S3).  One object holds owner and record, so that a reign begins by one conditional
// write.  The owner rewrites it to renew; who sees it unchanged for the time to live, by his own
// clock, may take it.  docs/CLUSTER.md, "S3".  Threads as Lease.

#pragma once

#include <map>
#include <memory>
#include <string>

#include "common/clock.h"
#include "common/mutex.h"
#include "daemon/lease/conditional_store.h"
#include "daemon/lease/lease.h"

namespace litefs::lease {

class ObjectLease final : public Lease {
 public:
  // Of the options: key and ttl.  clock must outlive the lease.
  ObjectLease(LeaseOptions options, std::unique_ptr<ConditionalStore> store, const Clock* clock);

  absl::StatusOr<View> Read(milliseconds timeout) override;
  absl::StatusOr<View> Watch(const View& seen, milliseconds timeout) override;
  absl::Status Announce(const Candidate& self, milliseconds timeout) override;
  absl::StatusOr<std::vector<Candidate>> Candidates(milliseconds timeout) override;
  absl::StatusOr<Reign> Acquire(const Owner& self, const View& seen, milliseconds timeout) override;
  absl::StatusOr<BootTime> Renew(milliseconds timeout) override;
  absl::Status Note(const Positions& positions, milliseconds timeout) override;
  absl::Status HandOver(const Candidate& to, const Positions& positions,
                        milliseconds timeout) override;
  absl::Status Release(const std::optional<Positions>& positions, milliseconds timeout) override;
  void Interrupt() override EXCLUDES(mu_);
  void Resume() override EXCLUDES(mu_);

 private:
  // The object with owner and record.
  struct State {
    std::optional<Owner> owner;
    std::string session;  // of the owner's ObjectLease
    milliseconds ttl{};   // the owner's
    Record record;
  };
  // For how long an object has been seen unchanged.
  struct Observation {
    std::string tag;
    BootTime since{};
  };
  // What the store has, and whether its owner has been silent for too long.
  struct Found {
    State state;
    std::string tag;  // empty: there is no object
    bool expired = false;
  };

  absl::StatusOr<Found> Load(milliseconds timeout);
  absl::StatusOr<std::string> Store(const State& state, const std::string& tag,
                                    milliseconds timeout);
  // As the owner: stores what change makes of the state; kNotFound: this node is not the owner (any
  // more).
  template <typename Change>
  absl::Status Rewrite(milliseconds timeout, Change change);
  absl::Status CheckConditions(milliseconds timeout);
  absl::StatusOr<Candidate> LoadCandidate(const std::string& name, milliseconds timeout);
  bool Expired(Observation& observation, const std::string& tag, milliseconds ttl);
  bool IsOurs(const State& state) const;
  absl::StatusOr<Reign> Settle(const std::string& before, const absl::Status& open,
                               milliseconds timeout);
  absl::StatusOr<Reign> TakeUp(const Found& found, milliseconds timeout);
  std::string Beat();
  absl::StatusOr<State> ParseState(const std::string& text) const;
  std::string FormatState(const State& state);
  absl::Status Damaged(const std::string& name, const absl::Status& status) const;
  std::string key(const std::string& part) const { return options_.key + part; }

  const LeaseOptions options_;
  const std::unique_ptr<ConditionalStore> store_;
  const Clock* const clock_;
  const std::string session_;  // random: of this object's life
  uint64_t beats_ = 0;
  bool conditions_checked_ = false;
  Observation seen_;
  std::map<std::string, Observation> seen_candidates_;
  std::string announced_;  // the name of this node's announcement; empty: none
  std::string announcement_;
  BootTime announced_at_{};
  bool reigning_ = false;
  State state_;            // as this node, the owner, has stored it last
  std::string state_tag_;  // empty: to be read, as an outcome is open
  BootTime refreshed_{};   // when the last write that succeeded was sent
  Mutex mu_;
  CondVar changed_;
  bool interrupted_ GUARDED_BY(mu_) = false;
};

}  // namespace litefs::lease
