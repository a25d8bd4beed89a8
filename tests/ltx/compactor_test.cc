#include "ltx/compactor.h"

#include "tests/ltx/testing.h"

namespace litefs::ltx {
namespace {

using testing::HasSubstr;

constexpr uint32_t kPageBytes = 512;

// Transactions on a database in memory, each as an LTX file.
class History {
 public:
  History(uint64_t seed, bool checksums) : random_(seed), checksums_(checksums) {}

  const MemoryDatabase& database() const { return database_; }
  MemoryDatabase* mutable_database() { return &database_; }

  // The next transaction: the given pages with new content.
  std::string Commit(PageNo commit, const std::vector<PageNo>& pgnos) {
    Pages pages;
    for (const PageNo pgno : pgnos) {
      if (pgno <= commit) pages[pgno] = MakePage(kPageBytes, random_());
    }
    const Header header = {.flags = checksums_ ? 0 : kFlagNoChecksum,
                           .page_bytes = kPageBytes,
                           .commit = commit,
                           .min_txid = ++txid_,
                           .max_txid = txid_,
                           .timestamp_ms = static_cast<int64_t>(1000 * txid_),
                           .pre_apply = checksums_ && txid_ != 1 ? Sum() : 0,
                           .wal_offset = 32,
                           .node_id = 5};
    database_.Apply(header, pages);
    const auto file = EncodeFile(header, pages, checksums_ ? Sum() : 0);
    EXPECT_TRUE(file.ok()) << Text(file);
    return file.value_or("");
  }

  // Grows, shrinks or stays; some pages change, and pages that grow are not always written.
  std::string CommitAtRandom() {
    const auto size = static_cast<PageNo>(database_.pages.size());
    const PageNo commit = random_() % 3 == 0 ? random_() % 20 : size;
    std::vector<PageNo> pgnos;
    for (PageNo pgno = 1; pgno <= commit; ++pgno) {
      if (txid_ == 0 || random_() % (pgno > size ? 2 : 4) == 0) pgnos.push_back(pgno);
    }
    return Commit(commit, pgnos);
  }

 private:
  Checksum Sum() const { return database_.checksum(kPageBytes); }

  std::mt19937_64 random_;
  const bool checksums_;
  TxId txid_ = 0;
  MemoryDatabase database_;
};

absl::StatusOr<std::string> CompactFiles(std::span<const std::string> files) {
  std::vector<SpanSource> sources(files.begin(), files.end());
  std::vector<ByteSource*> inputs;
  for (SpanSource& source : sources) inputs.push_back(&source);
  std::string out;
  StringSink sink(&out);
  RETURN_IF_ERROR(Compact(inputs, &sink).status());
  return out;
}

TEST(Compactor, DoesWhatItsInputsDoOneAfterTheOther) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    SCOPED_TRACE(seed);
    History history(seed, seed % 2 == 0);
    for (uint64_t i = 0; i < seed % 3; ++i) history.CommitAtRandom();
    MemoryDatabase database = history.database();
    std::vector<std::string> files;
    for (uint64_t i = 0; i < 1 + seed % 7; ++i) files.push_back(history.CommitAtRandom());
    const auto compacted = CompactFiles(files);
    ASSERT_TRUE(compacted.ok()) << Text(compacted);
    const auto decoded = Decode(*compacted);
    ASSERT_TRUE(decoded.ok()) << Text(decoded);
    database.Apply(decoded->info.header, decoded->pages);
    EXPECT_TRUE(database == history.database());
  }
}

TEST(Compactor, MakesTheHeaderFromTheFirstAndTheLastInput) {
  History history(1, true);
  history.Commit(3, {1, 2, 3});
  const std::vector<std::string> files = {history.Commit(4, {4}), history.Commit(2, {1})};
  const auto first = Decode(files[0]);
  const auto last = Decode(files[1]);
  const auto result = Decode(CompactFiles(files).value());
  ASSERT_TRUE(result.ok()) << Text(result);
  const Header expected = {.page_bytes = kPageBytes,
                           .commit = 2,
                           .min_txid = 2,
                           .max_txid = 3,
                           .timestamp_ms = 3000,
                           .pre_apply = first->info.header.pre_apply};
  EXPECT_EQ(result->info.header, expected);
  EXPECT_EQ(result->info.trailer.post_apply, last->info.trailer.post_apply);
  EXPECT_EQ(result->info.page_count, 1u);
}

TEST(Compactor, DoesNotBringPagesBackThatWereCutOff) {
  History history(1, true);
  history.Commit(6, {1, 2, 3, 4, 5, 6});
  MemoryDatabase database = history.database();
  const std::vector<std::string> files = {history.Commit(3, {1}), history.Commit(6, {6})};
  const auto result = Decode(CompactFiles(files).value());
  ASSERT_TRUE(result.ok()) << Text(result);
  EXPECT_EQ(result->pages.at(4), Page(kPageBytes));
  EXPECT_EQ(result->pages.at(5), Page(kPageBytes));
  database.Apply(result->info.header, result->pages);
  EXPECT_TRUE(database == history.database());
}

TEST(Compactor, ReadsInputsOfDifferentEncodings) {
  const std::vector<std::string> files = {ReadTestFile(Vectors() / "v1-lz4/snap-p512-1.ltx"),
                                          ReadTestFile(Vectors() / "v1-raw/delta-p512-2.ltx"),
                                          ReadTestFile(Vectors() / "v3-frame/delta-p512-3.ltx"),
                                          ReadTestFile(Vectors() / "v3-block/delta-p512-4.ltx")};
  const auto result = Decode(CompactFiles(files).value());
  ASSERT_TRUE(result.ok()) << Text(result);
  EXPECT_EQ(result->info.header.flags, 0u);
  EXPECT_EQ(result->info.trailer.post_apply, 0xf02efdb41435d36c);
}

class CompactorRefusal : public testing::Test {
 protected:
  void SetUp() override {
    history_.Commit(3, {1, 2, 3});
    files_ = {history_.Commit(3, {1}), history_.Commit(3, {2}), history_.Commit(3, {3})};
  }
  void ExpectRefused(std::vector<std::string> files, const char* why) {
    const auto result = CompactFiles(files);
    EXPECT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(Text(result), HasSubstr(why));
  }

  History history_{1, true};
  std::vector<std::string> files_;
};

TEST_F(CompactorRefusal, OfNothing) { ExpectRefused({}, "nothing to compact"); }

TEST_F(CompactorRefusal, OfAGap) { ExpectRefused({files_[0], files_[2]}, "do not follow"); }

TEST_F(CompactorRefusal, OfTheWrongOrder) {
  ExpectRefused({files_[1], files_[0]}, "do not follow");
}

TEST_F(CompactorRefusal, OfMixedPageSizes) {
  ExpectRefused({MakeSnapshot(1024, 2), files_[0]}, "page size");
}

TEST_F(CompactorRefusal, OfMixedChecksums) {
  ExpectRefused({MakeSnapshot(512, 2, false), files_[0]}, "with and without checksums");
}

TEST_F(CompactorRefusal, OfFilesFromDifferentHistories) {
  ExpectRefused({MakeSnapshot(512, 3), files_[0]}, "after post-apply");
}

TEST_F(CompactorRefusal, OfADefectiveInput) {
  files_[1][files_[1].size() - 1] ^= 1;
  const auto result = CompactFiles(files_);
  EXPECT_EQ(result.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(Text(result), HasSubstr("input 2: file-checksum: "));
}

}  // namespace
}  // namespace litefs::ltx
