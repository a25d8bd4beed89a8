// How far behind a replica says that it is, against what the test knows.

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>

#include "daemon/replication/clock_offset.h"
#include "daemon/replication/lag_table.h"
#include "tests/support/replication_nodes.h"

namespace litefs::replication {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

constexpr uint64_t kStartMs = 1'700'000'000'000;

class ManualClock final : public Clock {
 public:
  int64_t WallMs() const override { return kStartMs + ms_; }
  nanoseconds Boot() const override { return milliseconds(1'000'000 + ms_); }
  void Advance(int64_t ms) { ms_ += ms; }

 private:
  std::atomic<int64_t> ms_{0};
};

// ---- ClockOffset ----

TEST(ClockOffset, IsTheHalfOfARoundTripAtWorst) {
  ClockOffset clock;
  EXPECT_FALSE(clock.offset_us().has_value());
  // Theirs is 1 h ahead; 30 ms there, 10 ms of work, 10 ms back.
  const int64_t hour = 3'600'000'000;
  clock.Add(1'000'000, hour + 1'030'000, hour + 1'040'000, 1'050'000);
  ASSERT_TRUE(clock.offset_us().has_value());
  EXPECT_LE(std::abs(*clock.offset_us() - hour), clock.error_us());
  EXPECT_EQ(*clock.offset_us() - hour, 10'000);
}

TEST(ClockOffset, BelievesTheShortestRoundTrip) {
  ClockOffset clock;
  clock.Add(0, 500'000 + 7'000, 500'000 + 7'000, 7'500);
  for (int64_t t = 10'000'000; t < 17'000'000; t += 1'000'000) {
    clock.Add(t, t + 500'000 + 900'000, t + 500'000 + 900'000, t + 950'000);
  }
  EXPECT_NEAR(static_cast<double>(*clock.offset_us()), 503'250, 1);
}

TEST(ClockOffset, FollowsAClockThatIsSet) {
  ClockOffset clock;
  clock.Add(0, 1000, 1000, 2000);
  clock.Add(1'000'000, 61'001'000, 61'001'000, 1'002'000);
  EXPECT_EQ(60'000'000, *clock.offset_us());
}

TEST(ClockOffset, IgnoresWhatCannotBe) {
  ClockOffset clock;
  clock.Add(10'000, 5, 6, 9'000);         // heard before it was sent
  clock.Add(0, 900'000, 1, 1'000'000);    // answered before it came
  clock.Add(0, 100'000, 900'000, 1'000);  // answered for longer than it took
  EXPECT_FALSE(clock.offset_us().has_value());
}

// ---- LagTable ----

class LagTableTest : public testing::Test {
 protected:
  LagTableTest() : lag_(&clock_) {
    const uint64_t us = kStartMs * 1000;
    const auto boot = static_cast<uint64_t>(clock_.Boot() / std::chrono::microseconds(1));
    lag_.Add(Pong{boot, us, us});
  }
  void File(ltx::TxId txid, int64_t committed_ms, uint64_t size = 100) {
    end_bytes_ += size;
    lag_.Learn("a.db", {txid, txid, txid - 1, txid, size},
               kStartMs + static_cast<uint64_t>(committed_ms), end_bytes_);
  }
  LagTable::Lag At(ltx::TxId txid) { return *lag_.Of("a.db", {txid, txid}); }

  ManualClock clock_;
  LagTable lag_;
  uint64_t end_bytes_ = 0;
};

TEST_F(LagTableTest, CountsFromTheFirstTransactionThatIsMissing) {
  for (ltx::TxId txid = 1; txid <= 10; ++txid) File(txid, static_cast<int64_t>(txid) * 100);
  clock_.Advance(5000);
  EXPECT_EQ(0u, At(10).transactions);
  EXPECT_EQ(0u, *At(10).time_ms);
  EXPECT_EQ(0u, *At(10).bytes);
}

TEST_F(LagTableTest, MeasuresTransactionsBytesAndTime) {
  for (ltx::TxId txid = 1; txid <= 10; ++txid) File(txid, static_cast<int64_t>(txid) * 100);
  clock_.Advance(5000);
  EXPECT_EQ(7u, At(3).transactions);
  EXPECT_EQ(700u, *At(3).bytes);
  EXPECT_EQ(5000u - 400u, *At(3).time_ms);
  clock_.Advance(1000);
  EXPECT_EQ(6000u - 900u, *At(8).time_ms);
}

TEST_F(LagTableTest, ATipThatIsOnlyAnnouncedCounts) {
  File(1, 100);
  lag_.Learn(ChainTip{"a.db", {5, 5}, kStartMs + 200, 900});
  clock_.Advance(1200);
  EXPECT_EQ(4u, At(1).transactions);
  EXPECT_EQ(800u, *At(1).bytes);
  EXPECT_EQ(1000u, *At(1).time_ms);
}

TEST_F(LagTableTest, ADatabaseThatWasIdleForLongIsNotBehindForLong) {
  File(1, 0);
  clock_.Advance(1'000'000);
  File(2, 999'990);
  EXPECT_EQ(10u, *At(1).time_ms);
}

TEST_F(LagTableTest, AnotherBranchIsBehind) {
  File(1, 0);
  File(2, 0);
  EXPECT_EQ(1u, lag_.Of("a.db", {2, 77})->transactions);
  EXPECT_EQ(1u, lag_.Of("a.db", {3, 77})->transactions);
}

TEST_F(LagTableTest, WhatIsNotKnownIsNotZero) {
  LagTable fresh(&clock_);
  EXPECT_FALSE(fresh.Of("a.db", {}).has_value());
  EXPECT_FALSE(fresh.OfNode({}).time_ms.has_value());
  fresh.Learn(ChainTip{"a.db", {5, 5}, kStartMs, 900});
  EXPECT_EQ(4u, fresh.Of("a.db", {1, 1})->transactions);
  EXPECT_FALSE(fresh.Of("a.db", {1, 1})->time_ms.has_value());  // no clock
  EXPECT_FALSE(fresh.Of("a.db", {1, 1})->bytes.has_value());    // no file
}

TEST_F(LagTableTest, SilenceCounts) {
  File(1, 0);
  const std::vector<DatabaseState> here = {{"a.db", {1, 1}}};
  lag_.SetAsOf(kStartMs);
  clock_.Advance(1000);  // a beacon's time
  EXPECT_EQ(0u, *lag_.OfNode(here).time_ms);
  EXPECT_EQ(1000u, *lag_.OfNode(here).heard_ms);
  clock_.Advance(9000);
  EXPECT_EQ(10'000u, *lag_.OfNode(here).time_ms);
  lag_.SetAsOf(kStartMs + 10'000);
  EXPECT_EQ(0u, *lag_.OfNode(here).time_ms);
}

TEST_F(LagTableTest, ForOthersItIsAsOldAsWhatIsMissing) {
  File(1, 0);
  File(2, 500);
  lag_.SetAsOf(kStartMs + 2000);
  EXPECT_EQ(kStartMs + 2000, lag_.AsOfMs({{"a.db", {2, 2}}}));
  EXPECT_EQ(kStartMs + 500, lag_.AsOfMs({{"a.db", {1, 1}}}));
}

TEST_F(LagTableTest, IsBoundedAndStaysTrueForALongBacklog) {
  constexpr ltx::TxId kFiles = 100'000;
  for (ltx::TxId txid = 1; txid <= kFiles; ++txid) File(txid, static_cast<int64_t>(txid));
  clock_.Advance(kFiles + 1000);
  EXPECT_EQ(kFiles - 10, At(10).transactions);
  EXPECT_GE(*At(10).bytes, (kFiles - 10) * 100);
  EXPECT_LE(*At(10).bytes, kFiles * 100);  // never less than the truth
  EXPECT_NEAR(static_cast<double>(kFiles + 1000 - 11), static_cast<double>(*At(10).time_ms), 11);
  // What came last is known exactly.
  EXPECT_EQ(1000u, *At(kFiles - 1).time_ms);
}

// ---- Of real sockets ----

class OffsetClock final : public Clock {
 public:
  explicit OffsetClock(int64_t ms) : ms_(ms) {}
  int64_t WallMs() const override { return SystemClock().WallMs() + ms_; }
  nanoseconds Boot() const override { return SystemClock().Boot() + milliseconds(3 * ms_); }

 private:
  const int64_t ms_;
};

int64_t NowMs() { return SystemClock().Boot() / milliseconds(1); }

// The machine's own delays are in what the test knows: it reads its clock before and after.
constexpr int64_t kToleranceMs = 50;

TEST(ReplicationLag, IsTrueOfAStoppedSinkAndClocksThatDiffer) {
  const OffsetClock primary_clock(-3'600'000);
  const OffsetClock replica_clock(86'400'000);
  FakeSource source;
  source.set_clock(&primary_clock);
  Primary primary(&source);
  primary.options.clock = &primary_clock;
  primary.Start();
  Replica replica(primary);
  replica.options.clock = &replica_clock;
  replica.Start();
  ASSERT_TRUE(replica.sink.WaitFor("a.db", primary.Commit("a.db")));
  ASSERT_TRUE(replica.WaitForPub());
  LagTable& lag = replica.client->lag();
  const auto node = [&] { return lag.OfNode(replica.sink.States()); };
  ASSERT_TRUE(Eventually([&] { return node().time_ms == uint64_t{0}; }));

  replica.sink.CloseGate();
  const int64_t before = NowMs();
  primary.Commit("a.db", 1000);
  const int64_t after = NowMs();
  ASSERT_TRUE(replica.sink.WaitForReceiver());
  for (int64_t age = 0; age <= 2000; age += 100) {
    ASSERT_TRUE(Eventually([&] { return NowMs() - after >= age; }));
    const int64_t least = NowMs() - after;
    const std::optional<uint64_t> shown = node().time_ms;
    const int64_t most = NowMs() - before;
    ASSERT_TRUE(shown.has_value());
    EXPECT_GE(static_cast<int64_t>(*shown), least - kToleranceMs);
    EXPECT_LE(static_cast<int64_t>(*shown), most + kToleranceMs);
  }
  EXPECT_EQ(1u, node().transactions);
  EXPECT_EQ(1040u, *node().bytes);  // the fake file's header and trailer
  replica.sink.OpenGate();
  EXPECT_TRUE(Eventually([&] { return node().time_ms == uint64_t{0}; }));
  EXPECT_EQ(0u, node().transactions);
}

TEST(ReplicationLag, GrowsWhileThePrimaryIsAway) {
  FakeSource source;
  Primary primary(&source);
  Replica replica(primary);
  replica.Start();
  ASSERT_TRUE(replica.sink.WaitFor("a.db", primary.Commit("a.db")));
  const auto node = [&] { return replica.client->lag().OfNode(replica.sink.States()); };
  ASSERT_TRUE(Eventually([&] { return node().time_ms == uint64_t{0}; }));
  const int64_t before = NowMs();
  primary.server->Stop();
  const int64_t after = NowMs();
  ASSERT_TRUE(Eventually([&] { return node().time_ms > uint64_t{2500}; }));
  const auto shown = static_cast<int64_t>(*node().time_ms);
  // Heard last before it stopped, at most a beacon's time ago.
  EXPECT_LE(shown, NowMs() - before + 1000 + kToleranceMs);
  EXPECT_GE(shown, NowMs() - after - kToleranceMs);
  EXPECT_FALSE(replica.client->Status().connected);
  primary.Start();
  EXPECT_TRUE(Eventually([&] { return node().time_ms == uint64_t{0}; }));
}

}  // namespace
}  // namespace litefs::replication
