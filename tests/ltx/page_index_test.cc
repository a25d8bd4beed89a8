#include "ltx/page_index.h"

#include "tests/ltx/testing.h"

namespace litefs::ltx {
namespace {

std::vector<std::byte> Varints(std::initializer_list<int> bytes) {
  std::vector<std::byte> data(bytes.size());
  std::ranges::transform(bytes, data.begin(), [](int b) { return static_cast<std::byte>(b); });
  return data;
}

TEST(PageIndex, IsReadAsWritten) {
  const PageIndex index = {{.pgno = 1, .offset = 100, .size = 127},
                           {.pgno = 300, .offset = 227, .size = 128},
                           {.pgno = 0xffffffff, .offset = uint64_t{1} << 60, .size = 1}};
  std::vector<std::byte> data;
  EncodePageIndex(index, &data);
  data.resize(data.size() - 8);
  const auto decoded = DecodePageIndex(data);
  ASSERT_TRUE(decoded.ok()) << Text(decoded);
  EXPECT_EQ(*decoded, index);
}

TEST(PageIndex, RefusesWhatIsNotInOrder) {
  EXPECT_TRUE(DecodePageIndex(Varints({1, 100, 9, 2, 109, 9, 0})).ok());
  EXPECT_FALSE(DecodePageIndex(Varints({2, 100, 9, 2, 109, 9, 0})).ok()) << "same page";
  EXPECT_FALSE(DecodePageIndex(Varints({2, 100, 9, 1, 109, 9, 0})).ok()) << "page goes back";
  EXPECT_FALSE(DecodePageIndex(Varints({1, 100, 9, 2, 108, 9, 0})).ok()) << "frames overlap";
  EXPECT_FALSE(DecodePageIndex(Varints({1, 99, 9, 0})).ok()) << "frame in the header";
}

TEST(PageIndex, RefusesWhatIsCutOffOrLeftOver) {
  EXPECT_FALSE(DecodePageIndex({}).ok());
  EXPECT_FALSE(DecodePageIndex(Varints({1, 100, 9})).ok()) << "no end";
  EXPECT_FALSE(DecodePageIndex(Varints({1, 100})).ok());
  EXPECT_FALSE(DecodePageIndex(Varints({0x80})).ok());
  EXPECT_FALSE(DecodePageIndex(Varints({0, 0})).ok()) << "bytes after the end";
}

TEST(PageIndex, RefusesNumbersThatOverflow) {
  EXPECT_FALSE(DecodePageIndex(Varints({0x80, 0x80, 0x80, 0x80, 0x10, 100, 9, 0})).ok())
      << "page number of 33 bits";
  EXPECT_FALSE(
      DecodePageIndex(Varints({1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 9, 0}))
          .ok())
      << "offset of 65 bits";
  EXPECT_FALSE(
      DecodePageIndex(Varints({1, 100, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0}))
          .ok())
      << "end beyond 64 bits";
  EXPECT_FALSE(DecodePageIndex(Varints({0x81, 0, 100, 9, 0})).ok()) << "not the shortest form";
}

TEST(PageIndex, LeadsToEachPage) {
  for (uint32_t page_bytes = 512; page_bytes <= 65536; page_bytes *= 2) {
    const std::string file = MakeSnapshot(page_bytes, 20);
    SpanSource source(file);
    const auto index = ReadPageIndex(source);
    ASSERT_TRUE(index.ok()) << Text(index);
    Page page(page_bytes);
    for (const PageNo pgno : {20, 1, 7}) {
      const absl::Status status = ReadPage(source, *index, pgno, page);
      ASSERT_TRUE(status.ok()) << Text(status);
      EXPECT_EQ(page, MakePage(page_bytes, pgno));
    }
    EXPECT_EQ(ReadPage(source, *index, 21, page).code(), absl::StatusCode::kNotFound);
  }
}

// Reading through the index does not verify the file checksum, so damage may go unnoticed; but it
// must not lead outside the file.
TEST(PageIndex, SurvivesAnyDamage) {
  const std::string file = MakeSnapshot(512, 3);
  Page page(512);
  for (size_t i = 0; i < file.size(); ++i) {
    for (const int flip : {0x01, 0x80, 0xff}) {
      std::string damaged = file;
      damaged[i] = static_cast<char>(damaged[i] ^ flip);
      SpanSource source(damaged);
      const auto index = ReadPageIndex(source);
      if (!index.ok()) continue;
      for (PageNo pgno = 1; pgno <= 3; ++pgno) (void)ReadPage(source, *index, pgno, page);
    }
    SpanSource cut(std::string_view(file).substr(0, i));
    (void)ReadPageIndex(cut);
  }
}

}  // namespace
}  // namespace litefs::ltx
