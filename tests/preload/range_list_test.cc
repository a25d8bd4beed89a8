#include "preload/range_list.h"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <string>

namespace litefs::preload {
namespace {

std::string Text(RangeList& list) {
  std::string text;
  for (const ipc::DirtyRange& r : list.ranges()) {
    text += (text.empty() ? "" : " ") + std::to_string(r.offset) + "+" + std::to_string(r.length);
  }
  return text;
}

TEST(RangeList, JoinsAdjacentAndOverlappingRanges) {
  RangeList list;
  list.Add({100, 10});
  list.Add({120, 10});
  EXPECT_EQ(Text(list), "100+10 120+10");
  list.Add({110, 10});
  EXPECT_EQ(Text(list), "100+30");
  list.Add({0, 50});
  list.Add({40, 200});
  EXPECT_EQ(Text(list), "0+240");
  list.Add({10, 5});
  EXPECT_EQ(Text(list), "0+240");
}

TEST(RangeList, KeepsRangesInOrder) {
  RangeList list;
  for (const uint64_t offset : {50, 10, 30}) list.Add({offset, 5});
  EXPECT_EQ(Text(list), "10+5 30+5 50+5");
}

TEST(RangeList, KeepsTheSmallestSizeApart) {
  RangeList list;
  EXPECT_TRUE(list.empty());
  list.AddSize(4096);
  EXPECT_FALSE(list.empty());
  list.Add({0, 4096});
  list.AddSize(0);
  list.AddSize(8192);
  EXPECT_EQ(Text(list), "0+4096 0+0");
  list.Clear();
  EXPECT_TRUE(list.empty());
  EXPECT_EQ(Text(list), "");
}

TEST(RangeList, RefusesOneMoreThanItHolds) {
  RangeList list;
  for (uint64_t i = 0; i < RangeList::kCapacity; ++i) ASSERT_TRUE(list.Add({i * 10, 5}));
  EXPECT_FALSE(list.Add({100000, 5}));
  EXPECT_TRUE(list.Add({5, 5}));  // joins two, so there is room again
  EXPECT_TRUE(list.Add({100000, 5}));
  list.AddSize(1);
  EXPECT_EQ(list.ranges().size(), RangeList::kCapacity + 1);
}

TEST(RangeList, ReportsWhatItCouldNotTakeOver) {
  RangeList full;
  RangeList more;
  for (uint64_t i = 0; i < RangeList::kCapacity; ++i) full.Add({i * 10, 5});
  more.Add({0, 1});
  more.AddSize(7);
  EXPECT_TRUE(full.AddAll(more));
  EXPECT_EQ(full.ranges().back().offset, 7u);
  more.Add({100000, 1});
  EXPECT_FALSE(full.AddAll(more));
}

TEST(RangeList, SaturatesAtTheEndOfTheFile) {
  RangeList list;
  list.Add({~uint64_t{0} - 1, 100});
  list.Add({0, ~uint64_t{0}});
  EXPECT_EQ(list.ranges().size(), 1u);
}

TEST(RangeList, HoldsExactlyTheBytesAdded) {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    RangeList list;
    std::set<uint64_t> expected;
    for (int i = 0; i < 60; ++i) {
      const uint64_t offset = random() % 300;
      const uint64_t length = random() % 12;
      ASSERT_TRUE(list.Add({offset, length}));
      for (uint64_t b = offset; b < offset + length; ++b) expected.insert(b);
    }
    std::set<uint64_t> found;
    uint64_t end = 0;
    for (const ipc::DirtyRange& r : list.ranges()) {
      EXPECT_TRUE(found.empty() || r.offset > end);
      end = r.offset + r.length;
      for (uint64_t b = r.offset; b < end; ++b) found.insert(b);
    }
    EXPECT_EQ(found, expected);
  }
}

}  // namespace
}  // namespace litefs::preload
