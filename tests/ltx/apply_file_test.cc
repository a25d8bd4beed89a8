#include "ltx/apply_file.h"

#include "ltx/page_checksum.h"
#include "tests/ltx/testing.h"

namespace litefs::ltx {
namespace {

using testing::HasSubstr;

constexpr uint32_t kPageBytes = 512;

class ApplyFileTest : public testing::Test {
 protected:
  absl::StatusOr<FileInfo> Apply(const std::string& file) {
    SpanSource source(file);
    return ApplyFile(source, path_);
  }
  std::string Content() const { return ReadTestFile(path_); }
  // A file that changes what is there now.
  std::string Delta(PageNo commit, const Pages& pages) {
    MemoryDatabase database;
    const std::string content = Content();
    for (size_t at = 0; at < content.size(); at += kPageBytes) {
      const auto bytes = std::as_bytes(std::span(content)).subspan(at, kPageBytes);
      database.pages.emplace_back(bytes.begin(), bytes.end());
    }
    const Header header = {.page_bytes = kPageBytes,
                           .commit = commit,
                           .min_txid = 2,
                           .max_txid = 2,
                           .pre_apply = database.checksum(kPageBytes)};
    database.Apply(header, pages);
    return EncodeFile(header, pages, database.checksum(kPageBytes)).value();
  }

  TempDir dir_;
  const std::string path_ = dir_.File("a.db");
};

TEST_F(ApplyFileTest, MakesADatabaseFromASnapshot) {
  ASSERT_TRUE(Apply(MakeSnapshot(kPageBytes, 3)).ok());
  EXPECT_EQ(Content().size(), 3 * kPageBytes);
}

TEST_F(ApplyFileTest, ReplacesAnyContentByASnapshot) {
  WriteTestFile(path_, std::string(10000, 'x'));
  ASSERT_TRUE(Apply(MakeSnapshot(kPageBytes, 3)).ok());
  EXPECT_EQ(Content().size(), 3 * kPageBytes);
}

// A VACUUM that changes the page size: a delta by its position, all pages by its content.
TEST_F(ApplyFileTest, ChangesThePageSizeIfEveryPageIsThere) {
  std::string page1(kPageBytes, 'x');
  page1.replace(0, 18, std::string("SQLite format 3\0\x02\x00", 18));  // 512 bytes a page
  WriteTestFile(path_, page1);
  MemoryDatabase after;
  after.Apply({.page_bytes = 1024, .commit = 2}, {{1, MakePage(1024, 1)}, {2, MakePage(1024, 2)}});
  const Header header = {.page_bytes = 1024,
                         .commit = 2,
                         .min_txid = 2,
                         .max_txid = 2,
                         .pre_apply = FileChecksum(path_, kPageBytes).value()};
  const Checksum checksum = after.checksum(1024);
  auto applied = Apply(EncodeFile(header, {{1, MakePage(1024, 1)}}, checksum).value());
  EXPECT_THAT(Text(applied), HasSubstr("only 1 of 2 pages"));
  EXPECT_EQ(Content(), page1);
  applied =
      Apply(EncodeFile(header, {{1, MakePage(1024, 1)}, {2, MakePage(1024, 2)}}, checksum).value());
  ASSERT_TRUE(applied.ok()) << Text(applied);
  EXPECT_EQ(FileChecksum(path_, 1024).value(), checksum);
}

TEST_F(ApplyFileTest, ShrinksAndGrows) {
  ASSERT_TRUE(Apply(MakeSnapshot(kPageBytes, 3)).ok());
  auto applied = Apply(Delta(2, {{1, MakePage(kPageBytes, 99)}}));
  ASSERT_TRUE(applied.ok()) << Text(applied);
  EXPECT_EQ(Content().size(), 2 * kPageBytes);
  applied = Apply(Delta(5, {{5, MakePage(kPageBytes, 98)}}));
  ASSERT_TRUE(applied.ok()) << Text(applied);
  EXPECT_EQ(Content().substr(2 * kPageBytes, 2 * kPageBytes), std::string(2 * kPageBytes, '\0'));
  applied = Apply(Delta(0, {}));
  ASSERT_TRUE(applied.ok()) << Text(applied);
  EXPECT_EQ(Content(), "");
}

TEST_F(ApplyFileTest, RefusesADatabaseThatTheFileDoesNotGoOnFrom) {
  ASSERT_TRUE(Apply(MakeSnapshot(kPageBytes, 3)).ok());
  const std::string delta = Delta(3, {{1, MakePage(kPageBytes, 99)}});
  ASSERT_TRUE(Apply(delta).ok());
  const std::string before = Content();
  const auto again = Apply(delta);
  EXPECT_EQ(again.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(Text(again), HasSubstr("pre-apply: "));
  EXPECT_TRUE(Content() == before);
}

TEST_F(ApplyFileTest, WritesNothingIfTheFileIsDefective) {
  ASSERT_TRUE(Apply(MakeSnapshot(kPageBytes, 3)).ok());
  const std::string before = Content();
  std::string damaged = MakeSnapshot(kPageBytes, 4);
  damaged.back() = static_cast<char>(damaged.back() ^ 1);
  EXPECT_EQ(Apply(damaged).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(Content() == before);
}

TEST_F(ApplyFileTest, NeedsADatabaseForADelta) {
  const std::string delta = ReadTestFile(Vectors() / "v3-block/delta-p512-2.ltx");
  EXPECT_EQ(Apply(delta).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(ApplyFileTest, RefusesADatabaseThatIsNoNumberOfPages) {
  WriteTestFile(path_, std::string(1000, 'x'));
  const std::string delta = ReadTestFile(Vectors() / "v3-block/delta-p512-2.ltx");
  EXPECT_EQ(Apply(delta).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(EncodeDatabase, IsUndoneByApply) {
  const TempDir dir;
  for (const char* name : {"p512-s0.db", "p4096-s2.db"}) {
    for (const bool checksums : {true, false}) {
      const std::string database = (Vectors() / "db" / name).string();
      std::string file;
      StringSink sink(&file);
      const auto info = EncodeDatabase(database, &sink, 7, 1234, checksums);
      ASSERT_TRUE(info.ok()) << Text(info);
      EXPECT_EQ(info->header.max_txid, 7u);
      EXPECT_EQ(info->header.timestamp_ms, 1234);
      EXPECT_EQ(info->header.has_checksums(), checksums);
      SpanSource source(file);
      const auto applied = ApplyFile(source, dir.File("copy.db"));
      ASSERT_TRUE(applied.ok()) << Text(applied);
      EXPECT_TRUE(ReadTestFile(dir.File("copy.db")) == ReadTestFile(database));
    }
  }
}

TEST(EncodeDatabase, RefusesWhatIsNoDatabase) {
  const TempDir dir;
  std::string file;
  StringSink sink(&file);
  WriteTestFile(dir.File("a.db"), std::string(1024, 'x'));
  EXPECT_EQ(EncodeDatabase(dir.File("a.db"), &sink, 1, 0, true).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(EncodeDatabase(dir.File("none.db"), &sink, 1, 0, true).status().code(),
            absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace litefs::ltx
