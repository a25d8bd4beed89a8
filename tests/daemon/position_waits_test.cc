#include "daemon/position_waits.h"

#include <gtest/gtest.h>

#include <vector>

namespace litefs {
namespace {

TEST(PositionWaits, WakesThoseWhoseTransactionIsThere) {
  PositionWaits waits;
  std::vector<int> woken;
  const auto add = [&](const char* database, ltx::TxId txid, int who) {
    return waits.Add(database, txid, [&woken, who] { woken.push_back(who); });
  };
  add("a.db", 5, 1);
  add("a.db", 6, 2);
  add("b.db", 5, 3);
  const uint64_t gone = add("a.db", 4, 4);
  EXPECT_TRUE(waits.Remove(gone));
  waits.Moved("a.db", 5);
  EXPECT_EQ(woken, std::vector<int>({1}));
  EXPECT_FALSE(waits.Remove(gone));
  waits.Moved("a.db", 5);
  EXPECT_EQ(woken, std::vector<int>({1})) << "once";
  waits.Moved("a.db", 9);
  EXPECT_EQ(woken, std::vector<int>({1, 2}));
  EXPECT_EQ(waits.size(), 1u);
  waits.WakeAll();
  EXPECT_EQ(woken, std::vector<int>({1, 2, 3}));
  EXPECT_EQ(waits.size(), 0u);
}

// Who looks and finds that it is not so after all waits again.
TEST(PositionWaits, WhoIsWokenMayWaitAgain) {
  PositionWaits waits;
  int woken = 0;
  waits.Add("a.db", 1, [&] {
    ++woken;
    waits.Add("a.db", 2, [&] { ++woken; });
  });
  waits.Moved("a.db", 1);
  EXPECT_EQ(woken, 1);
  waits.Moved("a.db", 2);
  EXPECT_EQ(woken, 2);
}

}  // namespace
}  // namespace litefs
