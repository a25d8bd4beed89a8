// The planner against listings made up here, and against a search through all paths.

#include "daemon/archive/restore_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <random>

namespace litefs::archive {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// A history in which transaction n ends at link n * 1000 + branch.
ArchiveFile File(int level, ltx::TxId min, ltx::TxId max, uint64_t size, uint64_t branch = 0,
                 uint32_t epoch = 1) {
  ArchiveFile file{.database = "app.db",
                   .level = level,
                   .min_txid = min,
                   .max_txid = max,
                   .before = min == 1 ? 0 : (min - 1) * 1000 + branch,
                   .after = max * 1000 + branch,
                   .timestamp_ms = static_cast<int64_t>(max) * 100,
                   .epoch = epoch,
                   .size_bytes = size};
  file.name = FormatArchiveName(file);
  return file;
}

ArchiveFile Bundle(ltx::TxId min, ltx::TxId max, uint64_t size) {
  ArchiveFile file = File(0, min, max, size);
  file.bundle = true;
  file.name = FormatArchiveName(file);
  return file;
}

std::vector<std::string> Ranges(const RestorePlan& plan) {
  std::vector<std::string> out;
  for (const ArchiveFile& file : plan.files) {
    out.push_back(std::to_string(file.level) + ":" + std::to_string(file.min_txid) + "-" +
                  std::to_string(file.max_txid));
  }
  return out;
}

TEST(ArchiveName, IsReadAsItIsWritten) {
  ArchiveFile file = File(3, 0x1a, 0x2b, 0);
  for (const bool bundle : {false, true}) {
    for (const bool encrypted : {false, true}) {
      file.bundle = bundle;
      file.encrypted = encrypted;
      file.name = FormatArchiveName(file);
      const auto parsed = ParseArchiveName(file.name);
      ASSERT_TRUE(parsed.has_value()) << file.name;
      EXPECT_EQ(*parsed, file);
    }
  }
  const auto claim = ParseEpochName(EpochName("app.db", 0x1f));
  ASSERT_TRUE(claim.has_value());
  EXPECT_EQ(claim->epoch, 0x1fu);
  EXPECT_EQ(claim->database, "app.db");
}

TEST(ArchiveName, RefusesWhatItWouldNotWrite) {
  const std::string good = FormatArchiveName(File(0, 2, 3, 0));
  ASSERT_TRUE(ParseArchiveName(good));
  std::string upper = good;
  for (char& c : upper) c = c == 'f' ? 'F' : c;
  const std::string min_above_max = FormatArchiveName(File(0, 9, 3, 0));
  for (const std::string& name :
       {std::string(""), std::string("app.db/0/x.ltx"), good + "x", "a/" + good, min_above_max,
        good.substr(0, good.size() - 1), "app.db/10/" + good.substr(9)}) {
    EXPECT_FALSE(ParseArchiveName(name)) << name;
  }
  EXPECT_FALSE(ParseEpochName("app.db/epochs/1"));
}

TEST(RestorePlan, TakesTheNewestSnapshotAndTheCoarsestLevels) {
  const std::vector<ArchiveFile> files = {
      File(9, 1, 10, 1'000'000), File(9, 1, 100, 1'000'000), File(3, 101, 160, 50'000),
      File(2, 101, 130, 40'000), File(2, 131, 160, 40'000),  File(1, 161, 170, 9'000),
      File(0, 161, 165, 6'000),  File(0, 166, 170, 6'000),   File(0, 171, 171, 1'000)};
  const auto plan = PlanRestore(files, {});
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(Ranges(*plan), ElementsAre("9:1-100", "3:101-160", "1:161-170", "0:171-171"));
  EXPECT_EQ(plan->size_bytes, 1'060'000u);
  const auto middle = PlanRestore(files, {.txid = 165});
  ASSERT_TRUE(middle.ok());
  EXPECT_THAT(Ranges(*middle), ElementsAre("9:1-100", "3:101-160", "0:161-165"));
}

TEST(RestorePlan, StopsInsideABundle) {
  const std::vector<ArchiveFile> files = {File(0, 1, 1, 100), Bundle(2, 9, 800),
                                          File(0, 10, 10, 100)};
  const auto plan = PlanRestore(files, {.txid = 5});
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(Ranges(*plan), ElementsAre("0:1-1", "0:2-9"));
  EXPECT_EQ(plan->stop_txid, 5u);
  const auto at_time = PlanRestore(files, {.timestamp_ms = 550});
  ASSERT_TRUE(at_time.ok());
  EXPECT_THAT(Ranges(*at_time), ElementsAre("0:1-1", "0:2-9"));
  EXPECT_EQ(at_time->stop_ms, 550);
  const auto whole = PlanRestore(files, {.txid = 9});
  ASSERT_TRUE(whole.ok());
  EXPECT_FALSE(whole->stop_txid.has_value());
}

TEST(RestorePlan, SaysWhatTheArchiveHolds) {
  const std::vector<ArchiveFile> files = {File(9, 1, 10, 100), File(1, 11, 20, 100)};
  EXPECT_THAT(PlanRestore(files, {.txid = 15}).status().ToString(),
              HasSubstr("000000000000000a and 0000000000000014"));
  EXPECT_THAT(PlanRestore(files, {.timestamp_ms = 5}).status().ToString(),
              HasSubstr("it begins at"));
  EXPECT_TRUE(absl::IsNotFound(PlanRestore({}, {}).status()));
  EXPECT_TRUE(absl::IsNotFound(PlanRestore(std::vector{File(1, 11, 20, 1)}, {}).status()));
}

TEST(RestorePlan, PrefersTheLineToAHistoryThatWasLeft) {
  // Epoch 1 went on to 14; epoch 2 took over from 12.
  std::vector<ArchiveFile> files = {File(9, 1, 10, 100), File(0, 11, 12, 10), File(0, 13, 13, 10),
                                    File(0, 14, 14, 10)};
  ArchiveFile other = File(0, 13, 13, 10, 7, 2);
  other.before = 12'000;
  files.push_back(other);
  const auto newest = PlanRestore(files, {});
  ASSERT_TRUE(newest.ok());
  EXPECT_EQ(newest->files.back().after, 13'007u);
  const auto thirteen = PlanRestore(files, {.txid = 13});
  ASSERT_TRUE(thirteen.ok());
  EXPECT_EQ(thirteen->files.back().epoch, 2u);
  // Still there for who asks.
  const auto fourteen = PlanRestore(files, {.txid = 14});
  ASSERT_TRUE(fourteen.ok());
  EXPECT_EQ(fourteen->files.back().epoch, 1u);
  const auto before = PlanRestore(files, {.epoch = 1});
  ASSERT_TRUE(before.ok());
  EXPECT_EQ(before->txid, 14u);
  EXPECT_EQ(FilesOnLine(files).size(), 3u);
}

TEST(RestorePlan, ContinuesFromAPosition) {
  const std::vector<ArchiveFile> files = {File(9, 1, 10, 100), File(0, 11, 12, 10),
                                          File(0, 13, 13, 10), File(1, 11, 13, 15)};
  const auto plan = PlanContinuation(files, 10, 10'000);
  ASSERT_TRUE(plan.ok());
  EXPECT_THAT(Ranges(*plan), ElementsAre("1:11-13"));
  EXPECT_THAT(Ranges(*PlanContinuation(files, 12, 12'000)), ElementsAre("0:13-13"));
  EXPECT_TRUE(PlanContinuation(files, 13, 13'000)->files.empty());
  EXPECT_TRUE(absl::IsNotFound(PlanContinuation(files, 12, 99).status()));
}

// The cheapest way to max by trying all.
uint64_t CheapestByHand(const std::vector<ArchiveFile>& files, ltx::TxId txid) {
  std::function<uint64_t(ltx::TxId)> cost = [&](ltx::TxId at) -> uint64_t {
    uint64_t best = ~uint64_t{0};
    for (const ArchiveFile& file : files) {
      if (file.max_txid != at) continue;
      const uint64_t before = file.is_snapshot() ? 0 : cost(file.min_txid - 1);
      if (before == ~uint64_t{0}) continue;
      best = std::min(best, before + file.size_bytes + kRequestCostBytes);
    }
    return best;
  };
  return cost(txid);
}

TEST(RestorePlan, IsTheCheapestOfAllPaths) {
  std::mt19937_64 random(20261124);
  for (int round = 0; round < 300; ++round) {
    std::vector<ArchiveFile> files;
    for (ltx::TxId txid = 1; txid <= 12; ++txid) {
      if (random() % 8 != 0) files.push_back(File(0, txid, txid, random() % 20'000));
    }
    for (int i = 0; i < 8; ++i) {
      const ltx::TxId min = 1 + random() % 12;
      files.push_back(
          File(1 + i % 3, min, std::min<ltx::TxId>(12, min + random() % 6), random() % 40'000));
    }
    std::shuffle(files.begin(), files.end(), random);
    for (ltx::TxId txid = 1; txid <= 12; ++txid) {
      const uint64_t wanted = CheapestByHand(files, txid);
      const auto plan = PlanRestore(files, {.txid = txid});
      ASSERT_EQ(plan.ok(), wanted != ~uint64_t{0}) << round << " " << txid;
      if (!plan.ok()) continue;
      EXPECT_EQ(plan->size_bytes + plan->files.size() * kRequestCostBytes, wanted)
          << round << " " << txid;
    }
  }
}

TEST(RestorePlan, TakesNoMomentFromAStoreWithoutTimes) {
  ArchiveFile file = File(0, 1, 1, 10);
  file.litestream = true;
  file.before = file.after = 0;
  file.timestamp_ms = 0;
  const std::vector<ArchiveFile> files = {file};
  const auto plan = PlanRestore(files, {.timestamp_ms = 5000});
  EXPECT_TRUE(absl::IsFailedPrecondition(plan.status())) << plan.status();
  EXPECT_TRUE(PlanRestore(files, {.txid = 1}).ok());
}

}  // namespace
}  // namespace litefs::archive
