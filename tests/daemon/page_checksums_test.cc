// PageChecksums: the table survives its process, and a file that is none is started anew.

#include "daemon/db/page_checksums.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "ltx/page_checksum.h"
#include "tests/support/chain_support.h"
#include "tests/support/replica_support.h"

namespace litefs::db {
namespace {

constexpr ltx::Checksum kFlag = ltx::kChecksumFlag;

class PageChecksumsTest : public testing::Test {
 protected:
  PageChecksumsTest() { Open(); }
  void Open() {
    table_.reset();
    auto table = PageChecksums::Open(path_);
    ASSERT_TRUE(table.ok()) << table.status();
    table_ = *std::move(table);
  }
  void Resize(uint32_t page_bytes, ltx::PageNo pages) {
    const absl::Status status = table_->Resize(page_bytes, pages);
    ASSERT_TRUE(status.ok()) << status;
  }
  // The header's fields are used up to here; entries follow.
  static constexpr size_t kHeaderBytes = 64;

  test::TemporaryDirectory directory_;
  const std::string path_ = directory_.path() + "/checksums";
  std::unique_ptr<PageChecksums> table_;
};

void ExpectEmpty(const PageChecksums& table) {
  EXPECT_EQ(table.size_pages(), 0u);
  EXPECT_EQ(table.page_bytes(), 0u);
  EXPECT_EQ(table.position(), ltx::Position{});
  EXPECT_EQ(table.Get(1), 0u);
}

TEST_F(PageChecksumsTest, BeginsEmpty) { ExpectEmpty(*table_); }

TEST_F(PageChecksumsTest, TheDatabasesChecksumFollowsThePages) {
  Resize(4096, 3);
  EXPECT_EQ(table_->position().checksum, ltx::kEmptyDatabaseChecksum);
  table_->Set(1, kFlag | 0x01);
  table_->Set(2, kFlag | 0x10);
  table_->Set(3, kFlag | 0x100);
  EXPECT_EQ(table_->position().checksum, kFlag | 0x111);
  table_->Set(2, kFlag | 0x20);
  EXPECT_EQ(table_->position().checksum, kFlag | 0x121);
  EXPECT_EQ(table_->Get(2), kFlag | 0x20);
  table_->Set(2, 0);
  EXPECT_EQ(table_->position().checksum, kFlag | 0x101);
}

TEST_F(PageChecksumsTest, NoPageHasAChecksumBeyondTheSize) {
  Resize(4096, 2);
  table_->Set(2, kFlag | 2);
  EXPECT_EQ(table_->Get(0), 0u);
  EXPECT_EQ(table_->Get(3), 0u);
  EXPECT_EQ(table_->Get(~ltx::PageNo{0}), 0u);
}

TEST_F(PageChecksumsTest, ShrinkingTakesPagesOutForGood) {
  Resize(4096, 4);
  for (ltx::PageNo pgno = 1; pgno <= 4; ++pgno) table_->Set(pgno, kFlag | pgno);
  Resize(4096, 2);
  EXPECT_EQ(table_->position().checksum, kFlag | (1 ^ 2));
  Resize(4096, 4);
  EXPECT_EQ(table_->Get(3), 0u);
  EXPECT_EQ(table_->Get(4), 0u);
  EXPECT_EQ(table_->position().checksum, kFlag | (1 ^ 2));
}

TEST_F(PageChecksumsTest, AnotherPageSizeEmptiesTheTable) {
  Resize(4096, 4);
  for (ltx::PageNo pgno = 1; pgno <= 4; ++pgno) table_->Set(pgno, kFlag | pgno);
  Resize(1024, 3);
  EXPECT_EQ(table_->page_bytes(), 1024u);
  EXPECT_EQ(table_->position().checksum, ltx::kEmptyDatabaseChecksum);
  for (ltx::PageNo pgno = 1; pgno <= 4; ++pgno) EXPECT_EQ(table_->Get(pgno), 0u);
}

TEST_F(PageChecksumsTest, GrowsOverManyMappingsAndKeepsItsEntries) {
  ltx::Checksum sum = ltx::kEmptyDatabaseChecksum;
  ltx::PageNo pgno = 0;
  for (const ltx::PageNo size : {1u, 504u, 505u, 9000u, 9001u, 300000u}) {
    Resize(512, size);
    for (; pgno < size; ++pgno) {
      table_->Set(pgno + 1, kFlag | (uint64_t{pgno} * 0x9e3779b97f4a7c15));
      sum = ltx::TogglePage(sum, table_->Get(pgno + 1));
    }
    EXPECT_EQ(table_->position().checksum, sum);
  }
  table_->SetTxId(77);
  Open();
  EXPECT_EQ(table_->position(), (ltx::Position{77, sum}));
  EXPECT_EQ(table_->size_pages(), 300000u);
  EXPECT_EQ(table_->Get(504), kFlag | (uint64_t{503} * 0x9e3779b97f4a7c15));
  table_->Recompute();
  EXPECT_EQ(table_->position(), (ltx::Position{77, sum}));
}

TEST_F(PageChecksumsTest, ReserveChangesNothing) {
  Resize(512, 2);
  table_->Set(2, kFlag | 2);
  table_->SetTxId(5);
  ASSERT_TRUE(table_->Reserve(1'000'000).ok());
  EXPECT_GE(std::filesystem::file_size(path_), kHeaderBytes + 8'000'000);
  EXPECT_EQ(table_->size_pages(), 2u);
  EXPECT_EQ(table_->position(), (ltx::Position{5, kFlag | 2}));
}

TEST_F(PageChecksumsTest, RecomputeShowsAnEntryThatChangedBehindTheTablesBack) {
  Resize(512, 3);
  table_->Set(1, kFlag | 1);
  table_->Set(3, kFlag | 3);
  table_.reset();
  test::FlipByte(path_, kHeaderBytes + 2 * sizeof(uint64_t));
  Open();
  EXPECT_EQ(table_->position().checksum, kFlag | (1 ^ 3));
  table_->Recompute();
  EXPECT_EQ(table_->position().checksum, kFlag | (1 ^ 3 ^ 0x10));
}

struct Leftover {
  const char* name;
  void (*make)(const std::string& path);
};

class PageChecksumsLeftover : public PageChecksumsTest,
                              public testing::WithParamInterface<Leftover> {};

TEST_P(PageChecksumsLeftover, IsStartedAnew) {
  Resize(512, 3);
  table_->Set(3, kFlag | 3);
  table_->SetTxId(9);
  table_.reset();
  GetParam().make(path_);
  Open();
  ExpectEmpty(*table_);
  Resize(512, 1);
  table_->Set(1, kFlag | 4);
  EXPECT_EQ(table_->position().checksum, kFlag | 4);
  Open();
  EXPECT_EQ(table_->Get(1), kFlag | 4) << "and is a table from then on";
}

INSTANTIATE_TEST_SUITE_P(
    All, PageChecksumsLeftover,
    testing::Values(
        Leftover{"Absent", [](const std::string& path) { std::filesystem::remove(path); }},
        Leftover{"Empty", [](const std::string& path) { std::filesystem::resize_file(path, 0); }},
        Leftover{"Short", [](const std::string& path) { test::WriteBytes(path, "short"); }},
        Leftover{"BadMagic", [](const std::string& path) { test::FlipByte(path, 0); }},
        Leftover{"MorePagesThanBytes",  // size_pages, cut off or torn
                 [](const std::string& path) {
                   std::string bytes = test::ReadBytes(path);
                   bytes.replace(12, 4, "\xff\xff\xff\xff");
                   test::WriteBytes(path, bytes);
                 }}),
    [](const auto& leftover) { return std::string(leftover.param.name); });

TEST_F(PageChecksumsTest, ATableCutShortBehindItsHeaderIsStartedAnew) {
  Resize(512, 300000);
  table_.reset();
  std::filesystem::resize_file(path_, 4096);
  Open();
  ExpectEmpty(*table_);
}

TEST(PageChecksums, NeedsItsDirectory) {
  EXPECT_TRUE(absl::IsNotFound(PageChecksums::Open("/nonexistent/checksums").status()));
}

}  // namespace
}  // namespace litefs::db
