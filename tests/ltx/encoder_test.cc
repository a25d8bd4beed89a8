#include "ltx/encoder.h"

#include <fmt/format.h>

#include <cstdio>

#include "common/sqlite_format.h"
#include "ltx/crc64.h"
#include "tests/ltx/testing.h"
#include "tests/support/allocation_counter.h"

namespace litefs::ltx {
namespace {

using testing::HasSubstr;

constexpr uint32_t kPageBytes = 512;
constexpr Checksum kSomeChecksum = kChecksumFlag | 42;

const Header kDelta = {.page_bytes = kPageBytes,
                       .commit = 10,
                       .min_txid = 7,
                       .max_txid = 9,
                       .timestamp_ms = -1,
                       .pre_apply = kSomeChecksum,
                       .wal_offset = 32,
                       .wal_size = 100,
                       .wal_salt1 = 1,
                       .wal_salt2 = 2,
                       .node_id = 3};

Header Snapshot(PageNo commit, uint32_t page_bytes = kPageBytes) {
  return {.page_bytes = page_bytes, .commit = commit, .min_txid = 1, .max_txid = 1};
}

class EncoderTest : public testing::Test {
 protected:
  void Begin(const Header& header) {
    const absl::Status status = encoder_.Begin(&sink_, header);
    ASSERT_TRUE(status.ok()) << Text(status);
  }
  absl::Status Add(PageNo pgno) { return encoder_.AddPage(pgno, MakePage(kPageBytes, pgno)); }

  std::string file_;
  StringSink sink_{&file_};
  Encoder encoder_;
};

MATCHER_P(Refuses, code, "") {
  return arg.code() == absl::StatusCode::kInvalidArgument &&
         std::string(arg.message()).starts_with(std::string(code) + ": ");
}

TEST_F(EncoderTest, WritesWhatTheDecoderReads) {
  Begin(kDelta);
  Pages pages;
  for (const PageNo pgno : {2, 3, 10}) {
    pages[pgno] = MakePage(kPageBytes, pgno);
    ASSERT_TRUE(Add(pgno).ok());
  }
  const auto trailer = encoder_.Finish(kSomeChecksum);
  ASSERT_TRUE(trailer.ok());
  EXPECT_EQ(encoder_.bytes_written(), file_.size());
  const auto decoded = Decode(file_);
  ASSERT_TRUE(decoded.ok()) << Text(decoded);
  EXPECT_EQ(decoded->info.header, kDelta);
  EXPECT_EQ(decoded->info.trailer, *trailer);
  EXPECT_EQ(decoded->pages, pages);
}

TEST_F(EncoderTest, RefusesPagesThatDoNotAscend) {
  Begin(kDelta);
  ASSERT_TRUE(Add(3).ok());
  EXPECT_THAT(Add(3), Refuses("page-order"));
  EXPECT_THAT(Add(2), Refuses("page-order"));
}

TEST_F(EncoderTest, RefusesPageZeroAndPagesBeyondCommit) {
  Begin(kDelta);
  EXPECT_THAT(Add(0), Refuses("page-number"));
  EXPECT_THAT(Add(11), Refuses("page-range"));
}

TEST_F(EncoderTest, RefusesPagesOfAnotherSize) {
  Begin(kDelta);
  EXPECT_THAT(encoder_.AddPage(1, MakePage(1024, 1)), Refuses("page-size"));
}

TEST_F(EncoderTest, RefusesTheLockPage) {
  Header header = kDelta;
  header.commit = 3000000;
  Begin(header);
  EXPECT_THAT(Add(sqlite::LockPage(kPageBytes)), Refuses("lock-page"));
  EXPECT_TRUE(Add(sqlite::LockPage(kPageBytes) + 1).ok());
}

TEST_F(EncoderTest, RefusesASnapshotWithAHole) {
  Begin(Snapshot(3));
  EXPECT_THAT(Add(2), Refuses("snapshot-incomplete"));
  ASSERT_TRUE(Add(1).ok());
  EXPECT_THAT(Add(3), Refuses("snapshot-incomplete"));
}

TEST_F(EncoderTest, RefusesASnapshotThatDoesNotReachCommit) {
  Header header = Snapshot(3);
  header.flags = kFlagNoChecksum;
  Begin(header);
  ASSERT_TRUE(Add(1).ok());
  EXPECT_THAT(encoder_.Finish(0).status(), Refuses("snapshot-incomplete"));
}

TEST_F(EncoderTest, RefusesAPostApplyChecksumThatIsNotThatOfTheSnapshot) {
  Begin(Snapshot(1));
  ASSERT_TRUE(Add(1).ok());
  EXPECT_THAT(encoder_.Finish(kSomeChecksum).status(), Refuses("post-apply"));
  EXPECT_THAT(encoder_.Finish(0).status(), Refuses("trailer"));
}

TEST_F(EncoderTest, RefusesAPostApplyChecksumForAFileWithoutChecksums) {
  Header header = kDelta;
  header.flags = kFlagNoChecksum;
  header.pre_apply = 0;
  Begin(header);
  EXPECT_THAT(encoder_.Finish(kSomeChecksum).status(), Refuses("trailer"));
}

TEST_F(EncoderTest, DemandsTheEmptyDatabaseChecksumForADeletion) {
  Header header = kDelta;
  header.commit = 0;
  Begin(header);
  EXPECT_THAT(encoder_.Finish(kSomeChecksum).status(), Refuses("post-apply"));
  EXPECT_TRUE(encoder_.Finish(kEmptyDatabaseChecksum).ok());
}

TEST_F(EncoderTest, RefusesTheCompressionFlagOfVersionOne) {
  Header header = kDelta;
  header.flags = kFlagCompressLz4;
  EXPECT_THAT(encoder_.Begin(&sink_, header), Refuses("header-flags"));
}

TEST_F(EncoderTest, RefusesHeadersThatBreakARule) {
  const auto refused = [this](const char* code, auto change) {
    Header header = kDelta;
    change(header);
    EXPECT_THAT(encoder_.Begin(&sink_, header), Refuses(code));
  };
  refused("header-flags", [](Header& h) { h.flags = 4; });
  refused("page-size", [](Header& h) { h.page_bytes = 1000; });
  refused("page-size", [](Header& h) { h.page_bytes = 131072; });
  refused("txid", [](Header& h) { h.min_txid = 0; });
  refused("txid", [](Header& h) { h.max_txid = 6; });
  refused("wal", [](Header& h) { h.wal_offset = 0; });
  refused("wal", [](Header& h) { h.wal_size = -1; });
  refused("header", [](Header& h) { h.pre_apply = 0; });
  refused("header", [](Header& h) { h.pre_apply = 42; });
  refused("header", [](Header& h) { h.min_txid = 1; });
  EXPECT_EQ(file_, "");
}

TEST_F(EncoderTest, PassesAnErrorOfTheSinkOn) {
  class FullSink final : public ByteSink {
   public:
    absl::Status Append(std::span<const std::byte>) override {
      return absl::ResourceExhaustedError("full");
    }
  } full;
  EXPECT_EQ(encoder_.Begin(&full, kDelta).code(), absl::StatusCode::kResourceExhausted);
}

#ifdef LITEFS_COUNT_ALLOCATIONS
TEST_F(EncoderTest, AllocatesNothingWhenReused) {
  class NullSink final : public ByteSink {
   public:
    absl::Status Append(std::span<const std::byte>) override { return absl::OkStatus(); }
  } null;
  const Page page = MakePage(kPageBytes, 1);
  const uint64_t page_crc = Crc64(0, page);
  uint64_t last_count = 0;
  for (int round = 0; round < 3; ++round) {
    const test::AllocationCounter counter;
    ASSERT_TRUE(encoder_.Begin(&null, kDelta).ok());
    for (PageNo pgno = 1; pgno <= 10; ++pgno) {
      ASSERT_TRUE(encoder_.AddPageWithCrc(pgno, page, page_crc).ok());
    }
    ASSERT_TRUE(encoder_.Finish(kSomeChecksum).ok());
    last_count = counter.count();
  }
  EXPECT_EQ(last_count, 0u);
}
#endif

TEST(LiteralSnapshotTest, HasTheSizeThatItsShapeSays) {
  for (uint32_t page_bytes = 512; page_bytes <= 65536; page_bytes *= 2) {
    for (const PageNo pages : {0U, 1U, 2U, 127U, 128U, 300U}) {
      EXPECT_EQ(MakeSnapshot(page_bytes, pages, true, Encoder::Compression::kLiteralsOnly).size(),
                LiteralSnapshotBytes(page_bytes, pages))
          << page_bytes << " " << pages;
    }
  }
}

// Only counts.
class NoSink final : public ByteSink {
 public:
  absl::Status Append(std::span<const std::byte>) override { return absl::OkStatus(); }
};

TEST(LiteralSnapshotTest, HasTheSizeThatItsShapeSaysAroundTheLockPage) {
  constexpr uint32_t kLargest = 65536;
  const PageNo lock_page = sqlite::LockPage(kLargest);
  const std::vector<std::byte> page(kLargest);
  for (const PageNo commit : {lock_page, lock_page + 2}) {
    NoSink sink;
    Encoder encoder;
    const Header header = {.flags = kFlagNoChecksum,
                           .page_bytes = kLargest,
                           .commit = commit,
                           .min_txid = 1,
                           .max_txid = 1};
    ASSERT_TRUE(encoder.Begin(&sink, header, Encoder::Compression::kLiteralsOnly).ok());
    for (PageNo pgno = 1; pgno <= commit; ++pgno) {
      if (pgno == lock_page) continue;
      ASSERT_TRUE(encoder.AddPageWithCrc(pgno, page, 0).ok());
    }
    ASSERT_TRUE(encoder.Finish(0).ok());
    EXPECT_EQ(encoder.bytes_written(), LiteralSnapshotBytes(kLargest, commit));
  }
}

// What one file of each kind looks like to the independent reader of tests/vectors/ltx/tools.
class IndependentReaderTest : public testing::Test {
 protected:
  void Write(const std::string& name, const absl::StatusOr<std::string>& file) {
    ASSERT_TRUE(file.ok()) << name << Text(file);
    names_ += " '" + dir_.File(name) + "'";
    WriteTestFile(dir_.File(name), *file);
    ++count_;
  }
  // A delta over a database of 9 pages that becomes page_count pages.
  void WriteDelta(const std::string& name, uint32_t page_bytes, Header header,
                  const std::vector<PageNo>& pgnos) {
    header.page_bytes = page_bytes;
    Pages pages;
    for (const PageNo pgno : pgnos) pages[pgno] = MakePage(page_bytes, pgno);
    const Checksum post = !header.has_checksums() ? 0
                          : header.commit == 0    ? kEmptyDatabaseChecksum
                                                  : kSomeChecksum;
    Write(name, EncodeFile(header, pages, post));
  }

  TempDir dir_;
  std::string names_;
  int count_ = 0;
};

TEST_F(IndependentReaderTest, AcceptsEveryKindOfFile) {
  Header untracked = kDelta;
  untracked.flags = kFlagNoChecksum;
  untracked.pre_apply = 0;
  Header deletion = kDelta;
  deletion.commit = 0;
  for (uint32_t page_bytes = 512; page_bytes <= 65536; page_bytes *= 2) {
    const auto name = [page_bytes](const char* kind) {
      return fmt::format("{}-{}", kind, page_bytes);
    };
    Write(name("snapshot"), MakeSnapshot(page_bytes, 3));
    Write(name("literals"), MakeSnapshot(page_bytes, 2, true, Encoder::Compression::kLiteralsOnly));
    Write(name("snapshot-untracked"), MakeSnapshot(page_bytes, 2, false));
    WriteDelta(name("delta"), page_bytes, kDelta, {2, 9});
    WriteDelta(name("delta-untracked"), page_bytes, untracked, {1});
    WriteDelta(name("no-pages"), page_bytes, kDelta, {});
    WriteDelta(name("deletion"), page_bytes, deletion, {});
  }
  const std::string command =
      fmt::format("python3 '{}'{}", (Vectors() / "tools/ltx_check.py").string(), names_);
  std::FILE* const pipe = ::popen(command.c_str(), "r");
  ASSERT_NE(pipe, nullptr);
  int ok_count = 0;
  char line[1024];
  while (std::fgets(line, sizeof(line), pipe) != nullptr) {
    EXPECT_THAT(line, HasSubstr(": ok v3 "));
    ++ok_count;
  }
  EXPECT_EQ(::pclose(pipe), 0);
  EXPECT_EQ(ok_count, count_);
}

}  // namespace
}  // namespace litefs::ltx
