// Fakes of ChainSource and ChainSink that know no SQLite and no LTX: a "file" is a small header, a
// body of random bytes and a digest, and a database's checksum is a hash over the bodies of its
// chain, so that two nodes at one position have had the same bytes.  Any thread.

#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/mutex.h"
#include "daemon/replication/chain.h"

namespace litefs::replication {

// Waits until condition holds, checking often; false if that takes longer than 30 s.
bool Eventually(const std::function<bool()>& condition,
                std::chrono::seconds limit = std::chrono::seconds(30));

class FakeSource : public ChainSource {
 public:
  // Appends a transaction and returns the new position; a new database begins at 1.
  ltx::Position Commit(const std::string& database, size_t body_bytes = 100) EXCLUDES(mu_);
  // Removes the chain's files; replicas that are not at the tip need a snapshot.
  void Prune(const std::string& database) EXCLUDES(mu_);
  // Replaces the last transaction by another branch of the same length.
  ltx::Position Diverge(const std::string& database) EXCLUDES(mu_);
  void Drop(const std::string& database) EXCLUDES(mu_);
  // Bodies of the snapshots made from now on.
  void set_snapshot_bytes(size_t bytes) { snapshot_bytes_ = bytes; }
  int snapshots_made() EXCLUDES(mu_);
  // Snapshots that begin from now on stop growing at so many bytes, until they are let go.
  void HoldSnapshotsAt(uint64_t bytes) EXCLUDES(mu_);
  bool WaitForHeldSnapshot() EXCLUDES(mu_);  // until one is held; false after 30 s
  // The held one, and those to come, are finished; or the held one is given up, and another one is
  // begun in its place.
  void LetSnapshotsGo(bool anew = false) EXCLUDES(mu_);
  // What dates transactions; before the first.
  void set_clock(const Clock* clock) { clock_ = clock; }
  // Takes in a file as FakeSink gets it: what a replica serves to others.
  void Adopt(const std::string& database, std::span<const std::byte> file) EXCLUDES(mu_);
  void set_complete(bool complete) { complete_ = complete; }
  bool Complete() override { return complete_; }

  std::vector<ChainTip> States() override EXCLUDES(mu_);
  absl::StatusOr<ChainFile> FileAfter(const std::string& database,
                                      const ltx::Position& from) override EXCLUDES(mu_);
  absl::Status Snapshot(const std::string& database, SnapshotReader* reader) override EXCLUDES(mu_);
  // base must be as FakeSink::Sums makes it.
  absl::StatusOr<ChainFile> Delta(const std::string& database, const PageSums& base) override
      EXCLUDES(mu_);
  int deltas_made() EXCLUDES(mu_);

 private:
  struct Chain {
    ltx::Position tip;
    uint64_t committed_ms = 0;
    uint64_t end_bytes = 0;
    std::map<ltx::TxId, std::shared_ptr<const ChainFile>> files;  // by min_txid
  };
  std::vector<std::byte> RandomBytes(size_t n) REQUIRES(mu_);
  absl::StatusOr<std::shared_ptr<const ChainFile>> MakeSnapshot(const std::string& database)
      REQUIRES(mu_);

  Mutex mu_;
  std::map<std::string, Chain> chains_ GUARDED_BY(mu_);
  std::mt19937_64 random_ GUARDED_BY(mu_){20261123};
  int snapshots_made_ GUARDED_BY(mu_) = 0;
  int deltas_made_ GUARDED_BY(mu_) = 0;
  CondVar changed_;
  uint64_t hold_at_ GUARDED_BY(mu_) = 0;  // 0: nowhere
  bool held_ GUARDED_BY(mu_) = false;
  bool anew_ GUARDED_BY(mu_) = false;
  std::atomic<size_t> snapshot_bytes_{1000};
  const Clock* clock_ = &SystemClock();
  std::atomic<bool> complete_{true};
};

class FakeSink : public ChainSink {
 public:
  ltx::Position PositionOf(const std::string& database) EXCLUDES(mu_);
  bool Has(const std::string& database) EXCLUDES(mu_);
  // Waits until the database is at this position; false after 30 s.
  bool WaitFor(const std::string& database, const ltx::Position& position) EXCLUDES(mu_);
  // Waits until the states are the source's.
  bool WaitFor(FakeSource& source) EXCLUDES(mu_);

  // Receive waits while the gate is closed.
  void CloseGate() EXCLUDES(mu_);
  void OpenGate() EXCLUDES(mu_);
  bool WaitForReceiver() EXCLUDES(mu_);  // until somebody waits at the gate
  // The next receives fail with this.
  void FailNext(int count, absl::Status status) EXCLUDES(mu_);
  // How many pages a database has; 0: it never has anything to build on.
  void set_sums_pages(size_t pages) { sums_pages_ = pages; }
  // Called with each new position, on the receiving thread.
  std::function<void(const std::string&, const ltx::Position&)> on_receive = {};

  // What was last made durable; nothing if that was never wanted.
  std::optional<ltx::Position> synced(const std::string& database) EXCLUDES(mu_);
  int received() EXCLUDES(mu_);
  int snapshots_received() EXCLUDES(mu_);
  uint64_t spools() EXCLUDES(mu_);

  std::vector<DatabaseState> States() override EXCLUDES(mu_);
  absl::StatusOr<ltx::Position> Receive(const std::string& database, int file_fd,
                                        uint64_t size_bytes) override EXCLUDES(mu_);
  absl::StatusOr<ltx::Position> ReceiveBytes(const std::string& database,
                                             std::span<const std::byte> ltx_file) override
      EXCLUDES(mu_);
  absl::StatusOr<PageSums> Sums(const std::string& database, uint64_t max_pages) override
      EXCLUDES(mu_);
  absl::Status Sync(const std::string& database) override EXCLUDES(mu_);
  absl::Status Drop(const std::string& database) override EXCLUDES(mu_);
  absl::StatusOr<UniqueFd> SpoolFile() override EXCLUDES(mu_);

 private:
  Mutex mu_;
  CondVar changed_;
  std::map<std::string, ltx::Position> states_ GUARDED_BY(mu_);
  bool gate_closed_ GUARDED_BY(mu_) = false;
  bool waiting_ GUARDED_BY(mu_) = false;
  int failures_ GUARDED_BY(mu_) = 0;
  absl::Status failure_ GUARDED_BY(mu_);
  std::map<std::string, ltx::Position> synced_ GUARDED_BY(mu_);
  int received_ GUARDED_BY(mu_) = 0;
  int snapshots_received_ GUARDED_BY(mu_) = 0;
  uint64_t spools_ GUARDED_BY(mu_) = 0;
  std::atomic<size_t> sums_pages_{0};
};

}  // namespace litefs::replication
