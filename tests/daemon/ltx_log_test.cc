// LtxLog: what it makes of the directories that crashes, disks and people leave, and how files are
// found, pruned and moved.

#include "daemon/db/ltx_log.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "common/posix_io.h"
#include "tests/support/chain_support.h"
#include "tests/support/replica_support.h"

namespace litefs::db {
namespace {

using test::NamesIn;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class LtxLogTest : public testing::Test {
 protected:
  // So many transactions, a file and a second each; the files' positions in ends_.
  void OpenAndWrite(uint32_t transactions) {
    ASSERT_EQ(database_.Open(), "");
    for (uint32_t i = 1; i <= transactions; ++i) {
      database_.clock.wall_ms = 1000 * i;
      database_.Write(i, i);
      ASSERT_TRUE(database_.Commit());
      ends_.push_back(database_.chain().log().tip());
    }
  }
  void MakeChain() {
    OpenAndWrite(4);
    database_.Close();
  }
  void Open() {
    report_.clear();
    auto log = LtxLog::Open(Directory(), &report_);
    ASSERT_TRUE(log.ok()) << log.status();
    log_ = *std::move(log);
  }
  std::string Directory() const { return database_.ltx_directory(); }
  static std::string Name(ltx::TxId txid) { return ltx::FormatFileName(txid, txid); }
  std::string File(ltx::TxId txid) const { return Directory() + "/" + Name(txid); }
  std::vector<ltx::TxId> Transactions() const {
    std::vector<ltx::TxId> found;
    for (ltx::TxId txid = 1; txid <= 9; ++txid) {
      if (std::filesystem::exists(File(txid))) found.push_back(txid);
    }
    return found;
  }

  test::TemporaryDirectory directory_;
  test::StringDatabase database_{directory_.path()};
  std::vector<ltx::Position> ends_;
  std::unique_ptr<LtxLog> log_;
  std::string report_;
};

TEST_F(LtxLogTest, MayBeEmpty) {
  std::filesystem::create_directory(Directory());
  Open();
  EXPECT_EQ(report_, "");
  EXPECT_EQ(log_->tip(), ltx::Position{});
  EXPECT_EQ(log_->file_count(), 0u);
  EXPECT_EQ(log_->size_bytes(), 0u);
  EXPECT_TRUE(absl::IsNotFound(log_->Last().status()));
  EXPECT_TRUE(absl::IsNotFound(log_->FileAfter({}).status()));
  EXPECT_FALSE(log_->FindChecksum(ltx::kEmptyDatabaseChecksum).has_value());
  EXPECT_FALSE(log_->BeginsWithSnapshot());
}

TEST_F(LtxLogTest, IsWhatItWasAfterARestart) {
  MakeChain();
  Open();
  EXPECT_EQ(report_, "");
  EXPECT_EQ(log_->tip(), ends_[3]);
  EXPECT_EQ(log_->file_count(), 4u);
  EXPECT_EQ(log_->size_bytes(), 4 * 4096u);
  EXPECT_TRUE(log_->BeginsWithSnapshot());
  const auto last = log_->Last();
  ASSERT_TRUE(last.ok());
  EXPECT_EQ(last->min_txid, 4u);
  EXPECT_EQ(last->pre_apply, ends_[2].checksum);
  EXPECT_EQ(last->size_bytes, std::filesystem::file_size(File(4)));
  EXPECT_EQ(last->timestamp_ms, 4000);
}

// ---- What lies in the directory

struct Damage {
  const char* name;
  void (*apply)(const std::string& file);
  bool is_there = true;  // still in the directory, to be set aside
};

void Cut(const std::string& file, uintmax_t keep) { std::filesystem::resize_file(file, keep); }
uintmax_t Bytes(const std::string& file) { return std::filesystem::file_size(file); }

const Damage kDamages[] = {
    {"Missing", [](const std::string& file) { std::filesystem::remove(file); }, false},
    {"Empty", [](const std::string& file) { Cut(file, 0); }},
    {"CutInTheHeader", [](const std::string& file) { Cut(file, 99); }},
    {"CutBehindTheHeader", [](const std::string& file) { Cut(file, 100); }},
    {"CutInAPage", [](const std::string& file) { Cut(file, 200); }},
    {"CutBeforeTheTrailer", [](const std::string& file) { Cut(file, Bytes(file) - 16); }},
    {"LastByteMissing", [](const std::string& file) { Cut(file, Bytes(file) - 1); }},
    {"OneByteMore", [](const std::string& file) { Cut(file, Bytes(file) + 1); }},
    {"BadMagic", [](const std::string& file) { test::FlipByte(file, 0); }},
    {"BadHeader", [](const std::string& file) { test::FlipByte(file, 35); }},
    {"BadPage", [](const std::string& file) { test::FlipByte(file, 300); }},
    {"BadPostApply", [](const std::string& file) { test::FlipByte(file, Bytes(file) - 10); }},
    {"BadChecksum", [](const std::string& file) { test::FlipByte(file, Bytes(file) - 1); }},
    {"OnlyZeros",
     [](const std::string& file) {
       test::WriteBytes(file, std::string(static_cast<size_t>(Bytes(file)), '\0'));
     }},
    {"AnothersContent",
     [](const std::string& file) {
       const std::string other =
           std::filesystem::path(file).parent_path() / ltx::FormatFileName(3, 3);
       std::filesystem::copy_file(other, file, std::filesystem::copy_options::overwrite_existing);
     }},
};

class LtxLogDamage : public LtxLogTest, public testing::WithParamInterface<Damage> {
 protected:
  // Damages one file and opens the log: these transactions must be left.
  void ExpectLeft(ltx::TxId damaged, const std::vector<ltx::TxId>& left) {
    GetParam().apply(File(damaged));
    std::map<std::string, std::string> before;
    for (const std::string& name : NamesIn(Directory())) {
      before[name] = test::ReadBytes(Directory() + "/" + name);
    }
    Open();
    EXPECT_EQ(Transactions(), left);
    EXPECT_EQ(log_->file_count(), left.size());
    EXPECT_EQ(log_->tip(), ends_[left.back() - 1]);
    EXPECT_EQ(log_->BeginsWithSnapshot(), left.front() == 1);
    if (GetParam().is_there) {
      EXPECT_THAT(report_, HasSubstr("set aside broken " + File(damaged)));
    }
    // (I2) Nothing is lost.
    for (const auto& [name, bytes] : before) {
      const bool in_chain = std::filesystem::exists(Directory() + "/" + name);
      EXPECT_EQ(test::ReadBytes(Directory() + (in_chain ? "/" : "/set-aside/") + name), bytes);
      EXPECT_EQ(report_.find(name) == std::string::npos, in_chain) << report_;
    }
    // A second look finds nothing more.
    Open();
    EXPECT_EQ(report_, "");
    EXPECT_EQ(Transactions(), left);
  }
};

TEST_P(LtxLogDamage, OfTheLastFileCutsTheChainBack) {
  MakeChain();
  ExpectLeft(4, {1, 2, 3});
}

TEST_P(LtxLogDamage, InTheMiddleLeavesTheEndOfTheChain) {
  MakeChain();
  ExpectLeft(2, {3, 4});
}

TEST_P(LtxLogDamage, OfTheFirstFileLeavesTheOthers) {
  MakeChain();
  ExpectLeft(1, {2, 3, 4});
}

INSTANTIATE_TEST_SUITE_P(All, LtxLogDamage, testing::ValuesIn(kDamages),
                         [](const auto& damage) { return std::string(damage.param.name); });

TEST_F(LtxLogTest, AFileOfAnotherBranchEndsTheChain) {
  MakeChain();
  const std::string other = directory_.path() + "/other";
  test::StringDatabase branch(other);
  ASSERT_EQ(branch.Open(), "");
  for (uint32_t i = 1; i <= 3; ++i) {
    branch.Write(i, i + 100);
    ASSERT_TRUE(branch.Commit());
  }
  std::filesystem::rename(branch.ltx_directory() + "/" + Name(3), File(3));
  Open();
  EXPECT_EQ(Transactions(), (std::vector<ltx::TxId>{4}));
  EXPECT_EQ(log_->tip(), ends_[3]);
  EXPECT_THAT(NamesIn(Directory() + "/set-aside"), ElementsAre(Name(1), Name(2), Name(3)));
}

TEST_F(LtxLogTest, ALeftoverTemporaryFileIsRemovedAndOtherNamesAreLeftAlone) {
  MakeChain();
  Open();
  test::WriteBytes(log_->TemporaryPath(), test::ReadBytes(File(4)).substr(0, 150));
  const std::string upper_case = "000000000000000A-000000000000000A.ltx";
  test::WriteBytes(Directory() + "/" + upper_case, "");
  test::WriteBytes(Directory() + "/notes.txt", "mine");
  Open();
  EXPECT_EQ(report_, "");
  EXPECT_EQ(log_->tip(), ends_[3]);
  EXPECT_FALSE(std::filesystem::exists(log_->TemporaryPath()));
  EXPECT_THAT(NamesIn(Directory()),
              ElementsAre(Name(1), Name(2), Name(3), Name(4), upper_case, "notes.txt"));
}

// That it reaches the disk cannot be seen from here; that a file which is gone is no error, can.
TEST_F(LtxLogTest, SyncsWhatThereIs) {
  MakeChain();
  Open();
  std::filesystem::remove(File(1));
  EXPECT_TRUE(log_->Sync().ok());
  EXPECT_TRUE(log_->Sync().ok());
  std::filesystem::rename(Directory(), Directory() + ".away");
  EXPECT_TRUE(log_->Sync().ok()) << "all of it is synced already";
  ASSERT_TRUE(log_->MoveAway(directory_.path() + "/branch").code() != absl::StatusCode::kOk);
  EXPECT_FALSE(log_->Sync().ok()) << "another chain begins";
  std::filesystem::rename(Directory() + ".away", Directory());
  EXPECT_FALSE(log_->Sync().ok()) << "an error stays";
}

TEST_F(LtxLogTest, AFileThatCannotBeReadIsNoReasonToSetItAside) {
  MakeChain();
  std::filesystem::remove(File(3));
  std::filesystem::create_directory(File(3));  // read() of it fails
  std::string report;
  EXPECT_FALSE(LtxLog::Open(Directory(), &report).ok());
  EXPECT_TRUE(std::filesystem::exists(File(3)));
  EXPECT_THAT(NamesIn(Directory() + "/set-aside"), IsEmpty());
}

// (I2) The same transaction can break twice: the chain goes on with its number after the first.
TEST_F(LtxLogTest, WhatIsSetAsideReplacesNothing) {
  MakeChain();
  test::WriteBytes(File(4), "first");
  Open();
  test::WriteBytes(File(4), "second");
  Open();
  test::WriteBytes(File(4), "third");
  Open();
  std::vector<std::string> kept;
  for (const std::string& name : NamesIn(Directory() + "/set-aside")) {
    kept.push_back(test::ReadBytes(Directory() + "/set-aside/" + name));
  }
  EXPECT_THAT(kept, testing::UnorderedElementsAre("first", "second", "third"));
}

// ---- Finding files

TEST_F(LtxLogTest, FindsTheFileAfterAPosition) {
  MakeChain();
  Open();
  for (ltx::TxId txid = 0; txid < 4; ++txid) {
    const auto file = log_->FileAfter(txid == 0 ? ltx::Position{} : ends_[txid - 1]);
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_EQ(file->min_txid, txid + 1);
    EXPECT_EQ(file->end(), ends_[txid]);
    EXPECT_TRUE(log_->OpenForReading(*file).ok());
  }
  EXPECT_TRUE(absl::IsNotFound(log_->FileAfter(ends_[3]).status()));
}

TEST_F(LtxLogTest, KnowsNoPositionOfAnotherBranch) {
  MakeChain();
  Open();
  const ltx::Position others[] = {{2, ends_[2].checksum},
                                  {4, ends_[2].checksum},
                                  {5, ends_[3].checksum},
                                  {~uint64_t{0}, ends_[3].checksum}};
  for (const ltx::Position& other : others) {
    EXPECT_TRUE(absl::IsOutOfRange(log_->FileAfter(other).status())) << FormatPosition(other);
  }
}

TEST_F(LtxLogTest, KnowsNoPositionInsideAFile) {
  ASSERT_EQ(database_.Open(), "");
  database_.Write(1, 1);
  ASSERT_TRUE(database_.Commit({}, /*transactions=*/3));
  const ltx::Position third = database_.chain().log().tip();
  database_.Write(2, 2);
  ASSERT_TRUE(database_.Commit({}, /*transactions=*/2));
  const LtxLog& log = database_.chain().log();
  EXPECT_EQ(log.tip().txid, 5u);
  EXPECT_EQ(log.FileAfter(third)->min_txid, 4u);
  EXPECT_TRUE(absl::IsOutOfRange(log.FileAfter({2, third.checksum}).status()));
  EXPECT_TRUE(absl::IsOutOfRange(log.FileAfter({4, third.checksum}).status()));
}

// The inode of the file at path; 0: there is none.
ino_t InodeOf(const std::string& path) {
  struct stat st;
  return ::stat(path.c_str(), &st) == 0 ? st.st_ino : 0;
}

// As many as were new since the last time: four, of which two are pruned.
TEST_F(LtxLogTest, UsesPrunedFilesAgain) {
  OpenAndWrite(4);
  LtxLog& log = database_.chain().log();
  const ino_t first = InodeOf(File(1)), second = InodeOf(File(2));
  ASSERT_NE(first, 0u);
  EXPECT_TRUE(log.Prune(2500, ~uint64_t{0}, 4));
  EXPECT_THAT(NamesIn(Directory()), ElementsAre(Name(3), Name(4), "spare-0.tmp", "spare-1.tmp"));
  for (const ino_t inode : {first, second}) {
    log.MakeTemporary();
    log.MakeTemporary();  // it is there: nothing to do
    EXPECT_EQ(InodeOf(log.TemporaryPath()), inode);
    EXPECT_EQ(std::filesystem::file_size(log.TemporaryPath()), 0u);
    database_.Write(9, static_cast<uint32_t>(inode));
    ASSERT_TRUE(database_.Commit());
  }
  EXPECT_EQ(InodeOf(File(5)), first);
  EXPECT_EQ(InodeOf(File(6)), second);
  log.MakeTemporary();  // a new one
  EXPECT_NE(InodeOf(log.TemporaryPath()), 0u);
  const ltx::Position tip = log.tip();
  database_.Close();
  Open();
  EXPECT_EQ(report_, "");
  EXPECT_EQ(log_->tip(), tip);
}

// By a name, or a descriptor: its content stays.
TEST_F(LtxLogTest, UsesNoFileAgainThatSomebodyHas) {
  OpenAndWrite(5);
  LtxLog& log = database_.chain().log();
  const absl::StatusOr<UniqueFd> reader = OpenFile(File(1), O_RDONLY);
  ASSERT_TRUE(reader.ok());
  const std::string before = *ReadWholeFile(File(1), 1 << 20);
  const std::string copy = directory_.path() + "/copy";
  std::filesystem::create_hard_link(File(2), copy);
  const std::string before2 = *ReadWholeFile(copy, 1 << 20);
  EXPECT_TRUE(log.Prune(2500, ~uint64_t{0}, 5));
  EXPECT_THAT(NamesIn(Directory()), ElementsAre(Name(3), Name(4), Name(5)));
  log.MakeTemporary();
  database_.Write(9, 9);
  ASSERT_TRUE(database_.Commit());
  std::string after(before.size() + 1, ' ');
  EXPECT_EQ(::pread(reader->get(), after.data(), after.size(), 0),
            static_cast<ssize_t>(before.size()));
  EXPECT_EQ(after.substr(0, before.size()), before);
  EXPECT_EQ(*ReadWholeFile(copy, 1 << 20), before2);
}

TEST_F(LtxLogTest, KeepsNoSparesThatAreNotNeeded) {
  OpenAndWrite(5);
  LtxLog& log = database_.chain().log();
  EXPECT_TRUE(log.Prune(2500, ~uint64_t{0}, 5));
  EXPECT_TRUE(std::filesystem::exists(Directory() + "/spare-1.tmp"));
  EXPECT_TRUE(log.Prune(3500, ~uint64_t{0}, 5));  // nothing came meanwhile
  EXPECT_THAT(NamesIn(Directory()), ElementsAre(Name(4), Name(5)));
  database_.Write(9, 9);
  ASSERT_TRUE(database_.Commit());
  EXPECT_TRUE(log.Prune(5500, ~uint64_t{0}, 6));
  EXPECT_TRUE(std::filesystem::exists(Directory() + "/spare-2.tmp"));
  database_.Close();
  Open();  // what a daemon leaves goes when the next one starts
  EXPECT_EQ(report_, "");
  for (const std::string& name : NamesIn(Directory())) EXPECT_FALSE(name.starts_with("spare-"));
}

TEST_F(LtxLogTest, APrunedChainDoesNotBeginAtNothing) {
  MakeChain();
  Open();
  EXPECT_TRUE(log_->Prune(2500, ~uint64_t{0}, 4));  // 1 and 2
  EXPECT_FALSE(log_->Prune(2500, ~uint64_t{0}, 4));
  EXPECT_TRUE(absl::IsOutOfRange(log_->FileAfter({}).status()));
  EXPECT_TRUE(absl::IsOutOfRange(log_->FileAfter(ends_[0]).status()));
  EXPECT_EQ(log_->FileAfter(ends_[1])->min_txid, 3u);
  EXPECT_FALSE(log_->BeginsWithSnapshot());
}

TEST_F(LtxLogTest, FindsTheNewestPositionOfAContent) {
  MakeChain();
  database_.Open();
  const std::string file = File(4);
  database_.Write(4, 99);
  ASSERT_TRUE(database_.Commit());
  database_.Write(4, 4);  // as it was after 4
  ASSERT_TRUE(database_.Commit());
  database_.Close();
  Open();
  EXPECT_EQ(log_->FindChecksum(ends_[3].checksum)->txid, 6u);
  EXPECT_EQ(log_->FindChecksum(ends_[1].checksum)->txid, 2u);
  EXPECT_FALSE(log_->FindChecksum(ends_[1].checksum ^ 1).has_value());
  log_->Prune(2500, ~uint64_t{0}, 6);
  EXPECT_EQ(log_->FindChecksum(ends_[1].checksum)->txid, 2u) << "the beginning of what is left";
  EXPECT_FALSE(log_->FindChecksum(ends_[0].checksum).has_value());
}

// ---- Retention

struct Retention {
  const char* name;
  int64_t oldest_ms;
  uint64_t max_bytes;
  ltx::TxId keep_after;
  std::vector<ltx::TxId> left;
};

class LtxLogRetention : public LtxLogTest, public testing::WithParamInterface<Retention> {};

TEST_P(LtxLogRetention, RemovesTheOldestFiles) {
  MakeChain();  // 4 KiB each, at seconds 1 to 4
  Open();
  log_->Prune(GetParam().oldest_ms, GetParam().max_bytes, GetParam().keep_after);
  EXPECT_EQ(Transactions(), GetParam().left);
  EXPECT_EQ(log_->file_count(), GetParam().left.size());
  EXPECT_EQ(log_->size_bytes(), 4096 * GetParam().left.size());
  EXPECT_EQ(log_->tip(), ends_[3]);
  Open();
  EXPECT_EQ(report_, "") << "what is left is a chain";
  EXPECT_EQ(log_->file_count(), GetParam().left.size());
}

constexpr uint64_t kNoLimit = ~uint64_t{0};

INSTANTIATE_TEST_SUITE_P(
    All, LtxLogRetention,
    testing::Values(Retention{"NothingToDo", 0, kNoLimit, 4, {1, 2, 3, 4}},
                    Retention{"AsOldAsAllowed", 1000, kNoLimit, 4, {1, 2, 3, 4}},
                    Retention{"ByAge", 2001, kNoLimit, 4, {3, 4}},
                    Retention{"AllTooOld", 9999, kNoLimit, 4, {4}},
                    Retention{"AsLargeAsAllowed", 0, 4 * 4096, 4, {1, 2, 3, 4}},
                    Retention{"BySize", 0, 4 * 4096 - 1, 4, {2, 3, 4}},
                    Retention{"BySizeToHalf", 0, 2 * 4096, 4, {3, 4}},
                    Retention{"AllTooLarge", 0, 0, 4, {4}},
                    Retention{"WhatIsNotAppliedStays", 9999, 0, 2, {3, 4}},
                    Retention{"NothingIsApplied", 9999, 0, 0, {1, 2, 3, 4}}),
    [](const auto& retention) { return std::string(retention.param.name); });

TEST_F(LtxLogTest, PruningGoesOnPastAFileThatSomebodyRemoved) {
  MakeChain();
  Open();
  std::filesystem::remove(File(1));
  log_->Prune(3500, kNoLimit, 4);
  EXPECT_EQ(Transactions(), (std::vector<ltx::TxId>{4}));
  EXPECT_EQ(log_->file_count(), 1u);
}

// ---- Changing the chain

TEST_F(LtxLogTest, MovesAwayAsAWhole) {
  MakeChain();
  Open();
  const std::string branch = directory_.path() + "/branch";
  ASSERT_TRUE(log_->MoveAway(branch).ok());
  EXPECT_EQ(log_->tip(), ltx::Position{});
  EXPECT_EQ(log_->size_bytes(), 0u);
  EXPECT_EQ(Transactions(), std::vector<ltx::TxId>{});
  EXPECT_THAT(NamesIn(branch), ElementsAre(Name(1), Name(2), Name(3), Name(4)));
  // The next chain begins where its snapshot says.
  std::filesystem::copy_file(branch + "/" + Name(1), log_->TemporaryPath());
  LtxFileRef snapshot{.min_txid = 1, .max_txid = 1, .post_apply = ends_[0].checksum};
  ASSERT_TRUE(log_->Append(log_->TemporaryPath(), snapshot).ok());
  EXPECT_EQ(log_->tip(), ends_[0]);
}

TEST_F(LtxLogTest, AnAppendWithoutItsFileChangesNothing) {
  MakeChain();
  Open();
  const LtxFileRef next{.min_txid = 5, .max_txid = 5, .pre_apply = ends_[3].checksum};
  EXPECT_TRUE(absl::IsNotFound(log_->Append(log_->TemporaryPath(), next)));
  EXPECT_EQ(log_->tip(), ends_[3]);
  EXPECT_EQ(log_->file_count(), 4u);
}

TEST_F(LtxLogTest, IsReadWhileItGrowsAndIsPruned) {
  ASSERT_EQ(database_.Open(), "");
  database_.Write(1, 0);
  ASSERT_TRUE(database_.Commit());
  LtxLog& log = database_.chain().log();
  std::atomic<bool> done = false;
  std::atomic<int> broken = 0;
  std::thread reader([&] {
    ltx::Position at = log.tip();
    while (!done) {
      const auto file = log.FileAfter(at);
      if (file.ok()) {
        if (file->pre_apply != at.checksum || file->min_txid != at.txid + 1) ++broken;
        at = file->end();
      } else if (absl::IsOutOfRange(file.status())) {
        at = log.tip();  // pruned under us
      }
      if (log.size_bytes() != 0 && log.file_count() == 0) ++broken;
    }
  });
  for (uint32_t i = 1; i <= 200; ++i) {
    database_.Write(1, i);
    ASSERT_TRUE(database_.Commit());
    if (i % 10 == 0) log.Prune(0, 5 * 4096, i);
  }
  done = true;
  reader.join();
  EXPECT_EQ(broken, 0);
  EXPECT_EQ(log.file_count(), 5u);
}

}  // namespace
}  // namespace litefs::db
