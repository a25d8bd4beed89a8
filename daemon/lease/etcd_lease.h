// EtcdLease: a Lease in etcd v3, by its JSON gateway.  The owner's key hangs on an etcd lease; the
// record's does not.  docs/CLUSTER.md, "etcd".  Threads as Lease.

#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "common/clock.h"
#include "daemon/lease/http_client.h"
#include "daemon/lease/lease.h"

namespace litefs::lease {

class EtcdLease final : public Lease {
 public:
  // clock must outlive the lease.
  EtcdLease(LeaseOptions options, const Clock* clock);

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
  void Interrupt() override { http_.Interrupt(); }
  void Resume() override { http_.Resume(); }

 private:
  using Json = nlohmann::json;
  absl::StatusOr<Json> Post(const std::string& path, const Json& body, milliseconds timeout);
  absl::StatusOr<View> Understand(const Json& answer, std::string* owner_lease);
  absl::Status Grant(milliseconds timeout);
  absl::StatusOr<std::string> OwnersLease(milliseconds timeout);
  void Forget();
  Json IsMine() const;
  Json PutRecord(uint64_t epoch, const Positions& positions) const;
  std::string key(const char* part) const { return options_.key + part; }

  const LeaseOptions options_;
  const Clock* const clock_;
  HttpClient http_;
  size_t url_ = 0;        // of the server that answered last
  std::string lease_;     // etcd's id, decimal; empty: none
  BootTime refreshed_{};  // when the last grant or keep-alive that succeeded was sent
  milliseconds granted_{};
  bool reigning_ = false;
  uint64_t epoch_ = 0;      // of our reign
  std::string cluster_id_;  // of the record, in our reign
};

}  // namespace litefs::lease
