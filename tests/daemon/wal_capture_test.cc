// WalCapture against the logs that real SQLite writes in another process.  The oracle is SQLite's
// own view: the content it reports after each commit, and what it recovers from a damaged log.

#include "daemon/db/wal_capture.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>

#include "daemon/sqlite/wal_format.h"
#include "daemon/sqlite/wal_index.h"
#include "tests/support/chain_support.h"
#include "tests/support/child_commands.h"
#include "tests/support/replica_support.h"

namespace litefs::db {
namespace {

using test::Difference;
using test::ReplayedChain;
using test::StockProcess;

// A chain, and the capture of a database's log into it.
class Capturer {
 public:
  Capturer(const std::string& database, const std::string& control)
      : file_(database), control_(control) {
    std::string report;
    auto chain = Chain::Open({.directory = control, .node_id = 7, .clock = &clock_}, &report);
    EXPECT_TRUE(chain.ok()) << chain.status();
    EXPECT_EQ(report, "");
    chain_ = *std::move(chain);
    bool replaced = false;
    EXPECT_TRUE(file_.Refresh(&replaced).ok());
    capture_ = std::make_unique<WalCapture>(database, &file_, chain_.get());
  }

  // The number of files that the call has published, or -1 with a test failure.
  int Poll() {
    lost = false;
    int noted = 0;
    const auto files = capture_->Poll(&lost, [&] { ++noted; });
    EXPECT_TRUE(files.ok()) << files.status();
    if (!files.ok()) return -1;
    EXPECT_EQ(noted, *files);
    return *files;
  }
  std::string Captured() { return ReplayedChain(control_ + "/ltx").AtTip(); }
  ltx::TxId txid() const { return chain_->log().tip().txid; }
  // All pages as of the last captured transaction, or the first error.
  std::string ReadAll() {
    std::string bytes(size_t{chain_->table().size_pages()} * chain_->table().page_bytes(), '\0');
    const size_t page_bytes = chain_->table().page_bytes();
    for (ltx::PageNo pgno = 1; pgno <= chain_->table().size_pages(); ++pgno) {
      const absl::Status status = capture_->ReadPage(
          pgno,
          std::as_writable_bytes(std::span(bytes)).subspan((pgno - 1) * page_bytes, page_bytes));
      if (!status.ok()) return "error: " + status.ToString();
    }
    return bytes;
  }

  WalCapture& capture() { return *capture_; }
  Chain& chain() { return *chain_; }
  bool lost = false;  // what the last Poll said

 private:
  test::FakeClock clock_;
  DatabaseFile file_;
  const std::string control_;
  std::unique_ptr<Chain> chain_;
  std::unique_ptr<WalCapture> capture_;
};

class WalCaptureTest : public testing::Test {
 protected:
  std::string Path(const std::string& name) const { return directory_.path() + "/" + name; }
  std::string Database() const { return Path("app.db"); }
  std::string Wal() const { return Database() + "-wal"; }

  // An app with an empty table in WAL mode, nothing captured yet.
  void StartApp(int page_bytes = 4096) {
    test::WriteBytes(Database(), "");
    app_ = std::make_unique<StockProcess>(Database());
    Run("PRAGMA page_size=" + std::to_string(page_bytes));
    ASSERT_EQ(app_->Run("PRAGMA journal_mode=WAL"), "wal\n");
    Run("PRAGMA wal_autocheckpoint=0");
    Run("CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB)");
  }
  // The app, and the capture of what it has done so far.
  void Start(int page_bytes = 4096) {
    StartApp(page_bytes);
    OpenCapturer();
    ASSERT_EQ(capturer_->Poll(), 1);
  }
  // In place: the app has it mapped.
  void WriteIndexHeader(const std::string& bytes) {
    std::fstream out(Database() + "-shm", std::ios::binary | std::ios::in | std::ios::out);
    out.write(bytes.data(), 2 * sqlite::kWalIndexHeaderBytes);
  }
  void OpenCapturer() {
    capturer_.reset();
    capturer_ = std::make_unique<Capturer>(Database(), Path("control"));
  }
  void Run(const std::string& sql) {
    const std::string answer = app_->Run(sql);
    EXPECT_EQ(answer.find("error"), std::string::npos) << sql << ": " << answer;
  }
  void Insert(int rows, int bytes = 300) {
    Run("WITH RECURSIVE s(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM s WHERE x < " +
        std::to_string(rows) + ") INSERT INTO t(v) SELECT randomblob(" + std::to_string(bytes) +
        ") FROM s");
  }
  // The chain's tip and what ReadPage gives are the app's content.
  void ExpectCaught() {
    const std::string want = app_->Serialize();
    EXPECT_EQ(Difference(capturer_->Captured(), want), "");
    EXPECT_EQ(Difference(capturer_->ReadAll(), want), "");
  }

  test::TemporaryDirectory directory_;
  std::unique_ptr<StockProcess> app_;
  std::unique_ptr<Capturer> capturer_;
};

// ---- Commits

class WalCapturePageSize : public WalCaptureTest, public testing::WithParamInterface<int> {};

TEST_P(WalCapturePageSize, EachCommitIsATransactionWithItsContent) {
  Start(GetParam());
  std::vector<std::string> contents = {app_->Serialize()};
  for (const char* sql : {"CREATE INDEX i ON t(v)", "INSERT INTO t(v) VALUES(zeroblob(200000))",
                          "UPDATE t SET v = randomblob(70000)", "DELETE FROM t", "VACUUM",
                          "CREATE TABLE u AS SELECT randomblob(50000) AS v", "DROP TABLE t"}) {
    Run(sql);
    ASSERT_EQ(capturer_->Poll(), 1) << sql;
    EXPECT_FALSE(capturer_->lost);
    contents.push_back(app_->Serialize());
    EXPECT_EQ(Difference(capturer_->ReadAll(), contents.back()), "") << sql;
  }
  const ReplayedChain replayed(Path("control/ltx"));
  const ltx::TxId first = capturer_->txid() - (contents.size() - 1);
  for (size_t i = 0; i < contents.size(); ++i) {
    EXPECT_EQ(Difference(replayed.At(first + i), contents[i]), "") << "transaction " << i;
  }
  EXPECT_EQ(capturer_->chain().table().page_bytes(), static_cast<uint32_t>(GetParam()));
}

INSTANTIATE_TEST_SUITE_P(All, WalCapturePageSize, testing::Values(512, 4096, 65536));

TEST_F(WalCaptureTest, CommitsFoundTogetherAreOneFileWithATxidEach) {
  Start();
  const ltx::TxId before = capturer_->txid();
  for (int i = 0; i < 3; ++i) Insert(5);
  EXPECT_EQ(capturer_->Poll(), 1);
  EXPECT_EQ(capturer_->txid(), before + 3);
  EXPECT_EQ(capturer_->chain().log().Last()->min_txid, before + 1);
  ExpectCaught();
  EXPECT_EQ(capturer_->Poll(), 0);
}

TEST_F(WalCaptureTest, ACommitThatChangesNoByteIsNoTransaction) {
  Start();
  Run("INSERT INTO t VALUES(1, 'a'), (2, 'b')");
  ASSERT_EQ(capturer_->Poll(), 1);
  const uintmax_t log_bytes = std::filesystem::file_size(Wal());
  Run("BEGIN; UPDATE t SET v = 'c' WHERE id = 2; UPDATE t SET v = 'b' WHERE id = 2; COMMIT");
  ASSERT_GT(std::filesystem::file_size(Wal()), log_bytes) << "SQLite wrote no frame";
  const ltx::TxId before = capturer_->txid();
  EXPECT_EQ(capturer_->Poll(), 0);
  EXPECT_EQ(capturer_->txid(), before);
  Insert(1);
  EXPECT_EQ(capturer_->Poll(), 1);
  ExpectCaught();
}

TEST_F(WalCaptureTest, PagesOfAGrowthThatNobodyWroteAreInTheFile) {
  Start();
  // A page that is freed again in the transaction that made it gets no frame.
  Run("BEGIN");
  Run("INSERT INTO t(v) VALUES(zeroblob(400000))");
  Run("DELETE FROM t");
  Run("COMMIT");
  ASSERT_EQ(capturer_->Poll(), 1);
  ExpectCaught();
}

TEST_F(WalCaptureTest, ALongLogIsTakenInBatches) {
  Start(65536);
  const ltx::TxId before = capturer_->txid();
  for (int i = 0; i < 6; ++i) Run("INSERT INTO t(v) VALUES(zeroblob(5000000))");
  EXPECT_EQ(capturer_->Poll(), 2);  // 4 commits reach 16 MiB
  EXPECT_EQ(capturer_->txid(), before + 6);
  EXPECT_EQ(capturer_->chain().log().Last()->min_txid, before + 5);
  ExpectCaught();
}

// ---- What is not committed

TEST_F(WalCaptureTest, FramesBeyondTheCommitAreNotTaken) {
  Start();
  Insert(200);
  ASSERT_EQ(capturer_->Poll(), 1);
  const std::string committed = capturer_->Captured();
  const uintmax_t log_bytes = std::filesystem::file_size(Wal());
  Run("PRAGMA cache_size=5");
  Run("BEGIN");
  Run("UPDATE t SET v = randomblob(300)");
  ASSERT_GT(std::filesystem::file_size(Wal()), log_bytes + 50000) << "the cache did not spill";
  EXPECT_EQ(capturer_->Poll(), 0);
  EXPECT_EQ(*capturer_->capture().HasUncaptured(), false);
  EXPECT_EQ(Difference(capturer_->ReadAll(), committed), "");
  Run("ROLLBACK");
  EXPECT_EQ(capturer_->Poll(), 0);
  Insert(1);  // overwrites the frames that were rolled back
  EXPECT_EQ(*capturer_->capture().HasUncaptured(), true);
  EXPECT_EQ(capturer_->Poll(), 1);
  ExpectCaught();
}

TEST_F(WalCaptureTest, ALiveWalIndexSaysWhereTheLogEnds) {
  Start();
  Insert(3);
  ASSERT_EQ(capturer_->Poll(), 1);
  // A valid commit frame behind mxFrame: written, and its writer has not published it yet.
  const std::string index = test::ReadBytes(Database() + "-shm");
  Insert(3);
  const std::string published = test::ReadBytes(Database() + "-shm");
  WriteIndexHeader(index);
  EXPECT_EQ(capturer_->Poll(), 0);
  WriteIndexHeader(published);
  EXPECT_EQ(capturer_->Poll(), 1);
  ExpectCaught();
}

// Its sync has failed: SQLite rolls it back, though the frames are there and valid.
TEST_F(WalCaptureTest, WhatTheWalIndexDoesNotHaveAtTheEndOfTheLogEndsWithIt) {
  Start();
  Insert(3);
  ASSERT_EQ(capturer_->Poll(), 1);
  const std::string index = test::ReadBytes(Database() + "-shm");
  Insert(3);
  const std::string published = test::ReadBytes(Database() + "-shm");
  WriteIndexHeader(index);
  ASSERT_EQ(capturer_->Poll(), 0);
  EXPECT_EQ(*capturer_->capture().ExpectEnd(), true);
  WriteIndexHeader(published);  // ours again: the app asks it at the end of this test
  std::filesystem::remove(Database() + "-shm");
  EXPECT_EQ(capturer_->Poll(), 0);
  EXPECT_EQ(*capturer_->capture().HasUncaptured(), false);
  EXPECT_EQ(*capturer_->capture().MayHoldMore(), false);
  // The app dies now: whoever comes next recovers all that is valid.
  capturer_->capture().Reopen();
  EXPECT_EQ(capturer_->Poll(), 1);
  ExpectCaught();
}

TEST_F(WalCaptureTest, WithoutAWalIndexThePagesOfTheLogAreToBeCompared) {
  Start();
  Insert(30);
  ASSERT_EQ(capturer_->Poll(), 1);
  std::filesystem::remove(Database() + "-shm");
  OpenCapturer();  // one that has never seen it, as with locking_mode EXCLUSIVE
  ASSERT_TRUE(capturer_->capture().Resume(/*to_end=*/false).ok());
  EXPECT_EQ(*capturer_->capture().ExpectEnd(), false);
  DirtyRanges ranges;
  capturer_->capture().AddPagesTo(&ranges);
  std::vector<ltx::PageNo> pages;
  ranges.Pages(4096, 1000, &pages);
  EXPECT_GE(pages.size(), 3u);
  EXPECT_FALSE(ranges.everything());
}

// ---- Logs that a crash left

// How a copy of the log is damaged, and how many of the last three commits survive it.
struct Damage {
  const char* name;
  void (*apply)(const std::string& wal, uint64_t last_commit_begins);
  unsigned survivors;
};

constexpr uint64_t kFrameBytes = sqlite::kWalFrameHeaderBytes + 4096;

const Damage kDamages[] = {
    {"None", [](const std::string&, uint64_t) {}, 3},
    {"PageOfTheLastCommit",
     [](const std::string& wal, uint64_t at) { test::FlipByte(wal, at + 99); }, 2},
    {"ChecksumOfTheLastCommit",
     [](const std::string& wal, uint64_t at) { test::FlipByte(wal, at + 16); }, 2},
    {"SaltOfTheLastCommit",
     [](const std::string& wal, uint64_t at) { test::FlipByte(wal, at + 9); }, 2},
    {"CommitMarkOfTheLastFrame",
     [](const std::string& wal, uint64_t) {
       test::FlipByte(wal, std::filesystem::file_size(wal) - kFrameBytes + 7);
     },
     2},
    {"CutInTheLastFrame",
     [](const std::string& wal, uint64_t) {
       std::filesystem::resize_file(wal, std::filesystem::file_size(wal) - 1);
     },
     2},
    {"CutBehindAFrameHeader",
     [](const std::string& wal, uint64_t at) {
       std::filesystem::resize_file(wal, at + sqlite::kWalFrameHeaderBytes);
     },
     2},
    {"CutBeforeTheCommitFrame",
     [](const std::string& wal, uint64_t) {
       std::filesystem::resize_file(wal, std::filesystem::file_size(wal) - kFrameBytes);
     },
     2},
    {"FirstFrameNotSynced",  // zeros where the last commit's first page should be
     [](const std::string& wal, uint64_t at) {
       std::string bytes = test::ReadBytes(wal);
       bytes.replace(at, kFrameBytes, kFrameBytes, '\0');
       test::WriteBytes(wal, bytes);
     },
     2},
    {"ZerosBehindTheEnd",
     [](const std::string& wal, uint64_t) {
       std::filesystem::resize_file(wal, std::filesystem::file_size(wal) + 3 * kFrameBytes);
     },
     3},
    {"TheLastCommitTwice",  // valid frames whose checksums do not continue the chain
     [](const std::string& wal, uint64_t at) {
       const std::string bytes = test::ReadBytes(wal);
       test::WriteBytes(wal, bytes + bytes.substr(at));
     },
     3},
    {"FirstOfThreeCommits",
     [](const std::string& wal, uint64_t) {
       test::FlipByte(wal, sqlite::kWalHeaderBytes + 24 + 7);
     },
     0},
    {"LogHeader", [](const std::string& wal, uint64_t) { test::FlipByte(wal, 17); }, 0},
    {"CutInTheLogHeader",
     [](const std::string& wal, uint64_t) { std::filesystem::resize_file(wal, 31); }, 0},
    {"EmptyLog", [](const std::string& wal, uint64_t) { std::filesystem::resize_file(wal, 0); }, 0},
};

class WalCaptureDamage : public WalCaptureTest, public testing::WithParamInterface<Damage> {
 protected:
  // The files of a machine that lost power: a database and its log, no wal-index.
  void CopyCrash(const std::string& name) {
    std::filesystem::create_directory(Path(name));
    std::filesystem::copy_file(Database(), Path(name + "/app.db"));
    std::filesystem::copy_file(Wal(), Path(name + "/app.db-wal"));
  }
};

TEST_P(WalCaptureDamage, IsReadAsSqliteRecoversIt) {
  StartApp();
  Insert(100);
  Run("PRAGMA wal_checkpoint(TRUNCATE)");
  Insert(20);
  Insert(10);
  const uint64_t last_commit_begins = std::filesystem::file_size(Wal());
  Insert(30);
  ASSERT_GT(std::filesystem::file_size(Wal()), last_commit_begins + 2 * kFrameBytes);
  for (const char* name : {"sqlite", "captured"}) {
    CopyCrash(name);
    GetParam().apply(Path(std::string(name) + "/app.db-wal"), last_commit_begins);
  }

  StockProcess recovered(Path("sqlite/app.db"));
  Capturer capturer(Path("captured/app.db"), Path("captured/control"));
  EXPECT_EQ(capturer.Poll(), GetParam().survivors == 0 ? 0 : 1);
  EXPECT_FALSE(capturer.lost);
  EXPECT_EQ(capturer.txid(), GetParam().survivors);
  EXPECT_EQ(*capturer.capture().HasUncaptured(), false);
  if (GetParam().survivors != 0) {
    EXPECT_EQ(Difference(capturer.Captured(), recovered.Serialize()), "");
  } else {
    EXPECT_EQ(Difference(test::ReadBytes(Path("captured/app.db")), recovered.Serialize()), "");
  }
}

INSTANTIATE_TEST_SUITE_P(All, WalCaptureDamage, testing::ValuesIn(kDamages),
                         [](const auto& damage) { return std::string(damage.param.name); });

// ---- Logs that begin anew

// How the app empties the log.
struct Reset {
  const char* name;
  const char* sql;
};

class WalCaptureReset : public WalCaptureTest, public testing::WithParamInterface<Reset> {};

TEST_P(WalCaptureReset, AnnouncedLosesNothing) {
  Start();
  Insert(50);
  ASSERT_EQ(capturer_->Poll(), 1);
  const std::string captured = capturer_->Captured();
  for (int generation = 0; generation < 3; ++generation) {
    capturer_->capture().ExpectReset();
    Run(GetParam().sql);
    ExpectCaught();  // from the database file if the frames have gone
    EXPECT_EQ(capturer_->Poll(), 0);
    EXPECT_FALSE(capturer_->lost);
    ExpectCaught();
    Insert(2);  // shorter than the log was: the old frames lie behind the new ones
    EXPECT_EQ(capturer_->Poll(), 1);
    EXPECT_FALSE(capturer_->lost);
    ExpectCaught();
    EXPECT_EQ(capturer_->Poll(), 0);
    EXPECT_FALSE(capturer_->lost);
  }
}

TEST_P(WalCaptureReset, UnannouncedIsNoticedOnce) {
  Start();
  Insert(50);
  ASSERT_EQ(capturer_->Poll(), 1);
  Run("UPDATE t SET v = 1 WHERE id = 1");  // never captured: in the database file now
  Run(GetParam().sql);
  Insert(2);
  capturer_->Poll();
  EXPECT_TRUE(capturer_->lost);
  Insert(2);
  EXPECT_EQ(capturer_->Poll(), 1);
  EXPECT_FALSE(capturer_->lost);
}

INSTANTIATE_TEST_SUITE_P(All, WalCaptureReset,
                         testing::Values(Reset{"Restart", "PRAGMA wal_checkpoint(RESTART)"},
                                         Reset{"Truncate", "PRAGMA wal_checkpoint(TRUNCATE)"}),
                         [](const auto& reset) { return std::string(reset.param.name); });

TEST_F(WalCaptureTest, ATruncationWithoutAnnouncementIsNoticedByItself) {
  Start();
  Insert(50);
  ASSERT_EQ(capturer_->Poll(), 1);
  Run("UPDATE t SET v = 1 WHERE id = 1");
  Run("PRAGMA wal_checkpoint(TRUNCATE)");
  EXPECT_EQ(capturer_->Poll(), 0);
  EXPECT_TRUE(capturer_->lost);
  Insert(1);
  EXPECT_EQ(capturer_->Poll(), 1);
  EXPECT_FALSE(capturer_->lost);
}

TEST_F(WalCaptureTest, TheLogOfALaterConnectionIsAnotherLog) {
  Start();
  Insert(50);
  ASSERT_EQ(capturer_->Poll(), 1);
  capturer_->capture().ExpectReset();
  app_.reset();  // the last connection removes the log
  ASSERT_FALSE(std::filesystem::exists(Wal()));
  EXPECT_EQ(capturer_->Poll(), 0);
  EXPECT_FALSE(capturer_->lost);
  app_ = std::make_unique<StockProcess>(Database());
  ExpectCaught();
  Insert(2);
  EXPECT_EQ(capturer_->Poll(), 1);
  EXPECT_FALSE(capturer_->lost);
  ExpectCaught();
}

TEST_F(WalCaptureTest, ALogRemovedWithoutAnnouncementIsNoticed) {
  Start();
  Insert(5);
  ASSERT_EQ(capturer_->Poll(), 1);
  app_.reset();
  EXPECT_EQ(capturer_->Poll(), 0);
  EXPECT_TRUE(capturer_->lost);
  EXPECT_EQ(capturer_->Poll(), 0);
  EXPECT_FALSE(capturer_->lost) << "reported once";
}

TEST_F(WalCaptureTest, ALogThatWasReplacedBetweenTwoLooksIsNoticed) {
  Start();
  Insert(5);
  ASSERT_EQ(capturer_->Poll(), 1);
  app_.reset();
  app_ = std::make_unique<StockProcess>(Database());
  Insert(2);
  EXPECT_EQ(capturer_->Poll(), 1);
  EXPECT_TRUE(capturer_->lost);
}

// ---- A daemon that starts again

TEST_F(WalCaptureTest, ResumeGoesOnBehindTheChainsLastFile) {
  Start();
  Insert(50);
  ASSERT_EQ(capturer_->Poll(), 1);
  const ltx::TxId before = capturer_->txid();
  Insert(3);
  Insert(4);
  OpenCapturer();
  ASSERT_TRUE(capturer_->capture().Resume(/*to_end=*/false).ok());
  EXPECT_EQ(*capturer_->capture().HasUncaptured(), true);
  EXPECT_EQ(capturer_->Poll(), 1);
  EXPECT_FALSE(capturer_->lost);
  EXPECT_EQ(capturer_->txid(), before + 2);
  ExpectCaught();
}

TEST_F(WalCaptureTest, ResumeCapturesNothingOfALogThatTheChainDoesNotKnow) {
  Start();
  Insert(5);
  ASSERT_EQ(capturer_->Poll(), 1);
  const ltx::TxId before = capturer_->txid();
  Run("PRAGMA wal_checkpoint(RESTART)");
  Insert(100);  // longer than the log that the chain knows
  OpenCapturer();
  ASSERT_TRUE(capturer_->capture().Resume(/*to_end=*/false).ok());
  EXPECT_EQ(capturer_->Poll(), 0) << "the frames may be older than the chain";
  EXPECT_EQ(capturer_->txid(), before);
  // The chain's next file says how far the log is known.
  Chain::NewState state;
  capturer_->capture().DescribePosition(&state);
  unsigned frames = 0;
  const std::string checkpoint = app_->Run("PRAGMA wal_checkpoint(PASSIVE)");
  ASSERT_EQ(std::sscanf(checkpoint.c_str(), "0|%u|", &frames), 1) << checkpoint;
  EXPECT_EQ(state.wal_offset, static_cast<int64_t>(sqlite::WalFrameOffset(frames + 1, 4096)));
  EXPECT_NE(state.wal_salt1, 0u);
}

TEST_F(WalCaptureTest, ResumeToTheEndTakesAllFramesAsCaptured) {
  Start();
  Insert(50);
  Insert(3);
  const std::string want = app_->Serialize();
  ASSERT_TRUE(capturer_->capture().Resume(/*to_end=*/true).ok());
  EXPECT_EQ(*capturer_->capture().HasUncaptured(), false);
  EXPECT_EQ(capturer_->capture().size_pages() * 4096u, want.size());
  std::string page(4096, '\0');
  for (ltx::PageNo pgno = 1; pgno <= capturer_->capture().size_pages(); ++pgno) {
    ASSERT_TRUE(capturer_->capture().ReadPage(pgno, std::as_writable_bytes(std::span(page))).ok());
    EXPECT_EQ(Difference(page, want.substr((pgno - 1) * 4096, 4096)), "") << "page " << pgno;
  }
}

TEST_F(WalCaptureTest, ThereMayBeNoLog) {
  StartApp();
  Run("PRAGMA journal_mode=DELETE");
  OpenCapturer();
  ASSERT_TRUE(capturer_->capture().Resume(/*to_end=*/false).ok());
  EXPECT_EQ(capturer_->Poll(), 0);
  EXPECT_FALSE(capturer_->lost);
  EXPECT_EQ(*capturer_->capture().HasUncaptured(), false);
  EXPECT_EQ(capturer_->capture().size_pages(), 0u);
  Chain::NewState state;
  capturer_->capture().DescribePosition(&state);
  EXPECT_EQ(state.wal_offset, 0);
}

}  // namespace
}  // namespace litefs::db
