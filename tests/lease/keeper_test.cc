// The keeper with a server in memory and a clock that the test moves: what it tells the node, and
// when.

#include "daemon/lease/keeper.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/fake_lease.h"

namespace litefs::lease {
namespace {

using std::chrono::seconds;
using test::FakeLease;
using test::FakeLeaseServer;
using testing::HasSubstr;

constexpr milliseconds kTtl{1000};
constexpr seconds kPatience{20};

class MovedClock final : public Clock {
 public:
  int64_t WallMs() const override { return 0; }
  std::chrono::nanoseconds Boot() const override { return std::chrono::nanoseconds(boot_.load()); }
  void Advance(std::chrono::nanoseconds time) { boot_ += time.count(); }

 private:
  std::atomic<int64_t> boot_ = 1'000'000'000'000;
};

Positions At(ltx::TxId txid) {
  Positions positions;
  positions.Add("app.db", {.txid = txid, .checksum = ltx::kChecksumFlag | txid});
  return positions;
}

std::string IdOf(char name) { return std::string(15, '0').append(1, name); }

// A node: its keeper, and what that has told.
class Node {
 public:
  Node(FakeLeaseServer* server, char name, Standing standing, bool candidate = true)
      : id_(IdOf(name)), standing_(std::move(standing)) {
    LeaseKeeper::Options options;
    options.self = {.node = {.node_id = id_, .endpoint = fmt::format("tcp://{}:1", name)}};
    options.candidate = candidate;
    options.ttl = kTtl;
    options.clock = &clock;
    options.standing = [this] {
      MutexLock lock(mu_);
      return standing_;
    };
    options.on_found = [this] {
      Tell("founds");
      return std::string("new");
    };
    options.on_reign = [this](uint64_t epoch) { Tell(fmt::format("reign {}", epoch)); };
    options.on_owner = [this](const Owner& owner) {
      Tell(fmt::format("owner {} {}", owner.node_id.back(), owner.epoch));
    };
    options.on_wish = [this](const std::string& node) {
      Tell(fmt::format("wish {}", node.back()));
    };
    options.on_deadline = [this](BootTime deadline) {
      MutexLock lock(mu_);
      deadline_ = deadline;
      changed_.NotifyAll();
    };
    keeper = std::make_unique<LeaseKeeper>(
        std::move(options), std::make_unique<FakeLease>(server, id_ + "'s", kTtl, &clock));
    keeper->Start();
  }
  ~Node() { keeper.reset(); }

  void Stand(Standing standing) {
    MutexLock lock(mu_);
    standing_ = std::move(standing);
  }
  template <typename Condition>
  bool Await(Condition condition) {
    const auto end = std::chrono::steady_clock::now() + kPatience;
    MutexLock lock(mu_);
    while (!condition()) {
      if (!changed_.WaitUntil(mu_, end)) return condition();
    }
    return true;
  }
  bool Hears(const std::string& what) {
    return Await([&] { return std::find(told_.begin(), told_.end(), what) != told_.end(); });
  }
  bool HasHeard(const std::string& what) {
    MutexLock lock(mu_);
    return std::find(told_.begin(), told_.end(), what) != told_.end();
  }
  bool DeadlineIs(BootTime deadline) {
    return Await([&] { return deadline_ == deadline; });
  }
  // Until what the keeper says of itself is so.
  template <typename Condition>
  bool Becomes(Condition condition) {
    const auto end = std::chrono::steady_clock::now() + kPatience;
    while (!condition(keeper->Status())) {
      if (std::chrono::steady_clock::now() > end) return false;
      std::this_thread::yield();
    }
    return true;
  }
  bool Says(const std::string& what) {
    return Becomes(
        [&](const KeeperStatus& status) { return status.problem.find(what) != std::string::npos; });
  }
  // As the node does when it is the primary.
  void Reign(uint64_t epoch) {
    ASSERT_TRUE(Hears(fmt::format("reign {}", epoch)));
    ASSERT_TRUE(keeper->Begin(epoch));
  }

  MovedClock clock;
  std::unique_ptr<LeaseKeeper> keeper;

 private:
  void Tell(const std::string& what) {
    MutexLock lock(mu_);
    told_.push_back(what);
    changed_.NotifyAll();
  }

  const std::string id_;
  Mutex mu_;
  CondVar changed_;
  Standing standing_;
  std::vector<std::string> told_;
  BootTime deadline_{-1};
};

class KeeperTest : public testing::Test {
 protected:
  void Record(uint64_t epoch, const Positions& positions) {
    MutexLock lock(server_.mu);
    server_.record = {.epoch = epoch, .cluster_id = "c", .positions = positions};
  }
  void SetAway(bool away) {
    MutexLock lock(server_.mu);
    server_.away = away;
    server_.changed.NotifyAll();
  }
  void GiveTo(char name, uint64_t epoch) {
    MutexLock lock(server_.mu);
    server_.owner = Owner{.node_id = IdOf(name), .cluster_id = "c", .epoch = epoch};
    server_.owner_handle = "another's";
    server_.record.epoch = epoch;
    server_.changed.NotifyAll();
  }
  template <typename Condition>
  bool Sees(Condition condition) {
    const auto end = std::chrono::steady_clock::now() + kPatience;
    MutexLock lock(server_.mu);
    while (!condition(server_)) {
      if (!server_.changed.WaitUntil(server_.mu, end)) return condition(server_);
    }
    return true;
  }
  bool IsAnnounced(char name) {
    return Sees([&](FakeLeaseServer& server)
                    NO_THREAD_SAFETY_ANALYSIS { return server.candidates.contains(IdOf(name)); });
  }

  FakeLeaseServer server_;
  const Standing kHistory{.cluster_id = "c", .epoch = 3, .positions = At(7), .replicated = At(7)};
};

TEST_F(KeeperTest, NodeWithoutHistoryFoundsAClusterWhenItIsAlone) {
  Node a(&server_, 'a', {});
  EXPECT_TRUE(a.Hears("founds"));
  EXPECT_TRUE(a.Hears("reign 1"));
  MutexLock lock(server_.mu);
  EXPECT_EQ(server_.record.cluster_id, "new");
}

TEST_F(KeeperTest, NodeWithoutHistoryNeverReignsWhereThereWasAReign) {
  Record(3, {});
  Node a(&server_, 'a', {});
  ASSERT_TRUE(IsAnnounced('a'));
  Node b(&server_, 'b', kHistory);  // looks at the same record, and may
  EXPECT_TRUE(b.Hears("reign 4"));
  EXPECT_TRUE(a.Hears("owner b 4"));
  EXPECT_FALSE(a.HasHeard("founds"));
  EXPECT_FALSE(a.HasHeard("reign 4"));
}

TEST_F(KeeperTest, WhoIsBehindWaitsAndSaysWhy) {
  Record(3, At(9));
  Node a(&server_, 'a', kHistory);
  ASSERT_TRUE(IsAnnounced('a'));
  Node other(&server_, 'b', {.cluster_id = "c", .epoch = 2, .positions = At(9), .replicated = {}});
  ASSERT_TRUE(IsAnnounced('b'));
  Node third(&server_, 'd', {.cluster_id = "x", .epoch = 3, .positions = At(9), .replicated = {}});
  ASSERT_TRUE(IsAnnounced('d'));
  EXPECT_TRUE(a.Says("app.db is at 0000000000000007"));
  EXPECT_TRUE(other.Says("a reign of epoch 3 has been"));
  EXPECT_TRUE(third.Says("this node is of cluster x"));
  Record(3, At(7));
  EXPECT_TRUE(a.Hears("reign 4"));  // it was the positions alone
}

TEST_F(KeeperTest, ForceReignsAndSaysWhatIsAbandoned) {
  Record(5, At(9));
  Node a(&server_, 'a', kHistory);
  ASSERT_TRUE(IsAnnounced('a'));
  a.keeper->Want(/*force=*/true);
  ASSERT_TRUE(a.Hears("reign 6"));
  const std::vector<std::string> abandoned = a.keeper->Status().abandoned;
  ASSERT_EQ(abandoned.size(), 1u);
  EXPECT_THAT(abandoned[0], HasSubstr("app.db is at 0000000000000007"));
  EXPECT_THAT(abandoned[0], HasSubstr("0000000000000009"));
}

TEST_F(KeeperTest, WhoHasMoreGoesFirst) {
  Record(3, At(5));
  {
    MutexLock lock(server_.mu);
    server_.candidates[IdOf('b')] = {.node = {.node_id = IdOf('b'), .cluster_id = "c", .epoch = 3},
                                     .positions = At(8)};
  }
  Node a(&server_, 'a', kHistory);
  Node b(&server_, 'b', {.cluster_id = "c", .epoch = 3, .positions = At(8), .replicated = {}});
  EXPECT_TRUE(b.Hears("reign 4"));
  EXPECT_TRUE(a.Hears("owner b 4"));
}

TEST_F(KeeperTest, WhoHasMoreAndDoesNotTakeItIsWaitedForOnlyAMoment) {
  Record(3, At(5));
  {
    MutexLock lock(server_.mu);
    server_.candidates[IdOf('b')] = {.node = {.node_id = IdOf('b'), .cluster_id = "c", .epoch = 3},
                                     .positions = At(8)};
  }
  Node a(&server_, 'a', kHistory);
  ASSERT_TRUE(IsAnnounced('a'));
  ASSERT_TRUE(a.Says(fmt::format("node {} has more", IdOf('b'))));
  EXPECT_FALSE(a.HasHeard("reign 4"));
  a.clock.Advance(milliseconds(500));
  EXPECT_TRUE(a.Hears("reign 4"));
}

TEST_F(KeeperTest, AppsMayWriteFromBeginToTheDeadline) {
  Record(3, At(7));
  Node a(&server_, 'a', kHistory);
  const BootTime granted = a.clock.Boot();
  ASSERT_TRUE(a.Hears("reign 4"));
  EXPECT_FALSE(a.keeper->Begin(3));
  EXPECT_FALSE(a.keeper->Status().writes);
  ASSERT_TRUE(a.keeper->Begin(4));
  EXPECT_TRUE(a.DeadlineIs(granted + SafeTime(kTtl)));
  a.clock.Advance(kTtl / 3);
  a.keeper->Refresh();
  EXPECT_TRUE(a.DeadlineIs(granted + kTtl / 3 + SafeTime(kTtl)));
  a.keeper->Fence();
  EXPECT_TRUE(a.DeadlineIs(BootTime(0)));
  // Renewals go on behind the fence, and do not lift it.
  a.clock.Advance(kTtl / 3);
  a.keeper->Refresh();
  ASSERT_TRUE(a.keeper->Begin(4));
  EXPECT_TRUE(a.DeadlineIs(granted + kTtl / 3 * 2 + SafeTime(kTtl)));
}

TEST_F(KeeperTest, ServerThatIsAwayEndsTheReignAtTheDeadlineAndNotBefore) {
  Record(3, At(7));
  Node a(&server_, 'a', kHistory);
  a.Reign(4);
  SetAway(true);
  a.clock.Advance(SafeTime(kTtl) - milliseconds(1));
  a.keeper->Refresh();
  ASSERT_TRUE(a.Says("away"));
  EXPECT_TRUE(a.keeper->Status().writes);
  a.clock.Advance(milliseconds(1));
  EXPECT_TRUE(a.DeadlineIs(BootTime(0)));
  EXPECT_TRUE(a.Becomes([](const KeeperStatus& status) { return !status.holds; }));
  EXPECT_EQ(a.keeper->Status().times_lost, 1u);
  SetAway(false);  // nobody has taken it: it is still this node's
  EXPECT_TRUE(a.Becomes([](const KeeperStatus& status) { return status.holds; }));
}

TEST_F(KeeperTest, ReignThatWasTakenAwayEndsAtTheNextRenewal) {
  Record(3, At(7));
  Node a(&server_, 'a', kHistory);
  a.Reign(4);
  GiveTo('b', 5);
  a.clock.Advance(kTtl / 3);
  a.keeper->Refresh();
  EXPECT_TRUE(a.Hears("owner b 5"));
  EXPECT_TRUE(a.DeadlineIs(BootTime(0)));
  const KeeperStatus status = a.keeper->Status();
  EXPECT_FALSE(status.holds || status.writes);
  EXPECT_EQ(status.times_lost, 1u);
}

TEST_F(KeeperTest, NotesWhatWouldSurvive) {
  Record(3, At(5));
  Node a(&server_, 'a', {.cluster_id = "c", .epoch = 3, .positions = At(9), .replicated = At(8)});
  a.Reign(4);
  a.clock.Advance(kTtl / 3);
  a.keeper->Refresh();
  EXPECT_TRUE(Sees([](FakeLeaseServer& server)
                       NO_THREAD_SAFETY_ANALYSIS { return server.record.positions.sum == 8; }));
}

TEST_F(KeeperTest, WishOfACandidateIsTold) {
  Record(3, At(7));
  Node a(&server_, 'a', kHistory);
  a.Reign(4);
  Node b(&server_, 'b', kHistory);
  ASSERT_TRUE(b.Hears("owner a 4"));
  b.keeper->Want(/*force=*/false);
  ASSERT_TRUE(Sees([](FakeLeaseServer& server)
                       NO_THREAD_SAFETY_ANALYSIS { return server.candidates[IdOf('b')].wants; }));
  a.keeper->Refresh();
  EXPECT_TRUE(a.Hears("wish b"));
}

TEST_F(KeeperTest, HandOverEndsOneReignAndBeginsAnother) {
  Record(3, At(7));
  Node a(&server_, 'a', kHistory);
  a.Reign(4);
  Node b(&server_, 'b', {.cluster_id = "c", .epoch = 4, .positions = At(8), .replicated = At(8)});
  ASSERT_TRUE(IsAnnounced('b'));
  a.keeper->Fence();
  std::atomic<int> outcome = -1;
  a.keeper->HandOver(a.keeper->Status().epoch, IdOf('d'), At(8), [&](const absl::Status& status) {
    outcome = absl::IsFailedPrecondition(status) ? 1 : 2;
  });
  while (outcome == -1) std::this_thread::yield();
  EXPECT_EQ(outcome, 1);  // there is no such candidate, and nothing has changed
  EXPECT_TRUE(a.keeper->Status().holds);
  outcome = -1;
  a.keeper->HandOver(3, IdOf('b'), At(8), [&](const absl::Status& status) {
    outcome = absl::IsFailedPrecondition(status) ? 1 : 2;
  });
  while (outcome == -1) std::this_thread::yield();
  EXPECT_EQ(outcome, 1) << "of another reign: the candidate has not followed this one";
  EXPECT_TRUE(a.keeper->Status().holds);
  outcome = -1;
  a.keeper->HandOver(a.keeper->Status().epoch, IdOf('b'), At(8),
                     [&](const absl::Status& status) { outcome = status.ok() ? 1 : 2; });
  b.Reign(5);
  EXPECT_TRUE(a.Hears("owner b 5"));
  EXPECT_EQ(outcome, 1);
  EXPECT_FALSE(a.keeper->Status().holds);
  EXPECT_EQ(a.keeper->Status().times_lost, 0u);
}

TEST_F(KeeperTest, WhoGivesBackLetsOthersTryForATimeToLive) {
  Record(3, At(7));
  Node a(&server_, 'a', kHistory);
  ASSERT_TRUE(a.Hears("reign 4"));
  a.keeper->GiveBack("the databases do not open");
  ASSERT_TRUE(Sees([](FakeLeaseServer& server)
                       NO_THREAD_SAFETY_ANALYSIS { return !server.owner.has_value(); }));
  // All of it is done when the next in the queue is answered: the clock must not go before.
  std::atomic<bool> answered = false;
  a.keeper->HandOver(a.keeper->Status().epoch, IdOf('d'), At(7),
                     [&](const absl::Status&) { answered = true; });
  while (!answered) std::this_thread::yield();
  EXPECT_FALSE(a.HasHeard("reign 5"));
  a.Stand({.cluster_id = "c", .epoch = 4, .positions = At(7), .replicated = At(7)});
  a.clock.Advance(kTtl);
  EXPECT_TRUE(a.Hears("reign 5"));
}

TEST_F(KeeperTest, StopReleasesWithThePositionsThatWereReached) {
  Record(3, At(7));
  Node a(&server_, 'a', kHistory);
  a.Reign(4);
  a.keeper->Fence();
  a.keeper->Stop(At(12));
  MutexLock lock(server_.mu);
  EXPECT_FALSE(server_.owner.has_value());
  EXPECT_EQ(server_.record.positions.sum, 12u);
  EXPECT_TRUE(server_.candidates.empty());
}

TEST_F(KeeperTest, WhoIsNoCandidateFollows) {
  Record(3, At(7));
  Node a(&server_, 'a', kHistory, /*candidate=*/false);
  GiveTo('b', 4);
  EXPECT_TRUE(a.Hears("owner b 4"));
  MutexLock lock(server_.mu);
  EXPECT_TRUE(server_.candidates.empty());
}

}  // namespace
}  // namespace litefs::lease
