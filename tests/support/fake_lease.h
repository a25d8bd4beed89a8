// A lease server in memory, of which every FakeLease is one node's view; what it answers is the
// test's to decide. Any thread.

#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/mutex.h"
#include "daemon/lease/lease.h"

namespace litefs::test {

struct FakeLeaseServer {
  Mutex mu;
  CondVar changed;
  std::optional<lease::Owner> owner GUARDED_BY(mu);
  std::string owner_handle GUARDED_BY(mu);
  lease::Record record GUARDED_BY(mu);
  std::map<std::string, lease::Candidate> candidates GUARDED_BY(mu);
  bool away GUARDED_BY(mu) = false;  // it does not answer
};

class FakeLease final : public lease::Lease {
 public:
  using View = lease::View;
  using milliseconds = lease::milliseconds;

  FakeLease(FakeLeaseServer* server, std::string handle, milliseconds ttl, const Clock* clock)
      : server_(server), handle_(std::move(handle)), ttl_(ttl), clock_(clock) {}

  absl::StatusOr<View> Read(milliseconds) override {
    MutexLock lock(server_->mu);
    if (absl::Status status = Answers(); !status.ok()) return status;
    return Now();
  }
  absl::StatusOr<View> Watch(const View& seen, milliseconds timeout) override {
    const auto end = std::chrono::steady_clock::now() + timeout;
    MutexLock lock(server_->mu);
    while (!interrupted_ && Now().version == seen.version) {
      if (!server_->changed.WaitUntil(server_->mu, end)) break;
    }
    if (absl::Status status = Answers(); !status.ok()) return status;
    return Now();
  }
  absl::Status Announce(const lease::Candidate& self, milliseconds) override {
    MutexLock lock(server_->mu);
    if (absl::Status status = Answers(); !status.ok()) return status;
    lease::Candidate& candidate = server_->candidates[self.node.node_id];
    candidate = self;
    candidate.handle = handle_;
    server_->changed.NotifyAll();
    return absl::OkStatus();
  }
  absl::StatusOr<std::vector<lease::Candidate>> Candidates(milliseconds) override {
    MutexLock lock(server_->mu);
    if (absl::Status status = Answers(); !status.ok()) return status;
    std::vector<lease::Candidate> all;
    for (const auto& [name, candidate] : server_->candidates) all.push_back(candidate);
    return all;
  }
  absl::StatusOr<lease::Reign> Acquire(const lease::Owner& self, const View& seen,
                                       milliseconds) override {
    MutexLock lock(server_->mu);
    if (absl::Status status = Answers(); !status.ok()) return status;
    if (!IsMine()) {
      if (server_->owner.has_value()) return absl::AlreadyExistsError("somebody else holds it");
      if (Now().version != seen.version) return absl::AbortedError("the record has changed");
      server_->owner = self;
      server_->owner->epoch = ++server_->record.epoch;
      if (server_->record.cluster_id.empty()) server_->record.cluster_id = self.cluster_id;
      server_->owner_handle = handle_;
      server_->changed.NotifyAll();
    }
    reigned_ = true;
    return lease::Reign{.epoch = server_->record.epoch, .deadline = Deadline()};
  }
  absl::StatusOr<lease::BootTime> Renew(milliseconds) override {
    MutexLock lock(server_->mu);
    if (absl::Status status = Answers(); !status.ok()) return status;
    if (reigned_ && !IsMine()) {
      reigned_ = false;
      return absl::NotFoundError("it is gone");
    }
    return Deadline();
  }
  absl::Status Note(const lease::Positions& positions, milliseconds) override {
    MutexLock lock(server_->mu);
    if (absl::Status status = Answers(); !status.ok()) return status;
    if (!IsMine()) return absl::NotFoundError("it is gone");
    server_->record.positions = positions;
    server_->changed.NotifyAll();
    return absl::OkStatus();
  }
  absl::Status HandOver(const lease::Candidate& to, const lease::Positions& positions,
                        milliseconds) override {
    MutexLock lock(server_->mu);
    if (absl::Status status = Answers(); !status.ok()) return status;
    if (!IsMine()) return absl::NotFoundError("it is gone");
    server_->owner = to.node;
    server_->owner->epoch = ++server_->record.epoch;
    server_->owner_handle = to.handle;
    server_->record.positions = positions;
    reigned_ = false;
    server_->changed.NotifyAll();
    return absl::OkStatus();
  }
  absl::Status Release(const std::optional<lease::Positions>& positions, milliseconds) override {
    MutexLock lock(server_->mu);
    if (absl::Status status = Answers(); !status.ok()) return status;
    reigned_ = false;
    if (IsMine()) {
      server_->owner.reset();
      if (positions.has_value()) server_->record.positions = *positions;
    }
    std::erase_if(server_->candidates,
                  [this](const auto& entry) { return entry.second.handle == handle_; });
    server_->changed.NotifyAll();
    return absl::OkStatus();
  }
  void Interrupt() override {
    MutexLock lock(server_->mu);
    interrupted_ = true;
    server_->changed.NotifyAll();
  }
  void Resume() override {
    MutexLock lock(server_->mu);
    interrupted_ = false;
  }

 private:
  absl::Status Answers() REQUIRES(server_->mu) {
    if (interrupted_) return absl::CancelledError("interrupted");
    return server_->away ? absl::UnavailableError("the server is away") : absl::OkStatus();
  }
  View Now() REQUIRES(server_->mu) {
    const std::string reign = server_->owner.has_value() ? server_->owner->node_id : "";
    return {.owner = server_->owner,
            .record = server_->record,
            .version = reign + "/" + std::to_string(server_->record.epoch)};
  }
  bool IsMine() REQUIRES(server_->mu) {
    return server_->owner.has_value() && server_->owner_handle == handle_;
  }
  lease::BootTime Deadline() const { return clock_->Boot() + lease::SafeTime(ttl_); }

  FakeLeaseServer* const server_;
  const std::string handle_;
  const milliseconds ttl_;
  const Clock* const clock_;
  bool interrupted_ GUARDED_BY(server_->mu) = false;
  bool reigned_ GUARDED_BY(server_->mu) = false;
};

}  // namespace litefs::test
