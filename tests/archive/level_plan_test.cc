// Windows and retention: an archive is run through days by its own plans, and after each step every
// moment that retention promises can still be restored.

#include "daemon/archive/level_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

#include "daemon/archive/restore_plan.h"

namespace litefs::archive {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr int64_t kStart = 1'000'000'000;

// 10 s, 60 s, 300 s; a snapshot every 1000 s.
LevelPolicy Policy() {
  LevelPolicy policy;
  policy.windows = {seconds(10), seconds(60), seconds(300)};
  policy.snapshot_every = seconds(1000);
  policy.retention = {seconds(120), seconds(600), seconds(1800), seconds(4000)};
  policy.snapshot_retention = seconds(5000);
  return policy;
}

class Archive {
 public:
  void Commit(int64_t now) {
    ++txid_;
    Add({.database = "app.db",
         .level = 0,
         .min_txid = txid_,
         .max_txid = txid_,
         .before = txid_ - 1,
         .after = txid_,
         .timestamp_ms = now,
         .epoch = 1,
         .size_bytes = 100});
    times_[txid_] = now;
  }
  // Does what is due at now; returns when to come again.
  std::optional<int64_t> Keep(int64_t now) {
    while (true) {
      const Due due = WhatIsDue(files(), policy_, now);
      for (const Compaction& compaction : due.compactions) Compact(compaction);
      if (!due.compactions.empty()) continue;
      if (due.snapshot) {
        ArchiveFile snapshot = FilesOnLine(files()).back();
        snapshot.level = kSnapshotLevel;
        snapshot.min_txid = 1;
        snapshot.before = 0;
        snapshot.size_bytes = 10'000;
        Add(snapshot);
        continue;
      }
      const Expired expired = WhatHasExpired(files(), policy_, now);
      for (const ArchiveFile& file : expired.files) files_.erase(file.name);
      if (!due.next_ms || !expired.next_ms) return due.next_ms ? due.next_ms : expired.next_ms;
      return std::min(*due.next_ms, *expired.next_ms);
    }
  }
  std::vector<ArchiveFile> files() const {
    std::vector<ArchiveFile> out;
    for (const auto& [name, file] : files_) out.push_back(file);
    return out;
  }
  size_t Count(int level) const {
    size_t count = 0;
    for (const auto& [name, file] : files_) count += file.level == level ? 1 : 0;
    return count;
  }
  ltx::TxId txid() const { return txid_; }
  int64_t TimeOf(ltx::TxId txid) const { return times_.at(txid); }
  const LevelPolicy& policy() const { return policy_; }

 private:
  void Add(ArchiveFile file) {
    file.name = FormatArchiveName(file);
    files_[file.name] = file;
  }
  void Compact(const Compaction& compaction) {
    ArchiveFile result = compaction.inputs.back();
    for (size_t i = 1; i < compaction.inputs.size(); ++i) {
      ASSERT_EQ(compaction.inputs[i].min_txid, compaction.inputs[i - 1].max_txid + 1);
    }
    result.level = compaction.level;
    result.min_txid = compaction.inputs.front().min_txid;
    result.before = compaction.inputs.front().before;
    Add(result);
  }

  const LevelPolicy policy_ = Policy();
  std::map<std::string, ArchiveFile> files_;
  std::map<ltx::TxId, int64_t> times_;
  ltx::TxId txid_ = 0;
};

TEST(LevelPlan, ClosesAWindowWhenItsTimeHasPassed) {
  Archive archive;
  archive.Commit(kStart);  // the snapshot
  archive.Commit(kStart + 1000);
  archive.Commit(kStart + 2000);
  EXPECT_EQ(WhatIsDue(archive.files(), archive.policy(), kStart + 3000).compactions.size(), 0u);
  const Due due = WhatIsDue(archive.files(), archive.policy(), kStart + 13'000);
  ASSERT_EQ(due.compactions.size(), 1u);
  EXPECT_EQ(due.compactions[0].inputs.size(), 2u);
  EXPECT_EQ(due.compactions[0].level, 1);
}

TEST(LevelPlan, SleepsWhenNothingIsLeftToDo) {
  Archive archive;
  archive.Commit(kStart);
  for (int i = 1; i <= 50; ++i) archive.Commit(kStart + i * 1000);
  int64_t now = kStart + 51'000;
  int wakes = 0;
  for (std::optional<int64_t> next = archive.Keep(now); next; next = archive.Keep(now)) {
    ASSERT_GT(*next, now) << "would spin";
    now = *next;
    ASSERT_LT(++wakes, 200) << "never sleeps";
  }
  EXPECT_GE(archive.Count(kSnapshotLevel), 1u);
  const auto plan = PlanRestore(archive.files(), {});
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->txid, archive.txid());
}

// Every promise: within a level's retention, of any moment the state as it was at most a window
// earlier.  (The restored position may be older than that, if nothing was committed in between.)
void ExpectPromises(const Archive& archive, int64_t now) {
  for (ltx::TxId txid = 1; txid <= archive.txid(); ++txid) {
    const int64_t age = now - archive.TimeOf(txid);
    if (age < archive.policy().retention[0].count()) {
      ASSERT_TRUE(PlanRestore(archive.files(), {.txid = txid}).ok()) << txid << " age " << age;
    }
    for (size_t level = 1; level < archive.policy().retention.size(); ++level) {
      if (age >= archive.policy().retention[level].count()) continue;
      const auto plan = PlanRestore(archive.files(), {.timestamp_ms = archive.TimeOf(txid)});
      ASSERT_TRUE(plan.ok()) << txid << " age " << age << ": " << plan.status();
      if (plan->txid == txid) continue;
      ASSERT_LE(archive.TimeOf(txid) - archive.TimeOf(plan->txid + 1),
                archive.policy().windows[level - 1].count())
          << txid << " age " << age << " restored " << plan->txid;
    }
  }
  const auto newest = PlanRestore(archive.files(), {});
  ASSERT_TRUE(newest.ok());
  ASSERT_EQ(newest->txid, archive.txid());
}

TEST(LevelPlan, KeepsWhatRetentionPromisesAndNotMuchMore) {
  std::mt19937_64 random(7);
  Archive archive;
  int64_t now = kStart;
  archive.Commit(now);
  for (int step = 0; step < 1500; ++step) {
    now += static_cast<int64_t>(500 + random() % 20'000);
    if (random() % 50 == 0) now += 400'000;  // a quiet time
    archive.Commit(now);
    archive.Keep(now);
    if (step % 75 == 0) ExpectPromises(archive, now);
    if (testing::Test::HasFatalFailure()) return;
  }
  archive.Keep(now);
  EXPECT_LE(archive.Count(0), 60u);
  EXPECT_LE(archive.Count(1), 120u);
  EXPECT_LE(archive.Count(2), 60u);
  EXPECT_LE(archive.Count(3), 30u);
  EXPECT_LE(archive.Count(kSnapshotLevel), 8u);
}

TEST(LevelPlan, KeepsAHistoryThatWasLeftAsLongAsAnything) {
  Archive archive;
  archive.Commit(kStart);
  std::vector<ArchiveFile> files = archive.files();
  ArchiveFile left = files[0];
  left.min_txid = left.max_txid = 2;
  left.before = 1;
  left.after = 99;
  left.name = FormatArchiveName(left);
  ArchiveFile line = left;
  line.after = 2;
  line.epoch = 2;
  line.name = FormatArchiveName(line);
  files.push_back(left);
  files.push_back(line);
  const int64_t longest = archive.policy().LongestRetention().count();
  EXPECT_TRUE(WhatHasExpired(files, archive.policy(), kStart + longest - 1).files.empty());
  const Expired expired = WhatHasExpired(files, archive.policy(), kStart + longest);
  ASSERT_EQ(expired.files.size(), 1u);
  EXPECT_EQ(expired.files[0].after, 99u);
}

}  // namespace
}  // namespace litefs::archive
