#include "daemon/db/incoming_file.h"

#include <fcntl.h>

#include <memory>
#include <string>

#include "tests/ltx/testing.h"
#include "tests/support/replica_support.h"

namespace litefs::db {
namespace {

using ltx::Encoder;
using ltx::MakePage;
using ltx::MakeSnapshot;

class IncomingFileTest : public testing::Test {
 protected:
  // A file that is about to arrive.
  void Expect(const std::string& file, const std::string& directory) {
    bytes_ = file;
    auto fd = OpenFile(directory_.path(), O_TMPFILE | O_RDWR);
    ASSERT_TRUE(fd.ok()) << fd.status();
    fd_ = *std::move(fd);
    auto incoming = IncomingFile::Begin(fd_.get(), file.size(), directory);
    ASSERT_TRUE(incoming.ok()) << incoming.status();
    incoming_ = *std::move(incoming);
  }
  absl::Status Bring(size_t n) {
    const std::string_view part = std::string_view(bytes_).substr(arrived_, n);
    const absl::Status status =
        WriteAt(fd_.get(), std::as_bytes(std::span(part)), arrived_, "an incoming file");
    if (!status.ok()) return status;
    arrived_ += part.size();
    return incoming_->Arrived(arrived_);
  }
  void BringAll(size_t step) {
    while (arrived_ < bytes_.size()) {
      const absl::Status status = Bring(step);
      ASSERT_TRUE(status.ok()) << status;
    }
  }

  test::TemporaryDirectory directory_;
  UniqueFd fd_;
  std::string bytes_;
  size_t arrived_ = 0;
  std::shared_ptr<IncomingFile> incoming_;
};

void ExpectPages(const NewDatabase& made, uint32_t page_bytes, ltx::PageNo pages) {
  ASSERT_EQ(page_bytes, made.page_bytes);
  ASSERT_EQ(pages, made.size_pages);
  ASSERT_EQ(pages, made.sums.size());
  const auto size = FileSize(made.fd.get(), "made");
  ASSERT_TRUE(size.ok());
  EXPECT_EQ(uint64_t{page_bytes} * pages, *size);
  ltx::Checksum database = ltx::kEmptyDatabaseChecksum;
  std::vector<std::byte> page(page_bytes);
  for (ltx::PageNo pgno = 1; pgno <= pages; ++pgno) {
    const uint64_t offset = uint64_t{pgno - 1} * page_bytes;
    ASSERT_TRUE(ReadExactAt(made.fd.get(), page, offset, "made").ok());
    ASSERT_EQ(MakePage(page_bytes, pgno), page) << pgno;
    ASSERT_EQ(ltx::PageChecksum(pgno, page), made.sums[pgno - 1]) << pgno;
    database = ltx::TogglePage(database, made.sums[pgno - 1]);
  }
  EXPECT_EQ((ltx::Position{1, database}), made.position);
}

// Also where the end is no whole block of the disk, and of more than one write.
TEST_F(IncomingFileTest, MakesADatabaseOfASnapshot) {
  for (uint32_t page_bytes = 512; page_bytes <= 65536; page_bytes *= 2) {
    for (const ltx::PageNo pages : {ltx::PageNo{1}, ltx::PageNo{3}, (1 << 20) / page_bytes + 3}) {
      for (const auto compression :
           {Encoder::Compression::kLz4, Encoder::Compression::kLiteralsOnly}) {
        arrived_ = 0;
        Expect(MakeSnapshot(page_bytes, pages, true, compression), directory_.path());
        BringAll(100'000);
        const auto info = incoming_->Finish();
        ASSERT_TRUE(info.ok()) << info.status();
        EXPECT_EQ(pages, info->page_count);
        const std::unique_ptr<NewDatabase> made = incoming_->TakeDatabase();
        ASSERT_NE(nullptr, made);
        ExpectPages(*made, page_bytes, pages);
        EXPECT_EQ(0, ::fcntl(made->fd.get(), F_GETFL) & O_DIRECT);
      }
    }
  }
}

TEST_F(IncomingFileTest, OnlyVerifiesWhereThereIsADatabase) {
  Expect(MakeSnapshot(4096, 100), "");
  BringAll(4096);
  const auto info = incoming_->Finish();
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(100u, info->page_count);
  EXPECT_EQ(nullptr, incoming_->TakeDatabase());
}

TEST_F(IncomingFileTest, MakesNothingOfWhatIsNoSnapshot) {
  const ltx::Header header = {.page_bytes = 4096,
                              .commit = 9,
                              .min_txid = 7,
                              .max_txid = 7,
                              .pre_apply = ltx::kChecksumFlag | 1};
  const auto file = EncodeFile(header, {{3, MakePage(4096, 3)}}, ltx::kChecksumFlag | 2);
  ASSERT_TRUE(file.ok()) << file.status();
  Expect(*file, directory_.path());
  BringAll(1000);
  const auto info = incoming_->Finish();
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(7u, info->header.min_txid);
  EXPECT_EQ(nullptr, incoming_->TakeDatabase());
}

// The rest need not come.
TEST_F(IncomingFileTest, SaysThatAFileIsBrokenBeforeItsEnd) {
  std::string file = MakeSnapshot(4096, 1000);
  file[ltx::kHeaderBytes + 1] ^= 1;  // the first page's number
  Expect(file, directory_.path());
  ASSERT_TRUE(Bring(200'000).ok());
  EXPECT_TRUE(absl::IsDataLoss(incoming_->Finish().status()));
  EXPECT_TRUE(absl::IsDataLoss(Bring(1)));
}

TEST_F(IncomingFileTest, FindsWhatIsBrokenAtTheEnd) {
  std::string file = MakeSnapshot(4096, 1000);
  file.back() ^= 1;
  Expect(file, directory_.path());
  while (arrived_ < bytes_.size() && Bring(100'000).ok()) {
  }
  EXPECT_TRUE(absl::IsDataLoss(incoming_->Finish().status()));
  EXPECT_EQ(nullptr, incoming_->TakeDatabase());
}

// Whoever gives it up does not wait for what will not come.
TEST_F(IncomingFileTest, EndsInTheMiddle) {
  Expect(MakeSnapshot(4096, 1000), directory_.path());
  ASSERT_TRUE(Bring(300'000).ok());
  incoming_.reset();
  Expect(MakeSnapshot(4096, 3), directory_.path());
  incoming_.reset();
}

}  // namespace
}  // namespace litefs::db
