#include "daemon/replication/halt_table.h"

#include <gtest/gtest.h>

namespace litefs::replication {
namespace {

using std::chrono::milliseconds;
using Time = HaltTable::Time;

constexpr HaltTable::Options kOptions{.ttl = milliseconds(3000),
                                      .max_hold = milliseconds(10'000),
                                      .local_turn = milliseconds(25),
                                      .max_waiting = 3};
constexpr Time kStart = milliseconds(1'000'000);

Time At(int64_t ms) { return kStart + milliseconds(ms); }
HaltTable::Asker Asker(const std::string& session, uint64_t request, int64_t until_ms = 5000) {
  return {session, request, At(until_ms)};
}

TEST(HaltTable, GrantsInTheOrderOfAsking) {
  HaltTable table(kOptions);
  EXPECT_EQ(table.Next("a.db", At(0)), nullptr);
  ASSERT_TRUE(table.Ask("a.db", Asker("one", 1)));
  ASSERT_TRUE(table.Ask("a.db", Asker("two", 7)));
  ASSERT_NE(table.Next("a.db", At(0)), nullptr);
  EXPECT_EQ(*table.Next("a.db", At(0)), Asker("one", 1));
  const uint64_t first = table.Grant("a.db", At(0)).id;
  EXPECT_EQ(table.Next("a.db", At(0)), nullptr) << "held";
  EXPECT_TRUE(table.HasWaiting("a.db"));
  EXPECT_NE(table.Find("a.db", first, "one"), nullptr);
  EXPECT_EQ(table.Find("a.db", first, "two"), nullptr) << "another session's";
  EXPECT_EQ(table.Find("a.db", first + 1, "one"), nullptr);
  EXPECT_EQ(table.DatabaseOf(first), "a.db");
  table.End("a.db", At(10), /*wanted=*/false);
  ASSERT_NE(table.Next("a.db", At(10)), nullptr);
  const uint64_t second = table.Grant("a.db", At(10)).id;
  EXPECT_NE(second, first) << "an id is never used again";
  EXPECT_EQ(table.Find("a.db", first, "one"), nullptr);
  EXPECT_FALSE(table.HasWaiting("a.db"));
  EXPECT_EQ(table.held(), 1U);
}

TEST(HaltTable, KeepsDatabasesApart) {
  HaltTable table(kOptions);
  table.Ask("a.db", Asker("one", 1));
  table.Ask("b.db", Asker("one", 2));
  table.Grant("a.db", At(0));
  EXPECT_NE(table.Next("b.db", At(0)), nullptr);
  table.Grant("b.db", At(0));
  EXPECT_EQ(table.held(), 2U);
  EXPECT_EQ(table.EndSession("one"), (std::vector<std::string>{"a.db", "b.db"}));
}

TEST(HaltTable, EndsALockThatIsNotKept) {
  HaltTable table(kOptions);
  table.Ask("a.db", Asker("one", 1));
  table.Grant("a.db", At(0));
  EXPECT_EQ(table.NextDeadline(), At(3000));
  EXPECT_TRUE(table.Expired(At(2999)).empty());
  EXPECT_EQ(table.Expired(At(3000)).size(), 1U);
  table.Keep(table.Held("a.db"), At(2000));
  EXPECT_TRUE(table.Expired(At(4999)).empty());
  EXPECT_EQ(table.Expired(At(5000)).size(), 1U);
}

TEST(HaltTable, EndsALockThatIsKeptWithoutATransaction) {
  HaltTable table(kOptions);
  table.Ask("a.db", Asker("one", 1));
  table.Grant("a.db", At(0));
  for (int64_t ms = 1000; ms < 10'000; ms += 1000) {
    EXPECT_TRUE(table.Expired(At(ms)).empty()) << ms;
    table.Keep(table.Held("a.db"), At(ms));
  }
  EXPECT_EQ(table.Expired(At(10'000)).size(), 1U);
  table.Used(table.Held("a.db"), At(9999));
  EXPECT_TRUE(table.Expired(At(12'998)).empty());
}

TEST(HaltTable, GivesLocalAppsTheirTurn) {
  HaltTable table(kOptions);
  table.Ask("a.db", Asker("one", 1));
  table.Grant("a.db", At(0));
  table.End("a.db", At(10), /*wanted=*/true);
  table.Ask("a.db", Asker("one", 2));  // who had it asks again at once
  EXPECT_EQ(table.Next("a.db", At(34)), nullptr);
  EXPECT_EQ(table.NextDeadline(), At(35));
  EXPECT_NE(table.Next("a.db", At(35)), nullptr);
  table.Grant("a.db", At(35));
  table.End("a.db", At(40), /*wanted=*/false);
  EXPECT_TRUE(table.Databases().empty()) << "nothing is kept of it";
}

TEST(HaltTable, ForgetsAskersThatWaitNoMore) {
  HaltTable table(kOptions);
  table.Ask("a.db", Asker("one", 1, 100));
  table.Ask("a.db", Asker("two", 1, 200));
  table.Ask("a.db", Asker("three", 1, 300));
  EXPECT_FALSE(table.Ask("a.db", Asker("four", 1, 300))) << "bounded";
  EXPECT_TRUE(table.Tired(At(99)).empty());
  EXPECT_EQ(table.Tired(At(100)), (std::vector<HaltTable::Asker>{Asker("one", 1, 100)}));
  table.Cancel("two", 2);
  EXPECT_EQ(*table.Next("a.db", At(100)), Asker("two", 1, 200));
  table.Cancel("two", 1);
  EXPECT_EQ(*table.Next("a.db", At(100)), Asker("three", 1, 300));
  EXPECT_EQ(table.Dismiss("a.db"), Asker("three", 1, 300));
  EXPECT_TRUE(table.Databases().empty());
  EXPECT_EQ(table.NextDeadline(), Time::max());
}

TEST(HaltTable, ASessionThatEndsHoldsAndWaitsForNothing) {
  HaltTable table(kOptions);
  table.Ask("a.db", Asker("one", 1));
  table.Ask("a.db", Asker("one", 2));
  table.Ask("b.db", Asker("one", 3));
  table.Grant("a.db", At(0));
  EXPECT_EQ(table.EndSession("one"), (std::vector<std::string>{"a.db"}));
  table.End("a.db", At(1), false);
  EXPECT_TRUE(table.Databases().empty());
}

}  // namespace
}  // namespace litefs::replication
