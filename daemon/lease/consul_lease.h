// ConsulLease: a Lease in Consul's key-value store.  The owner's key is locked by a session.
// docs/CLUSTER.md, "Consul".  Threads as Lease.

#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "common/clock.h"
#include "daemon/lease/http_client.h"
#include "daemon/lease/lease.h"

namespace litefs::lease {

class ConsulLease final : public Lease {
 public:
  // clock must outlive the lease.
  ConsulLease(LeaseOptions options, const Clock* clock);

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
  struct Entry {  // of the store
    std::string value{};
    std::string session{};
    std::string modified{};  // its index
  };
  struct Outcome {  // of a transaction
    bool committed = false;
    int64_t failed = -1;  // the first operation that could not be done
    std::string why{};
  };
  absl::StatusOr<HttpResponse> Send(const std::string& method, const std::string& path,
                                    const std::string& body, milliseconds timeout);
  // index: of Consul, if it is wanted.
  absl::StatusOr<std::map<std::string, Entry>> List(milliseconds timeout, std::string* index);
  absl::StatusOr<View> ReadView(milliseconds timeout, std::string* owner_session);
  absl::StatusOr<Outcome> Transact(const Json& operations, milliseconds timeout);
  absl::Status CreateSession(const std::string& node_id, milliseconds timeout);
  void Forget();
  Json Operation(const char* verb, const char* part) const;
  Json OwnersOperation(const char* verb, const std::string& session, const Owner& owner) const;
  Json SetRecord(const char* verb, uint64_t epoch, const Positions& positions) const;
  std::string key(const char* part) const { return options_.key + part; }

  const LeaseOptions options_;
  const Clock* const clock_;
  HttpClient http_;
  size_t url_ = 0;        // of the server that answered last
  std::string session_;   // empty: none
  BootTime refreshed_{};  // when the creation or renewal that succeeded last was sent
  bool reigning_ = false;
  Owner self_;  // in our reign
};

}  // namespace litefs::lease
