// The format library against files that real SQLite wrote.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <vector>

#include "common/endian.h"
#include "common/posix_io.h"
#include "daemon/sqlite/db_header.h"
#include "daemon/sqlite/file_lock.h"
#include "daemon/sqlite/journal_format.h"
#include "daemon/sqlite/settle.h"
#include "daemon/sqlite/wal_format.h"
#include "daemon/sqlite/wal_index.h"
#include "daemon/sqlite/wal_index_map.h"
#include "tests/support/child_commands.h"
#include "tests/support/replica_support.h"

namespace litefs::test {
namespace {

std::vector<std::byte> ReadBytes(const std::string& path) {
  const auto text = ReadWholeFile(path, 100 << 20);
  EXPECT_TRUE(text.ok()) << text.status();
  const auto bytes = std::as_bytes(std::span(*text));
  return {bytes.begin(), bytes.end()};
}

class FormatTest : public testing::Test {
 protected:
  std::string Path(const std::string& suffix = "") { return directory_.path() + "/a.db" + suffix; }
  TemporaryDirectory directory_;
};

// ---- The database header
// -------------------------------------------------------------------------

TEST_F(FormatTest, DbHeaderTellsSizeAndMode) {
  for (const uint32_t page_bytes : {512u, 4096u, 65536u}) {
    std::filesystem::remove(Path());
    SourceDatabase source(Path());
    source.Run("PRAGMA page_size=" + std::to_string(page_bytes) + "; CREATE TABLE t(v)");
    auto header = sqlite::ParseDbHeader(ReadBytes(Path()));
    ASSERT_TRUE(header.ok());
    EXPECT_EQ(header->page_bytes, page_bytes);
    EXPECT_FALSE(header->wal);
    EXPECT_TRUE(header->size_valid());
    EXPECT_EQ(header->size_pages, 2u);
    source.Run("PRAGMA journal_mode=WAL");
    header = sqlite::ParseDbHeader(ReadBytes(Path()));
    EXPECT_TRUE(header->wal);
  }
}

TEST_F(FormatTest, DbHeaderNamesTheDefect) {
  SourceDatabase source(Path());
  source.Run("CREATE TABLE t(v)");
  const std::vector<std::byte> good = ReadBytes(Path());
  const auto defect = [&](size_t at, int value) {
    std::vector<std::byte> bad = good;
    bad[at] = std::byte(value);
    const auto header = sqlite::ParseDbHeader(bad);
    EXPECT_EQ(header.status().code(), absl::StatusCode::kDataLoss);
    return std::string(header.status().message());
  };
  EXPECT_NE(defect(3, 'x').find("magic"), std::string::npos);
  EXPECT_NE(defect(17, 3).find("page size"), std::string::npos);
  EXPECT_NE(defect(19, 3).find("version"), std::string::npos);
  EXPECT_FALSE(sqlite::ParseDbHeader(std::span(good).first(99)).ok());
}

// ---- The write-ahead log
// -------------------------------------------------------------------------

TEST_F(FormatTest, WalOfSqliteChainsAndEncodesToTheSameBytes) {
  SourceDatabase source(Path());
  source.Run("PRAGMA page_size=1024; PRAGMA journal_mode=WAL; CREATE TABLE t(v)");
  source.Run("INSERT INTO t SELECT randomblob(500) FROM pragma_function_list");
  const std::vector<std::byte> log = ReadBytes(Path("-wal"));
  const auto header = sqlite::ParseWalHeader(log);
  ASSERT_TRUE(header.ok());
  std::array<std::byte, sqlite::kWalHeaderBytes> again;
  sqlite::EncodeWalHeader(*header, again);
  EXPECT_EQ(std::memcmp(again.data(), log.data(), again.size()), 0);
  sqlite::WalChecksum sum = header->checksum;
  uint32_t frame = 1;
  uint32_t last_commit = 0;
  for (; sqlite::WalFrameOffset(frame + 1, 1024) <= log.size(); ++frame) {
    const auto data = std::span(log).subspan(sqlite::WalFrameOffset(frame, 1024), 1024 + 24);
    const sqlite::WalFrameHeader f = sqlite::ParseWalFrameHeader(data);
    sum = sqlite::WalFrameChecksum(sum, f, data.subspan(24), header->big_endian_checksums);
    ASSERT_EQ(sum, f.checksum) << frame;
    EXPECT_EQ(f.salt1, header->salt1);
    if (f.commit != 0) last_commit = f.commit;
    std::array<std::byte, sqlite::kWalFrameHeaderBytes> encoded;
    sqlite::EncodeWalFrameHeader(f, encoded);
    EXPECT_EQ(std::memcmp(encoded.data(), data.data(), encoded.size()), 0);
  }
  EXPECT_GT(frame, 20u);

  // The wal-index tells the same.
  const auto shm = OpenFile(Path("-shm"), O_RDWR);
  ASSERT_TRUE(shm.ok());
  const auto index = sqlite::ReadWalIndexHeader(shm->get());
  ASSERT_TRUE(index.ok()) << index.status();
  EXPECT_EQ(index->max_frame, frame - 1);
  EXPECT_EQ(index->page_count, last_commit);
  EXPECT_EQ(index->salt1, header->salt1);
  EXPECT_EQ(index->salt2, header->salt2);
  EXPECT_EQ(index->page_bytes, 1024u);
  EXPECT_EQ(index->frame_checksum, sum);
  std::array<std::byte, 2 * sqlite::kWalIndexHeaderBytes> copies;
  sqlite::EncodeWalIndexHeader(*index, std::span(copies).first<sqlite::kWalIndexHeaderBytes>());
  EXPECT_EQ(std::memcmp(copies.data(), ReadBytes(Path("-shm")).data(), 48), 0);
}

TEST_F(FormatTest, WalChecksumDependsOnTheOrderOfBytes) {
  std::array<std::byte, 16> data{};
  for (size_t i = 0; i < data.size(); ++i) data[i] = std::byte(i + 1);
  std::array<std::byte, 16> swapped;
  for (size_t i = 0; i < data.size(); ++i) swapped[i] = data[(i & ~size_t{3}) + 3 - i % 4];
  EXPECT_NE(sqlite::UpdateWalChecksum({}, data, true), sqlite::UpdateWalChecksum({}, data, false));
  EXPECT_EQ(sqlite::UpdateWalChecksum({}, data, true),
            sqlite::UpdateWalChecksum({}, swapped, false));
  // s0 = 1 + 0 + 3 + 2, s1 = 2 + 1 + 4 + 6, by hand.
  std::array<std::byte, 16> words{};
  for (uint32_t i = 0; i < 4; ++i) StoreLittle32(&words[4 * i], i + 1);
  const sqlite::WalChecksum sum = sqlite::UpdateWalChecksum({}, words, false);
  EXPECT_EQ(sum.s0, 1u + 3 + 3);
  EXPECT_EQ(sum.s1, 3u + 4 + 7);
}

TEST_F(FormatTest, WalHeaderDefectsAreNamed) {
  sqlite::WalHeader header{.big_endian_checksums = true,
                           .page_bytes = 65536,
                           .sequence = 3,
                           .salt1 = 1,
                           .salt2 = 2,
                           .checksum = {}};
  std::array<std::byte, sqlite::kWalHeaderBytes> good;
  sqlite::EncodeWalHeader(header, good);
  ASSERT_TRUE(sqlite::ParseWalHeader(good).ok());
  EXPECT_TRUE(sqlite::ParseWalHeader(good)->big_endian_checksums);
  for (const size_t at : {0, 3, 7, 10, 16, 20, 30}) {
    auto bad = good;
    bad[at] ^= std::byte{0x10};
    EXPECT_EQ(sqlite::ParseWalHeader(bad).status().code(), absl::StatusCode::kDataLoss) << at;
  }
  EXPECT_FALSE(sqlite::ParseWalHeader(std::span(good).first(31)).ok());
}

// ---- The wal-index
// -------------------------------------------------------------------------------

TEST_F(FormatTest, WalIndexBlocksHoldTheirFrames) {
  EXPECT_EQ(sqlite::WalIndexBlockOfFrame(1), 0u);
  EXPECT_EQ(sqlite::WalIndexBlockOfFrame(4062), 0u);
  EXPECT_EQ(sqlite::WalIndexBlockOfFrame(4063), 1u);
  EXPECT_EQ(sqlite::WalIndexBlockOfFrame(4062 + 4096), 1u);
  EXPECT_EQ(sqlite::WalIndexBlockOfFrame(4063 + 4096), 2u);
  EXPECT_EQ(sqlite::WalIndexBlockZero(1), 4062u);
}

TEST_F(FormatTest, WalIndexMapFindsTheLastFrameAndCleansUpRemnants) {
  const auto shm = OpenFile(Path("-shm"), O_RDWR | O_CREAT);
  ASSERT_TRUE(shm.ok());
  auto map = sqlite::WalIndexMap::Map(shm->get(), "shm");
  ASSERT_TRUE(map.ok());
  EXPECT_FALSE((*map)->header().ok());
  constexpr uint32_t kFrames = 9000;
  ASSERT_TRUE((*map)->Reserve(kFrames).ok());
  for (uint32_t frame = 1; frame <= kFrames; ++frame) {
    ASSERT_TRUE((*map)->Append(frame, 1 + frame % 700, frame - 1).ok());
  }
  const auto last = [](uint32_t pgno, uint32_t max) {
    while (max > 0 && 1 + max % 700 != pgno) --max;
    return max;
  };
  for (uint32_t pgno = 0; pgno <= 701; ++pgno) {
    for (const uint32_t max : {0u, 1u, 500u, 4062u, 4063u, 8158u, 8159u, kFrames}) {
      ASSERT_EQ((*map)->FindFrame(pgno, max), pgno == 0 ? 0 : last(pgno, max)) << pgno << max;
    }
  }
  // A writer died after frame 8500 was committed; the next one appends other pages.
  for (uint32_t frame = 8501; frame <= 8600; ++frame) {
    ASSERT_TRUE((*map)->Append(frame, 5000, 8500).ok());
  }
  EXPECT_EQ((*map)->FindFrame(5000, 8600), 8600u);
  EXPECT_EQ((*map)->FindFrame(1 + 8700 % 700, 9000), 8700u - 700);
  std::vector<uint32_t> pages(5000, 7);
  ASSERT_TRUE((*map)->Rebuild(pages).ok());
  EXPECT_EQ((*map)->FindFrame(7, 9000), 5000u);
  EXPECT_EQ((*map)->FindFrame(5000, 9000), 0u);

  sqlite::WalIndexHeader header{.version = sqlite::kWalIndexVersion,
                                .change = 1,
                                .max_frame = 5000,
                                .page_count = 9,
                                .salt1 = 3,
                                .salt2 = 4,
                                .page_bytes = 65536,
                                .is_init = true,
                                .big_endian_checksums = false,
                                .frame_checksum = {1, 2}};
  (*map)->Publish(header);
  EXPECT_EQ(*(*map)->header(), header);
  EXPECT_EQ(*sqlite::ReadWalIndexHeader(shm->get()), header);
  (*map)->set_backfilled(77);
  (*map)->set_read_mark(4, 78);
  const auto info = sqlite::ReadWalCheckpointInfo(shm->get());
  EXPECT_EQ(info->backfilled, 77u);
  EXPECT_EQ(info->read_marks[4], 78u);
  // Half a header is none.
  ASSERT_EQ(::pwrite(shm->get(), "x", 1, 50), 1);
  EXPECT_TRUE(absl::IsUnavailable(sqlite::ReadWalIndexHeader(shm->get()).status()));
}

TEST_F(FormatTest, WalIndexIsAliveWhileAProcessHasItOpen) {
  SourceDatabase source(Path());
  source.Run("PRAGMA journal_mode=WAL; CREATE TABLE t(v)");
  {
    StockProcess stock(Path());
    EXPECT_EQ(stock.Run("SELECT count(*) FROM t"), "0\n");
    const auto shm = OpenFile(Path("-shm"), O_RDWR);
    EXPECT_TRUE(*sqlite::WalIndexAlive(shm->get()));
  }
  const auto fresh = OpenFile(Path("-other"), O_RDWR | O_CREAT);
  EXPECT_FALSE(*sqlite::WalIndexAlive(fresh->get()));
  EXPECT_TRUE(absl::IsUnavailable(sqlite::ReadWalIndexHeader(fresh->get()).status()));
  EXPECT_TRUE(absl::IsUnavailable(sqlite::ReadWalCheckpointInfo(fresh->get()).status()));
}

// ---- Locks
// ---------------------------------------------------------------------------------------

TEST_F(FormatTest, OfdLocksSurviveTheClosingOfOtherDescriptors) {
  const auto one = OpenFile(Path(), O_RDWR | O_CREAT);
  const auto two = OpenFile(Path(), O_RDWR);
  ASSERT_TRUE(*TryLock(one->get(), sqlite::LockKind::kExclusive, 10, 2));
  EXPECT_FALSE(*TryLock(two->get(), sqlite::LockKind::kShared, 11, 1));
  { const auto three = OpenFile(Path(), O_RDWR); }
  EXPECT_TRUE(*sqlite::IsLocked(two->get(), 10, 1));
  EXPECT_FALSE(*sqlite::IsLocked(one->get(), 10, 1));
  EXPECT_FALSE(*sqlite::IsLocked(two->get(), 12, 5));
  ASSERT_TRUE(*TryLock(one->get(), sqlite::LockKind::kShared, 10, 2));  // a downgrade
  EXPECT_TRUE(*TryLock(two->get(), sqlite::LockKind::kShared, 11, 1));
  EXPECT_TRUE(sqlite::Unlock(one->get(), 10, 2).ok());
  EXPECT_FALSE(*sqlite::IsLocked(two->get(), 10, 2));
}

TEST_F(FormatTest, SharedLockKeepsASqliteWriterFromItsCommit) {
  SourceDatabase source(Path());
  source.Run("CREATE TABLE t(v)");
  StockProcess stock(Path());
  const auto fd = OpenFile(Path(), O_RDWR);
  {
    const auto shared = sqlite::SharedLock::Take(fd->get());
    ASSERT_TRUE(shared.ok());
    EXPECT_EQ(stock.Run("SELECT count(*) FROM t"), "0\n");
    EXPECT_EQ(stock.Run("BEGIN EXCLUSIVE"), "error: database is locked");
  }
  EXPECT_EQ(stock.Run("BEGIN EXCLUSIVE"), "");
  EXPECT_TRUE(absl::IsUnavailable(sqlite::SharedLock::Take(fd->get()).status()));
  EXPECT_EQ(stock.Run("COMMIT"), "");
  EXPECT_TRUE(sqlite::SharedLock::Take(fd->get()).ok());
}

// ---- Settling
// ------------------------------------------------------------------------------------

// Writes pages of text over the database behind a hot journal that holds the original.
void LeaveHotJournal(const std::string& path) {
  const std::vector<std::byte> original = ReadBytes(path);
  const uint32_t page_bytes = sqlite::ParseDbHeader(original)->page_bytes;
  const auto pages = static_cast<uint32_t>(original.size() / page_bytes);
  std::vector<std::byte> journal(512);
  sqlite::EncodeJournalHeader(
      {.record_count = pages, .nonce = 5, .original_pages = pages, .page_bytes = page_bytes},
      std::span(journal).first<sqlite::kJournalHeaderBytes>());
  for (uint32_t i = 0; i < pages; ++i) {
    const auto page = std::span(original).subspan(i * page_bytes, page_bytes);
    std::byte number[4];
    StoreBig32(number, i + 1);
    journal.insert(journal.end(), number, number + 4);
    journal.insert(journal.end(), page.begin(), page.end());
    StoreBig32(number, sqlite::JournalRecordChecksum(5, page));
    journal.insert(journal.end(), number, number + 4);
  }
  const auto out = OpenFile(path + "-journal", O_RDWR | O_CREAT);
  ASSERT_TRUE(WriteAt(out->get(), journal, 0, "journal").ok());
  const auto db = OpenFile(path, O_RDWR);
  const std::string damage(page_bytes * 3, 'x');
  ASSERT_TRUE(WriteAt(db->get(), std::as_bytes(std::span(damage)), page_bytes, "db").ok());
}

TEST_F(FormatTest, SettleRollsAHotJournalBack) {
  {
    SourceDatabase source(Path());
    source.Run("CREATE TABLE t(v); INSERT INTO t VALUES(1)");
  }
  EXPECT_FALSE(*sqlite::HasHotJournal(Path()));
  const std::vector<std::byte> original = ReadBytes(Path());
  LeaveHotJournal(Path());
  EXPECT_TRUE(*sqlite::HasHotJournal(Path()));
  {
    const auto writer = OpenFile(Path(), O_RDWR);
    ASSERT_TRUE(*TryLock(writer->get(), sqlite::LockKind::kExclusive, sqlite::kReservedByte, 1));
    EXPECT_FALSE(*sqlite::HasHotJournal(Path()));  // an active writer's
  }
  ASSERT_TRUE(sqlite::Settle(Path()).ok());
  EXPECT_FALSE(*sqlite::HasHotJournal(Path()));
  EXPECT_FALSE(std::filesystem::exists(Path("-journal")));
  EXPECT_EQ(ReadBytes(Path()), original);
}

TEST_F(FormatTest, SettleSaysWhyItCannot) {
  EXPECT_EQ(sqlite::Settle(Path()).code(), absl::StatusCode::kInternal);  // absent: not created
  EXPECT_FALSE(std::filesystem::exists(Path()));
  {
    SourceDatabase source(Path());
    source.Run("CREATE TABLE t(v)");
  }
  {
    StockProcess stock(Path());
    ASSERT_EQ(stock.Run("BEGIN EXCLUSIVE"), "");
    EXPECT_TRUE(absl::IsUnavailable(sqlite::Settle(Path())));
  }
  EXPECT_TRUE(sqlite::Settle(Path()).ok());
  const auto fd = OpenFile(Path(), O_RDWR);
  ASSERT_EQ(::pwrite(fd->get(), "garbage", 7, 0), 7);
  EXPECT_EQ(sqlite::Settle(Path()).code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace litefs::test
