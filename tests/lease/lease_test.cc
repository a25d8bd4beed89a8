// Every back-end against its real server.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <barrier>
#include <thread>

#include "common/clock.h"
#include "tests/support/lease_server.h"

namespace litefs::lease {
namespace {

using std::chrono::seconds;
using test::LeaseServer;
using test::ServerKind;

constexpr seconds kTimeout{10};
constexpr milliseconds kTtl{2000};
const Owner kA{.node_id = "000000000000000a", .endpoint = "tcp://a:1", .cluster_id = "c"};
const Owner kB{.node_id = "000000000000000b", .endpoint = "tcp://b:1", .cluster_id = "c"};

Positions At(ltx::TxId txid) {
  Positions positions;
  positions.Add("app.db", {.txid = txid, .checksum = ltx::kChecksumFlag | txid});
  return positions;
}

const char* NameOf(ServerKind kind) {
  static constexpr const char* kNames[] = {"Etcd", "Consul", "S3"};
  return kNames[static_cast<int>(kind)];
}

class LeaseBackend : public testing::TestWithParam<ServerKind> {
 protected:
  static std::unique_ptr<LeaseServer> servers_[3];
  static void TearDownTestSuite() {
    for (auto& server : servers_) server.reset();
  }
  void SetUp() override {
    static std::atomic<int> number = 0;
    key_ = fmt::format("test/{}", ++number);
    auto& shared = servers_[static_cast<int>(GetParam())];
    if (shared == nullptr) shared = LeaseServer::Start(GetParam());
    if (shared == nullptr) GTEST_SKIP() << "no such server on this machine";
    server_ = shared.get();
  }
  std::unique_ptr<Lease> Connect(milliseconds ttl = seconds(30)) {
    return server_->Connect(key_, ttl);
  }
  // Reads and acquires.
  static absl::StatusOr<Reign> Acquire(Lease& lease, const Owner& self) {
    const absl::StatusOr<View> view = lease.Read(kTimeout);
    return view.ok() ? lease.Acquire(self, *view, kTimeout) : view.status();
  }
  // Tries until the lease can be had.
  static absl::StatusOr<Reign> AcquireInTime(Lease& lease, const Owner& self, seconds patience) {
    const auto deadline = SystemClock().Boot() + patience;
    while (true) {
      absl::StatusOr<Reign> reign = Acquire(lease, self);
      if (reign.ok() || SystemClock().Boot() > deadline) return reign;
      LeaseServer::Pause(milliseconds(20));
    }
  }

  std::string key_;
  LeaseServer* server_ = nullptr;
};
std::unique_ptr<LeaseServer> LeaseBackend::servers_[3];

INSTANTIATE_TEST_SUITE_P(Servers, LeaseBackend,
                         testing::Values(ServerKind::kEtcd, ServerKind::kConsul, ServerKind::kS3),
                         [](const auto& param) { return NameOf(param.param); });

TEST_P(LeaseBackend, IsFreeAtFirst) {
  const auto lease = Connect();
  const absl::StatusOr<View> view = lease->Read(kTimeout);
  ASSERT_TRUE(view.ok()) << view.status();
  EXPECT_FALSE(view->owner.has_value());
  EXPECT_EQ(view->record.epoch, 0u);
  EXPECT_EQ(view->record.cluster_id, "");
}

TEST_P(LeaseBackend, KeepsTheRecordAndCountsReigns) {
  const auto a = Connect();
  const auto b = Connect();
  for (uint64_t epoch = 1; epoch <= 5; ++epoch) {
    Lease& lease = epoch % 2 == 1 ? *a : *b;
    const Owner& self = epoch % 2 == 1 ? kA : kB;
    const BootTime before = SystemClock().Boot();
    const absl::StatusOr<Reign> reign = Acquire(lease, self);
    ASSERT_TRUE(reign.ok()) << reign.status();
    EXPECT_EQ(reign->epoch, epoch);
    EXPECT_LE(reign->deadline, SystemClock().Boot() + SafeTime(seconds(30)));
    EXPECT_GT(reign->deadline, before);
    const absl::StatusOr<BootTime> renewed = lease.Renew(kTimeout);
    ASSERT_TRUE(renewed.ok()) << renewed.status();
    EXPECT_GT(*renewed, reign->deadline);
    ASSERT_TRUE(lease.Note(At(epoch), kTimeout).ok());
    const absl::StatusOr<View> view = b->Read(kTimeout);
    ASSERT_TRUE(view.ok()) << view.status();
    ASSERT_TRUE(view->owner.has_value());
    EXPECT_EQ(view->owner->node_id, self.node_id);
    EXPECT_EQ(view->owner->endpoint, self.endpoint);
    EXPECT_EQ(view->owner->epoch, epoch);
    EXPECT_EQ(view->record.epoch, epoch);
    EXPECT_EQ(view->record.cluster_id, "c");
    EXPECT_EQ(view->record.positions.databases.at("app.db").txid, epoch);
    ASSERT_TRUE(lease.Release(At(10 * epoch), kTimeout).ok());
    const absl::StatusOr<View> after = a->Read(kTimeout);
    ASSERT_TRUE(after.ok()) << after.status();
    EXPECT_FALSE(after->owner.has_value());
    EXPECT_EQ(after->record.epoch, epoch);
    EXPECT_EQ(after->record.positions.databases.at("app.db").txid, 10 * epoch);
  }
}

TEST_P(LeaseBackend, IsOneNodesAtATime) {
  const auto a = Connect();
  const auto b = Connect();
  ASSERT_TRUE(Acquire(*a, kA).ok());
  EXPECT_TRUE(absl::IsAlreadyExists(Acquire(*b, kB).status()));
  EXPECT_TRUE(absl::IsNotFound(b->Note(At(9), kTimeout)));
  EXPECT_TRUE(absl::IsNotFound(b->HandOver({.node = kA, .handle = "1"}, At(9), kTimeout)));
  EXPECT_TRUE(a->Note(At(1), kTimeout).ok());
}

TEST_P(LeaseBackend, RefusesWhoDecidedByAnOldRecord) {
  const auto a = Connect();
  const auto b = Connect();
  const absl::StatusOr<View> old = b->Read(kTimeout);
  ASSERT_TRUE(old.ok());
  ASSERT_TRUE(Acquire(*a, kA).ok());
  ASSERT_TRUE(a->Release(At(7), kTimeout).ok());
  EXPECT_TRUE(absl::IsAborted(b->Acquire(kB, *old, kTimeout).status()));
  const absl::StatusOr<Reign> reign = Acquire(*b, kB);
  ASSERT_TRUE(reign.ok()) << reign.status();
  EXPECT_EQ(reign->epoch, 2u);
}

TEST_P(LeaseBackend, LetsExactlyOneOfTwoCandidatesWinEveryRace) {
  constexpr int kRounds = 100;
  const std::unique_ptr<Lease> leases[2] = {Connect(), Connect()};
  const Owner owners[2] = {kA, kB};
  absl::StatusOr<Reign> reigns[2] = {absl::UnknownError(""), absl::UnknownError("")};
  std::barrier start(3);
  std::barrier end(3);
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < kRounds; ++round) {
        const absl::StatusOr<View> view = leases[i]->Read(kTimeout);
        start.arrive_and_wait();
        reigns[i] = view.ok() ? leases[i]->Acquire(owners[i], *view, kTimeout) : view.status();
        end.arrive_and_wait();  // the other thread judges
        end.arrive_and_wait();
      }
    });
  }
  for (int round = 0; round < kRounds; ++round) {
    start.arrive_and_wait();
    end.arrive_and_wait();
    EXPECT_NE(reigns[0].ok(), reigns[1].ok())
        << "round " << round << ": " << reigns[0].status() << " and " << reigns[1].status();
    for (int i = 0; i < 2; ++i) {
      if (!reigns[i].ok()) {
        EXPECT_TRUE(absl::IsAlreadyExists(reigns[i].status()) ||
                    absl::IsAborted(reigns[i].status()))
            << reigns[i].status();
        continue;
      }
      EXPECT_EQ(reigns[i]->epoch, static_cast<uint64_t>(round + 1));
      EXPECT_TRUE(leases[i]->Release(At(1), kTimeout).ok());
    }
    end.arrive_and_wait();
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_P(LeaseBackend, EndsWhenItIsNotRenewed) {
  const auto a = Connect(kTtl);
  const auto b = Connect(kTtl);
  const absl::StatusOr<Reign> first = Acquire(*a, kA);
  ASSERT_TRUE(first.ok()) << first.status();
  const absl::StatusOr<Reign> second = AcquireInTime(*b, kB, seconds(30));
  ASSERT_TRUE(second.ok()) << second.status();
  // The first one's own clock ended its reign before anybody else's could begin.
  EXPECT_LT(first->deadline, SystemClock().Boot());
  EXPECT_LT(first->deadline, second->deadline - SafeTime(kTtl));
  EXPECT_EQ(second->epoch, 2u);
  EXPECT_TRUE(absl::IsNotFound(a->Renew(kTimeout).status()));
  EXPECT_TRUE(absl::IsNotFound(a->Note(At(9), kTimeout)));
  EXPECT_TRUE(absl::IsAlreadyExists(Acquire(*a, kA).status()));
}

TEST_P(LeaseBackend, StoppedServerCostsTheTimeoutAndNothingElse) {
  const auto lease = Connect();
  ASSERT_TRUE(Acquire(*lease, kA).ok());
  server_->Stop();
  const BootTime before = SystemClock().Boot();
  const absl::Status stopped = lease->Renew(milliseconds(300)).status();
  const BootTime took = SystemClock().Boot() - before;
  const absl::Status read = lease->Read(milliseconds(300)).status();
  server_->Continue();
  EXPECT_TRUE(absl::IsUnavailable(stopped)) << stopped;
  EXPECT_GE(took, milliseconds(300));
  EXPECT_TRUE(absl::IsUnavailable(read)) << read;
  // A server that wakes up may answer first what it has not done (Ceph: 500): ask as the keeper
  // does.
  absl::StatusOr<BootTime> renewed = lease->Renew(kTimeout);
  for (int i = 0; i < 3 && absl::IsUnavailable(renewed.status()); ++i) {
    renewed = lease->Renew(kTimeout);
  }
  EXPECT_TRUE(renewed.ok()) << renewed.status();
  EXPECT_TRUE(lease->Note(At(2), kTimeout).ok());
}

TEST_P(LeaseBackend, SurvivesTheServersDeath) {
  const auto a = Connect();
  const auto b = Connect();
  ASSERT_TRUE(Acquire(*a, kA).ok());
  server_->Kill();
  EXPECT_TRUE(absl::IsUnavailable(a->Renew(milliseconds(500)).status()));
  server_->Restart();
  const absl::StatusOr<BootTime> renewed = a->Renew(kTimeout);
  EXPECT_TRUE(renewed.ok()) << renewed.status();
  EXPECT_TRUE(a->Note(At(3), kTimeout).ok());
  EXPECT_TRUE(absl::IsAlreadyExists(Acquire(*b, kB).status()));
}

TEST_P(LeaseBackend, IsHandedOverInOneStep) {
  const auto a = Connect();
  const auto b = Connect();
  const auto observer = Connect();
  ASSERT_TRUE(Acquire(*a, kA).ok());
  ASSERT_TRUE(b->Announce({.node = kB}, kTimeout).ok());
  std::atomic<bool> stop = false;
  std::atomic<int> reads = 0;
  std::atomic<int> without_owner = 0;
  std::thread reader([&] {
    while (!stop) {
      const absl::StatusOr<View> view = observer->Read(kTimeout);
      if (!view.ok()) continue;
      ++reads;
      without_owner += !view->owner.has_value();
    }
  });
  while (reads < 20) std::this_thread::yield();
  const absl::StatusOr<std::vector<Candidate>> candidates = a->Candidates(kTimeout);
  ASSERT_TRUE(candidates.ok()) << candidates.status();
  ASSERT_EQ(candidates->size(), 1u);
  EXPECT_EQ((*candidates)[0].node.node_id, kB.node_id);
  EXPECT_EQ((*candidates)[0].node.endpoint, kB.endpoint);
  const absl::Status handed = a->HandOver((*candidates)[0], At(5), kTimeout);
  EXPECT_TRUE(handed.ok()) << handed;
  EXPECT_TRUE(absl::IsNotFound(a->Note(At(9), kTimeout)));
  const int at_hand_over = reads;
  while (reads < at_hand_over + 20) std::this_thread::yield();
  stop = true;
  reader.join();
  EXPECT_EQ(without_owner, 0);
  const absl::StatusOr<Reign> reign = Acquire(*b, kB);
  ASSERT_TRUE(reign.ok()) << reign.status();
  EXPECT_EQ(reign->epoch, 2u);
  EXPECT_TRUE(b->Note(At(6), kTimeout).ok());
  // And back.
  ASSERT_TRUE(a->Announce({.node = kA}, kTimeout).ok());
  const absl::StatusOr<std::vector<Candidate>> both = b->Candidates(kTimeout);
  ASSERT_TRUE(both.ok()) << both.status();
  for (const Candidate& candidate : *both) {
    if (candidate.node.node_id == kA.node_id) {
      EXPECT_TRUE(b->HandOver(candidate, At(7), kTimeout).ok());
    }
  }
  const absl::StatusOr<Reign> third = Acquire(*a, kA);
  ASSERT_TRUE(third.ok()) << third.status();
  EXPECT_EQ(third->epoch, 3u);
  EXPECT_EQ(observer->Read(kTimeout)->record.positions.databases.at("app.db").txid, 7u);
}

TEST_P(LeaseBackend, StaysWhereItIsIfTheCandidateHasGone) {
  const auto a = Connect();
  const auto b = Connect();
  ASSERT_TRUE(Acquire(*a, kA).ok());
  ASSERT_TRUE(b->Announce({.node = kB}, kTimeout).ok());
  const Candidate gone = a->Candidates(kTimeout).value().at(0);
  ASSERT_TRUE(b->Release(std::nullopt, kTimeout).ok());
  EXPECT_TRUE(a->Candidates(kTimeout).value().empty());
  const absl::Status handed = a->HandOver(gone, At(5), kTimeout);
  EXPECT_TRUE(absl::IsFailedPrecondition(handed)) << handed;
  EXPECT_TRUE(a->Note(At(6), kTimeout).ok());
  EXPECT_EQ(b->Read(kTimeout)->owner->node_id, kA.node_id);
}

TEST_P(LeaseBackend, WatchWakesUpForANewOwnerOnly) {
  const auto a = Connect();
  const auto b = Connect();
  const View free = b->Read(kTimeout).value();
  std::thread acquire([&] {
    LeaseServer::Pause(milliseconds(200));  // mostly, it waits by then
    ASSERT_TRUE(Acquire(*a, kA).ok());
  });
  const absl::StatusOr<View> taken = b->Watch(free, seconds(60));
  acquire.join();
  ASSERT_TRUE(taken.ok()) << taken.status();
  ASSERT_TRUE(taken->owner.has_value());
  EXPECT_EQ(taken->owner->node_id, kA.node_id);
  // Renewals and positions do not wake it.
  ASSERT_TRUE(a->Renew(kTimeout).ok());
  ASSERT_TRUE(a->Note(At(4), kTimeout).ok());
  const BootTime before = SystemClock().Boot();
  const absl::StatusOr<View> same = b->Watch(*taken, milliseconds(700));
  ASSERT_TRUE(same.ok()) << same.status();
  EXPECT_GE(SystemClock().Boot() - before, milliseconds(600));
  EXPECT_EQ(same->record.positions.databases.at("app.db").txid, 4u);
  std::thread release([&] { EXPECT_TRUE(a->Release(At(5), kTimeout).ok()); });
  const absl::StatusOr<View> released = b->Watch(*same, seconds(60));
  release.join();
  ASSERT_TRUE(released.ok()) << released.status();
  EXPECT_FALSE(released->owner.has_value());
}

TEST_P(LeaseBackend, WaitingCanBeInterrupted) {
  const auto lease = Connect();
  const View free = lease->Read(kTimeout).value();
  std::thread interrupt([&] {
    LeaseServer::Pause(milliseconds(100));  // mostly, it waits by then
    lease->Interrupt();
  });
  const absl::Status status = lease->Watch(free, seconds(60)).status();
  interrupt.join();
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  EXPECT_TRUE(absl::IsCancelled(lease->Read(kTimeout).status()));
  lease->Resume();
  EXPECT_TRUE(lease->Read(kTimeout).ok());
}

TEST_P(LeaseBackend, ServerThatIsNotThereIsUnavailable) {
  const auto lease = Connect();
  server_->Kill();
  EXPECT_TRUE(absl::IsUnavailable(lease->Read(kTimeout).status()));
  EXPECT_TRUE(absl::IsUnavailable(lease->Announce({.node = kA}, kTimeout)));
  server_->Restart();
  EXPECT_TRUE(lease->Read(kTimeout).ok());
}

TEST(LeaseRecord, RefusesWhatItDidNotWrite) {
  for (const char* text : {"", "null", "[]", "{}", "{\"epoch\":-1}", "{\"epoch\":\"1\"}",
                           "{\"epoch\":1,\"cluster_id\":\"c\"}",
                           "{\"epoch\":1,\"cluster_id\":\"c\",\"positions\":{\"sum\":1,"
                           "\"databases\":{\"a\":\"5\"}}}"}) {
    EXPECT_TRUE(absl::IsDataLoss(ParseRecord(text).status())) << text;
    EXPECT_TRUE(absl::IsDataLoss(ParseOwner(text).status())) << text;
  }
  EXPECT_TRUE(absl::IsDataLoss(ParseRecord(std::string(kMaxRecordBytes + 1, ' ')).status()));
}

TEST(LeaseRecord, ComesBackAsItWasWritten) {
  Positions positions = At(5);
  positions.Add("na\xffme %.db", {.txid = 3, .checksum = ltx::kChecksumFlag | 1});
  const absl::StatusOr<Record> record =
      ParseRecord(FormatRecord({.epoch = 7, .cluster_id = "c", .positions = positions}));
  ASSERT_TRUE(record.ok()) << record.status();
  EXPECT_EQ(record->epoch, 7u);
  EXPECT_EQ(record->positions.databases, positions.databases);
  EXPECT_EQ(record->positions.sum, 8u);
  EXPECT_EQ(positions.Behind(record->positions), "");
}

TEST(LeaseRecord, OfTooManyDatabasesCountsTheRest) {
  Positions all;
  for (int i = 0; i < 5000; ++i) all.Add(fmt::format("{:0200}.db", i), {.txid = 1});
  const std::string text = FormatRecord({.epoch = 1, .cluster_id = "c", .positions = all});
  EXPECT_LE(text.size(), kMaxRecordBytes);
  const absl::StatusOr<Record> record = ParseRecord(text);
  ASSERT_TRUE(record.ok()) << record.status();
  EXPECT_EQ(all.Behind(record->positions), "");
  Positions fewer = all;
  --fewer.sum;
  EXPECT_NE(fewer.Behind(record->positions), "");
}

TEST(LeaseRecord, KnowsWhoIsBehind) {
  EXPECT_EQ(At(5).Behind(At(5)), "");
  EXPECT_EQ(At(6).Behind(At(5)), "");
  EXPECT_NE(At(4).Behind(At(5)), "");
  EXPECT_NE(Positions().Behind(At(1)), "");
  EXPECT_EQ(At(1).Behind(Positions()), "");
  Positions other;
  other.Add("app.db", {.txid = 5, .checksum = ltx::kChecksumFlag | 99});
  EXPECT_NE(other.Behind(At(5)).find("another branch"), std::string::npos);
}

}  // namespace
}  // namespace litefs::lease
