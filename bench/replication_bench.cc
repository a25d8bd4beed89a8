// What replication costs on one machine, over loopback TCP: the time from Committed() on the
// primary to ReceiveBytes() on the replica, and the rate of a snapshot.  Sources and sinks do
// nothing but hand over bytes, so this is the stream alone.

#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <vector>

#include "common/check.h"
#include "common/mutex.h"
#include "daemon/replication/replication_client.h"
#include "daemon/replication/replication_server.h"

namespace litefs::replication {
namespace {

using Clock = std::chrono::steady_clock;

ltx::Position At(ltx::TxId txid) { return {txid, txid | ltx::kChecksumFlag}; }

// One database whose every file has the same bytes.
class BenchSource : public ChainSource {
 public:
  BenchSource(size_t file_bytes, bool pruned) : pruned_(pruned), size_bytes_(file_bytes) {
    file_ = UniqueFd(::memfd_create("bench", MFD_CLOEXEC));
    CHECK(::ftruncate(file_.get(), static_cast<off_t>(file_bytes)) == 0);
  }
  void Commit() {
    MutexLock lock(mu_);
    ++tip_;
  }
  std::vector<ChainTip> States() override {
    MutexLock lock(mu_);
    return {{.name = "app.db", .position = At(tip_)}};
  }
  absl::StatusOr<ChainFile> FileAfter(const std::string&, const ltx::Position& from) override {
    MutexLock lock(mu_);
    if (from.txid == tip_) return absl::NotFoundError("tip");
    if (pruned_) return absl::OutOfRangeError("pruned");
    const ltx::TxId next = from.txid + 1;
    return File(next, next, from.txid == 0 ? 0 : At(from.txid).checksum);
  }
  absl::Status Snapshot(const std::string&, SnapshotReader* reader) override {
    MutexLock lock(mu_);
    reader->Begin(File(1, tip_, 0));
    reader->Grow(size_bytes_);
    return absl::OkStatus();
  }
  absl::StatusOr<ChainFile> Delta(const std::string&, const PageSums&) override {
    return absl::FailedPreconditionError("only a snapshot will do");
  }

 private:
  ChainFile File(ltx::TxId min, ltx::TxId max, ltx::Checksum pre) {
    return {.fd = UniqueFd(::dup(file_.get())),
            .size_bytes = size_bytes_,
            .min_txid = min,
            .max_txid = max,
            .pre_apply = pre,
            .post_apply = At(max).checksum};
  }
  const bool pruned_;
  const size_t size_bytes_;
  UniqueFd file_;
  Mutex mu_;
  ltx::TxId tip_ GUARDED_BY(mu_) = 2;
};

class BenchSink : public ChainSink {
 public:
  Clock::time_point WaitFor(ltx::TxId txid) {
    MutexLock lock(mu_);
    while (stored_ < txid) changed_.Wait(mu_);
    return received_at_;
  }
  void SetNext(ltx::TxId next) {  // what the next file brings us to
    MutexLock lock(mu_);
    next_ = next;
  }
  std::vector<DatabaseState> States() override {
    MutexLock lock(mu_);
    if (stored_ == 0) return {};
    return {{"app.db", At(stored_)}};
  }
  absl::StatusOr<ltx::Position> Receive(const std::string& name, int, uint64_t) override {
    return ReceiveBytes(name, {});
  }
  absl::StatusOr<ltx::Position> ReceiveBytes(const std::string&,
                                             std::span<const std::byte>) override {
    MutexLock lock(mu_);
    received_at_ = Clock::now();
    stored_ = next_;
    changed_.NotifyAll();
    return At(stored_);
  }
  absl::StatusOr<PageSums> Sums(const std::string&, uint64_t) override { return PageSums(); }
  absl::Status Sync(const std::string&) override { return absl::OkStatus(); }
  absl::Status Drop(const std::string&) override { return absl::OkStatus(); }
  absl::StatusOr<UniqueFd> SpoolFile() override {
    return UniqueFd(::memfd_create("spool", MFD_CLOEXEC));
  }

 private:
  Mutex mu_;
  CondVar changed_;
  ltx::TxId next_ GUARDED_BY(mu_) = 2;
  ltx::TxId stored_ GUARDED_BY(mu_) = 0;
  Clock::time_point received_at_ GUARDED_BY(mu_);
};

struct Pair {
  Pair(BenchSource* source, bool publish)
      : server({.pub_endpoint = "tcp://127.0.0.1:*",
                .pull_endpoint = "tcp://127.0.0.1:*",
                .cluster_id = "bench",
                .node_id = "primary",
                .publish = publish},
               source) {
    CHECK(server.Start().ok());
    client = std::make_unique<ReplicationClient>(
        ReplicationClient::Options{.pub_endpoint = server.pub_endpoint(),
                                   .pull_endpoint = server.pull_endpoint(),
                                   .cluster_id = "bench",
                                   .node_id = "replica",
                                   .subscribe = publish},
        &sink);
  }
  ReplicationServer server;
  BenchSink sink;
  std::unique_ptr<ReplicationClient> client;
};

// Arguments: bytes of the file; 1 by PUB, 0 pushed by ROUTER.
void BM_CommitToReceive(benchmark::State& state) {
  BenchSource source(static_cast<size_t>(state.range(0)), false);
  const bool publish = state.range(1) != 0;
  Pair pair(&source, publish);
  pair.sink.SetNext(1);
  CHECK(pair.client->Start().ok());
  pair.sink.WaitFor(1);
  pair.sink.SetNext(2);
  pair.sink.WaitFor(2);
  while (publish && !pair.client->Status().pub_healthy) ::usleep(1000);
  std::vector<double> latencies_us;
  ltx::TxId txid = 2;
  for (auto _ : state) {
    pair.sink.SetNext(++txid);
    const Clock::time_point start = Clock::now();
    source.Commit();
    pair.server.Committed("app.db", txid, txid);
    const Clock::time_point end = pair.sink.WaitFor(txid);
    latencies_us.push_back(std::chrono::duration<double, std::micro>(end - start).count());
  }
  std::sort(latencies_us.begin(), latencies_us.end());
  state.counters["p50_us"] = latencies_us[latencies_us.size() / 2];
  state.counters["p99_us"] = latencies_us[latencies_us.size() * 99 / 100];
}
BENCHMARK(BM_CommitToReceive)
    ->ArgsProduct({{500, 4600, 65536, 1 << 20}, {1, 0}})
    ->UseRealTime()
    ->MinTime(2);

void BM_Snapshot(benchmark::State& state) {
  const size_t bytes = static_cast<size_t>(state.range(0));
  BenchSource source(bytes, true);
  for (auto _ : state) {
    Pair pair(&source, true);
    CHECK(pair.client->Start().ok());
    pair.sink.WaitFor(2);
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * bytes));
}
BENCHMARK(BM_Snapshot)->Arg(16 << 20)->Arg(512 << 20)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace litefs::replication
