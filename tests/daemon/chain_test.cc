// Chain: how a transaction enters it, and how log and table find together again after a death
// between any two of their writes (I3).  The oracle is the content, recorded after each commit.

#include "daemon/db/chain.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <random>

#include "common/endian.h"
#include "common/sqlite_format.h"
#include "ltx/encoder.h"
#include "ltx/page_checksum.h"
#include "tests/support/chain_support.h"
#include "tests/support/replica_support.h"

namespace litefs::db {
namespace {

using test::Difference;
using test::ReplayedChain;
using testing::HasSubstr;

class ChainTest : public testing::Test {
 protected:
  Chain& chain() { return database_.chain(); }
  // A chain of four transactions; a database of four pages.
  void MakeChain() {
    ASSERT_EQ(database_.Open(), "");
    database_.Resize(4);
    for (ltx::PageNo pgno = 1; pgno <= 4; ++pgno) {
      database_.Write(pgno, pgno);
      ASSERT_TRUE(database_.Commit());
    }
  }
  // The tip is the database's content, by the log, the table, and a replay of the files.
  void ExpectTip(const std::string& base = "") {
    const ReplayedChain replayed(database_.ltx_directory(), base);
    EXPECT_EQ(Difference(replayed.AtTip(), database_.content()), "");
    EXPECT_EQ(replayed.tip(), chain().log().tip());
    EXPECT_EQ(chain().position(), chain().log().tip());
    EXPECT_TRUE(chain().table_valid());
    EXPECT_EQ(chain().table().size_pages(), database_.size_pages());
    EXPECT_EQ(chain().position().checksum,
              test::ContentChecksum(database_.content(), database_.page_bytes()));
  }
  std::vector<ltx::PageNo> LastFilesPages() {
    const auto last = chain().log().Last();
    const std::string bytes = test::ReadBytes(chain().log().PathOf(*last));
    ltx::SpanSource source(bytes);
    ltx::FileInfo info;
    std::vector<ltx::PageNo> pages;
    const auto changes = ChangesOf(source, &info);
    EXPECT_TRUE(changes.ok()) << changes.status();
    for (const PageChange& change : *changes) pages.push_back(change.pgno);
    return pages;
  }

  test::TemporaryDirectory directory_;
  test::StringDatabase database_{directory_.path() + "/app.db"};
};

// ---- Transactions

class ChainHistory : public ChainTest, public testing::WithParamInterface<uint32_t> {};

TEST_P(ChainHistory, ReplaysToTheContentAfterEachTransaction) {
  std::mt19937 random(20261124);
  database_.Restart(GetParam());
  ASSERT_EQ(database_.Open(), "");
  std::map<ltx::TxId, std::string> contents;
  for (int i = 0; i < 60; ++i) {
    const ltx::PageNo pages = 1 + random() % 20;
    if (random() % 3 == 0 || database_.size_pages() == 0) database_.Resize(pages);
    for (unsigned n = random() % 4; n-- > 0;) {
      database_.Write(1 + random() % database_.size_pages(), random());
    }
    if (i % 17 == 16) {  // VACUUM to another page size
      database_.Restart(database_.page_bytes() == 512 ? 1024 : 512);
      database_.Write(pages, random());
    }
    if (i % 10 == 9) {
      EXPECT_EQ(database_.Open(), "");
    }
    database_.Commit({}, 1 + random() % 3);
    contents[chain().log().tip().txid] = database_.content();
  }
  ExpectTip();
  const ReplayedChain replayed(database_.ltx_directory());
  ASSERT_GT(contents.size(), 30u);
  for (const auto& [txid, content] : contents) {
    EXPECT_EQ(Difference(replayed.At(txid), content), "") << "transaction " << txid;
  }
}

INSTANTIATE_TEST_SUITE_P(All, ChainHistory, testing::Values(512, 4096, 65536));

TEST_F(ChainTest, HeaderSaysWhereATransactionComesFrom) {
  MakeChain();
  const ltx::Position before = chain().log().tip();
  database_.clock.wall_ms = 1'234'567;
  database_.Write(2, 20);
  Chain::NewState state = database_.state();
  state.transactions = 3;
  state.wal_offset = 32;
  state.wal_size = 536;
  state.wal_salt1 = 11;
  state.wal_salt2 = 12;
  const ltx::PageNo candidates[] = {2};
  ASSERT_TRUE(*chain().Prepare(candidates, state, database_.reader()));
  ASSERT_TRUE(chain().Publish().ok());
  const ReplayedChain replayed(database_.ltx_directory());
  const ltx::Header& header = replayed.files().at(before.txid + 3).header;
  EXPECT_EQ(header.min_txid, before.txid + 1);
  EXPECT_EQ(header.pre_apply, before.checksum);
  EXPECT_EQ(header.timestamp_ms, 1'234'567);
  EXPECT_EQ(header.node_id, 7u);
  EXPECT_EQ(header.wal_offset, 32);
  EXPECT_EQ(header.wal_size, 536);
  EXPECT_EQ(header.wal_salt1, 11u);
  EXPECT_EQ(header.wal_salt2, 12u);
}

TEST_F(ChainTest, OnlyCandidatesThatDifferAreInTheFile) {
  MakeChain();
  database_.Write(1, 100);
  database_.Write(3, 300);
  ASSERT_TRUE(database_.Commit({1, 2, 3, 4, 5, 900}));  // beyond the size: the page is gone
  EXPECT_EQ(LastFilesPages(), (std::vector<ltx::PageNo>{1, 3}));
  ExpectTip();
}

TEST_F(ChainTest, GrowthIsInTheFileCandidateOrNot) {
  MakeChain();
  database_.Resize(9);
  database_.Write(7, 7);
  ASSERT_TRUE(database_.Commit({7}));
  EXPECT_EQ(LastFilesPages(), (std::vector<ltx::PageNo>{5, 6, 7, 8, 9}));
  ExpectTip();
}

TEST_F(ChainTest, ShrinkingAloneIsATransaction) {
  MakeChain();
  database_.Resize(2);
  ASSERT_TRUE(database_.Commit({1}));
  EXPECT_EQ(LastFilesPages(), std::vector<ltx::PageNo>{});
  ExpectTip();
}

// Of zeros, which compress to next to nothing: what a file takes is what was not compressed.
TEST_F(ChainTest, WhatIsBeyondTheBudgetIsNotCompressed) {
  constexpr uint64_t kBeyond = 100 * 4096;
  ASSERT_EQ(database_.Open(), "");
  database_.Restart(4096);
  database_.Resize((CompressionBudget::kAtOnce + kBeyond) / 4096);
  ASSERT_TRUE(database_.Commit());
  EXPECT_GT(chain().log().Last()->size_bytes, kBeyond);
  EXPECT_LT(chain().log().Last()->size_bytes, kBeyond + CompressionBudget::kAtOnce / 16);
  ExpectTip();

  database_.Resize(database_.size_pages() + 100);  // at the same moment
  ASSERT_TRUE(database_.Commit());
  EXPECT_GT(chain().log().Last()->size_bytes, kBeyond);

  database_.clock.wall_ms += 2 * 1000 * kBeyond / CompressionBudget::kASecond;  // later
  database_.Resize(database_.size_pages() + 100);
  ASSERT_TRUE(database_.Commit());
  EXPECT_LT(chain().log().Last()->size_bytes, kBeyond / 16);
  ExpectTip();
}

TEST_F(ChainTest, NoChangeIsNoTransaction) {
  MakeChain();
  const ltx::Position before = chain().log().tip();
  EXPECT_FALSE(database_.Commit());
  EXPECT_FALSE(chain().prepared());
  EXPECT_EQ(chain().log().tip(), before);
  ExpectTip();
}

// ---- Deletion

TEST_F(ChainTest, ADeletionIsATransactionOfNoPages) {
  MakeChain();
  const ltx::Position before = chain().log().tip();
  EXPECT_FALSE(chain().deleted());
  ASSERT_TRUE(*chain().PrepareDeletion());
  ASSERT_TRUE(chain().Publish().ok());
  EXPECT_TRUE(chain().deleted());
  EXPECT_EQ(chain().log().tip(), (ltx::Position{before.txid + 1, ltx::kEmptyDatabaseChecksum}));
  EXPECT_EQ(chain().position(), chain().log().tip());
  EXPECT_THAT(LastFilesPages(), testing::IsEmpty());
  const ReplayedChain replayed(database_.ltx_directory());
  EXPECT_EQ(replayed.AtTip(), "");
  EXPECT_EQ(replayed.files().at(before.txid + 1).header.commit, 0u);
  EXPECT_EQ(replayed.files().at(before.txid + 1).header.pre_apply, before.checksum);
}

TEST_F(ChainTest, NothingIsDeletedTwiceOrBeforeItWasThere) {
  ASSERT_EQ(database_.Open(), "");
  EXPECT_FALSE(*chain().PrepareDeletion());
  database_.Write(1, 1);
  ASSERT_TRUE(database_.Commit());
  ASSERT_TRUE(*chain().PrepareDeletion());
  ASSERT_TRUE(chain().Publish().ok());
  EXPECT_FALSE(*chain().PrepareDeletion());
}

TEST_F(ChainTest, GoesOnAfterADeletionWithEveryPage) {
  MakeChain();
  for (const uint32_t page_bytes : {512, 1024}) {
    ASSERT_TRUE(*chain().PrepareDeletion());
    ASSERT_TRUE(chain().Publish().ok());
    const ltx::TxId deletion = chain().log().tip().txid;
    database_.Restart(page_bytes);
    database_.Write(3, 33);
    ASSERT_TRUE(database_.Commit({1}));
    EXPECT_EQ(chain().log().tip().txid, deletion + 1);
    EXPECT_THAT(LastFilesPages(), testing::ElementsAre(1, 2, 3));
    ExpectTip();
  }
}

TEST_F(ChainTest, ADeletionSurvivesTheLossOfTheTable) {
  MakeChain();
  ASSERT_TRUE(*chain().PrepareDeletion());
  ASSERT_TRUE(chain().Publish().ok());
  const ltx::Position tip = chain().log().tip();
  database_.Close();
  std::filesystem::remove(database_.table_path());
  EXPECT_EQ(database_.Open(), "");
  EXPECT_TRUE(chain().table_valid());
  EXPECT_EQ(chain().position(), tip);
  EXPECT_TRUE(chain().deleted());
}

TEST_F(ChainTest, AnotherPageSizePutsEveryPageInTheFile) {
  MakeChain();
  database_.Restart(1024);
  database_.Write(3, 3);
  ASSERT_TRUE(database_.Commit({2}));
  EXPECT_EQ(LastFilesPages(), (std::vector<ltx::PageNo>{1, 2, 3}));
  ExpectTip();
  EXPECT_EQ(database_.Open(), "");
  ExpectTip();
}

// ---- Prepare without Publish

TEST_F(ChainTest, APreparedTransactionIsNotInTheChain) {
  MakeChain();
  const ltx::Position before = chain().log().tip();
  database_.Write(1, 100);
  const ltx::PageNo candidates[] = {1};
  ASSERT_TRUE(*chain().Prepare(candidates, database_.state(), database_.reader()));
  EXPECT_TRUE(chain().prepared());
  ASSERT_EQ(chain().prepared_changes().size(), 1u);
  EXPECT_EQ(chain().prepared_changes()[0].pgno, 1u);
  EXPECT_EQ(chain().position(), before);
  chain().Discard();
  EXPECT_FALSE(chain().prepared());
  // The daemon dies instead: the temporary file goes, the table has not moved.
  ASSERT_TRUE(*chain().Prepare(candidates, database_.state(), database_.reader()));
  EXPECT_TRUE(std::filesystem::exists(chain().log().TemporaryPath()));
  EXPECT_EQ(database_.Open(), "");
  EXPECT_FALSE(std::filesystem::exists(chain().log().TemporaryPath()));
  EXPECT_EQ(chain().position(), before);
  EXPECT_EQ(chain().log().tip(), before);
}

TEST_F(ChainTest, TheLastPrepareCounts) {
  MakeChain();
  const ltx::PageNo candidates[] = {1, 2};
  database_.Write(1, 100);
  ASSERT_TRUE(*chain().Prepare(candidates, database_.state(), database_.reader()));
  database_.Write(1, 1);
  database_.Write(2, 200);
  ASSERT_TRUE(*chain().Prepare(candidates, database_.state(), database_.reader()));
  ASSERT_TRUE(chain().Publish().ok());
  EXPECT_EQ(LastFilesPages(), std::vector<ltx::PageNo>{2});
  ExpectTip();
  // One that finds no change leaves nothing prepared either.
  database_.Write(2, 201);
  ASSERT_TRUE(*chain().Prepare(candidates, database_.state(), database_.reader()));
  database_.Write(2, 200);
  ASSERT_FALSE(*chain().Prepare(candidates, database_.state(), database_.reader()));
  EXPECT_FALSE(chain().prepared());
}

TEST_F(ChainTest, APageThatChangesWhileItIsReadStopsThePreparation) {
  MakeChain();
  const ltx::Position before = chain().log().tip();
  database_.Write(1, 100);
  int reads = 0;
  const auto unsteady = [&](ltx::PageNo pgno, std::span<std::byte> page) {
    const absl::Status status = database_.reader()(pgno, page);
    page[0] = static_cast<std::byte>(reads++);
    return status;
  };
  const ltx::PageNo candidates[] = {1};
  EXPECT_TRUE(absl::IsAborted(chain().Prepare(candidates, database_.state(), unsteady).status()));
  EXPECT_FALSE(chain().prepared());
  EXPECT_EQ(chain().position(), before);
  EXPECT_TRUE(database_.Commit());
  ExpectTip();
}

TEST_F(ChainTest, AnErrorOfReadingIsPassedOn) {
  MakeChain();
  database_.Write(3, 300);
  for (int fails_at = 0; fails_at < 2; ++fails_at) {  // comparing, encoding
    int reads = 0;
    const auto broken = [&](ltx::PageNo pgno, std::span<std::byte> page) -> absl::Status {
      if (reads++ == fails_at) return absl::UnknownError("disk");
      return database_.reader()(pgno, page);
    };
    const ltx::PageNo candidates[] = {3};
    const auto prepared = chain().Prepare(candidates, database_.state(), broken);
    EXPECT_EQ(prepared.status().code(), absl::StatusCode::kUnknown) << prepared.status();
    EXPECT_FALSE(chain().prepared());
  }
  EXPECT_TRUE(database_.Commit());
  ExpectTip();
}

// ---- Restart (I3)

struct LastChange {
  const char* name;
  void (*make)(test::StringDatabase& database);
};

const LastChange kLastChanges[] = {
    {"Pages",
     [](test::StringDatabase& database) {
       database.Write(1, 10);
       database.Write(4, 40);
     }},
    {"Growth", [](test::StringDatabase& database) { database.Write(9, 9); }},
    {"Shrinkage",
     [](test::StringDatabase& database) {
       database.Resize(2);
       database.Write(2, 20);
     }},
    {"PageSize",
     [](test::StringDatabase& database) {
       database.Restart(1024);
       database.Write(3, 3);
     }},
};

class ChainRestart : public ChainTest, public testing::WithParamInterface<LastChange> {};

TEST_P(ChainRestart, BringsATableToTheLastFileHoweverMuchOfItWasTaken) {
  MakeChain();
  database_.Close();
  const std::string before = test::ReadBytes(database_.table_path());
  ASSERT_EQ(database_.Open(), "");
  GetParam().make(database_);
  ASSERT_TRUE(database_.Commit());
  database_.Close();
  const std::string after = test::ReadBytes(database_.table_path());
  ASSERT_EQ(before.size(), after.size());
  // The table's writes go: entries that are cut off, shape, entries, transaction.
  const size_t shape = 16;  // magic, page size, size
  const size_t header = 64;
  const std::string headers[] = {before.substr(0, header),
                                 after.substr(0, shape) + before.substr(shape, header - shape),
                                 after.substr(0, header)};
  for (const std::string& torn : headers) {
    for (size_t cut = header; cut <= header + 10 * sizeof(uint64_t); cut += sizeof(uint64_t)) {
      for (const bool new_first : {false, true}) {
        const std::string& first = new_first ? after : before;
        const std::string& second = new_first ? before : after;
        test::WriteBytes(database_.table_path(),
                         torn + first.substr(header, cut - header) + second.substr(cut));
        EXPECT_EQ(database_.Open(), "") << cut;
        ExpectTip();
        ASSERT_FALSE(HasFailure()) << (new_first ? "new to " : "old to ") << cut;
      }
    }
  }
  database_.Write(1, 1000);
  EXPECT_TRUE(database_.Commit());
  ExpectTip();
}

INSTANTIATE_TEST_SUITE_P(All, ChainRestart, testing::ValuesIn(kLastChanges),
                         [](const auto& change) { return std::string(change.param.name); });

// What may have happened to the files while no daemon ran; the table is of no use then.
struct Loss {
  const char* name;
  void (*apply)(test::StringDatabase& database);
  ltx::TxId tip;
};

std::string FileOf(const test::StringDatabase& database, ltx::TxId txid) {
  return database.ltx_directory() + "/" + ltx::FormatFileName(txid, txid);
}

const Loss kLosses[] = {
    {"TableRemoved",
     [](test::StringDatabase& database) { std::filesystem::remove(database.table_path()); }, 4},
    {"TableEmpty",
     [](test::StringDatabase& database) { std::filesystem::resize_file(database.table_path(), 0); },
     4},
    {"TableGarbage",
     [](test::StringDatabase& database) {
       test::WriteBytes(database.table_path(), std::string(5000, 'x'));
     },
     4},
    {"TableEntryLost",  // of a page that the last file does not have
     [](test::StringDatabase& database) { test::FlipByte(database.table_path(), 64 + 1 * 8); }, 4},
    {"LastFileMissing",
     [](test::StringDatabase& database) { std::filesystem::remove(FileOf(database, 4)); }, 3},
    {"LastFileBroken",
     [](test::StringDatabase& database) { test::FlipByte(FileOf(database, 4), 300); }, 3},
    {"LastTwoFilesTruncated",
     [](test::StringDatabase& database) {
       std::filesystem::resize_file(FileOf(database, 4), 300);
       std::filesystem::resize_file(FileOf(database, 3), 0);
     },
     2},
    {"AllFilesMissing",
     [](test::StringDatabase& database) { std::filesystem::remove_all(database.ltx_directory()); },
     0},
};

class ChainLoss : public ChainTest, public testing::WithParamInterface<Loss> {};

TEST_P(ChainLoss, MakesTheNextTransactionHoldEveryPage) {
  MakeChain();
  database_.Close();
  GetParam().apply(database_);
  database_.Open();
  EXPECT_FALSE(chain().table_valid());
  EXPECT_EQ(chain().log().tip().txid, GetParam().tip);
  database_.Write(2, 200);
  ASSERT_TRUE(database_.Commit({2}));
  EXPECT_EQ(LastFilesPages(), (std::vector<ltx::PageNo>{1, 2, 3, 4}));
  EXPECT_EQ(chain().log().tip().txid, GetParam().tip + 1);
  ExpectTip();
  EXPECT_EQ(database_.Open(), "");
  ExpectTip();
}

INSTANTIATE_TEST_SUITE_P(All, ChainLoss, testing::ValuesIn(kLosses),
                         [](const auto& loss) { return std::string(loss.param.name); });

TEST_F(ChainTest, ASnapshotAloneMakesTheTable) {
  MakeChain();
  database_.Close();
  for (ltx::TxId txid = 2; txid <= 4; ++txid) std::filesystem::remove(FileOf(database_, txid));
  EXPECT_EQ(database_.Open(), "");
  EXPECT_TRUE(chain().table_valid());
  EXPECT_EQ(chain().position(), chain().log().tip());
  ASSERT_TRUE(database_.Commit());
  EXPECT_EQ(LastFilesPages(), (std::vector<ltx::PageNo>{2, 3, 4}));
  ExpectTip();
}

TEST_F(ChainTest, ATableTwoFilesBehindIsNotBelieved) {
  MakeChain();
  database_.Close();
  const std::string table = test::ReadBytes(database_.table_path());
  ASSERT_EQ(database_.Open(), "");
  database_.Write(1, 100);
  ASSERT_TRUE(database_.Commit());
  database_.Write(2, 200);
  ASSERT_TRUE(database_.Commit());
  database_.Close();
  test::WriteBytes(database_.table_path(), table);
  EXPECT_THAT(database_.Open(), HasSubstr("the table of page checksums is lost"));
  EXPECT_FALSE(chain().table_valid());
}

TEST_F(ChainTest, AFreshChainNeedsNoReport) {
  EXPECT_EQ(database_.Open(), "");
  EXPECT_TRUE(chain().table_valid());
  EXPECT_EQ(chain().position(), ltx::Position{});
}

// ---- The page of the lock bytes

// A database of 64 KiB pages just below the lock page, without a gibibyte of content: the chain
// begins with a file that changes nothing, and the table is made up.
TEST_F(ChainTest, TheLockPageIsNeverReadNorInTheFile) {
  constexpr uint32_t kPageBytes = 65536;
  constexpr ltx::PageNo kLockPage = sqlite::LockPage(kPageBytes);
  std::vector<ltx::Checksum> checksums(kLockPage - 1);
  ltx::Checksum sum = ltx::kEmptyDatabaseChecksum;
  for (ltx::PageNo pgno = 1; pgno < kLockPage; ++pgno) {
    checksums[pgno - 1] = ltx::kChecksumFlag | pgno;
    sum = ltx::TogglePage(sum, checksums[pgno - 1]);
  }
  ASSERT_EQ(database_.Open(), "");
  std::string base;
  ltx::StringSink sink(&base);
  ltx::Encoder encoder;
  const ltx::Header header{.page_bytes = kPageBytes,
                           .commit = kLockPage - 1,
                           .min_txid = 2,
                           .max_txid = 2,
                           .pre_apply = ltx::kChecksumFlag | 1};
  ASSERT_TRUE(encoder.Begin(&sink, header).ok());
  ASSERT_TRUE(encoder.Finish(sum).ok());
  test::WriteBytes(chain().log().TemporaryPath(), base);
  ASSERT_TRUE(chain()
                  .Accept(chain().log().TemporaryPath(), {.min_txid = 2,
                                                          .max_txid = 2,
                                                          .pre_apply = header.pre_apply,
                                                          .post_apply = sum,
                                                          .size_bytes = base.size()})
                  .ok());
  ASSERT_TRUE(chain().ResetTable(kPageBytes, kLockPage - 1, 2, checksums).ok());
  ASSERT_EQ(chain().position(), chain().log().tip());

  const auto reader = [](ltx::PageNo pgno, std::span<std::byte> page) -> absl::Status {
    if (pgno == kLockPage) return absl::InternalError("the lock page was read");
    StoreBig32(page.data(), pgno);
    std::memset(page.data() + 4, 7, page.size() - 4);
    return absl::OkStatus();
  };
  Chain::NewState state{.page_bytes = kPageBytes, .size_pages = kLockPage + 2};
  const ltx::PageNo candidates[] = {kLockPage};
  const auto grown = chain().Prepare(candidates, state, reader);
  ASSERT_TRUE(grown.ok()) << grown.status();
  ASSERT_TRUE(chain().Publish().ok());
  EXPECT_EQ(LastFilesPages(), (std::vector<ltx::PageNo>{kLockPage + 1, kLockPage + 2}));
  EXPECT_FALSE(*chain().Prepare(candidates, state, reader)) << "a write of lock bytes is no change";
  state.size_pages = kLockPage - 1;
  ASSERT_TRUE(*chain().Prepare({}, state, reader));
  ASSERT_TRUE(chain().Publish().ok());
  EXPECT_EQ(chain().log().tip().checksum, sum) << "the content is what it was";
}

// ---- A replica's way in

TEST_F(ChainTest, AcceptLeavesTheTableToTheOneWhoApplies) {
  MakeChain();
  const std::string primary = database_.ltx_directory();
  std::string report;
  auto replica = Chain::Open(
      {.directory = directory_.path() + "/replica", .clock = &database_.clock, .replica = true},
      &report);
  ASSERT_TRUE(replica.ok()) << replica.status();
  for (ltx::TxId txid = 1; txid <= 4; ++txid) {
    const auto file = *chain().log().FileAfter((*replica)->log().tip());
    const std::string bytes = test::ReadBytes(chain().log().PathOf(file));
    test::WriteBytes((*replica)->log().TemporaryPath(), bytes);
    ASSERT_TRUE((*replica)->Accept((*replica)->log().TemporaryPath(), file).ok());
    EXPECT_EQ((*replica)->position().txid, txid - 1);
    ltx::SpanSource source(bytes);
    ltx::FileInfo info;
    const auto changes = ChangesOf(source, &info);
    ASSERT_TRUE(changes.ok());
    ASSERT_TRUE((*replica)->Applied(*changes, 512, info.header.commit, txid).ok());
    EXPECT_EQ((*replica)->position(), (*replica)->log().tip());
  }
  // After a restart the table is what the caller finds in the database, not what the log says.
  ASSERT_TRUE((*replica)->Applied({}, 512, 1, 1).ok());
  replica->reset();
  replica = Chain::Open(
      {.directory = directory_.path() + "/replica", .clock = &database_.clock, .replica = true},
      &report);
  ASSERT_TRUE(replica.ok());
  EXPECT_EQ((*replica)->position().txid, 1u);
  EXPECT_EQ((*replica)->log().tip(), chain().log().tip());
  EXPECT_EQ(report, "");
}

}  // namespace
}  // namespace litefs::db
