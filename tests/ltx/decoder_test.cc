#include "ltx/decoder.h"

#include <fcntl.h>

#include "common/endian.h"
#include "ltx/crc64.h"
#include "tests/ltx/testing.h"

namespace litefs::ltx {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

// A file of each encoding; small, since each is damaged at every bit.
std::vector<std::pair<std::string, std::string>> SmallFiles() {
  std::vector<std::pair<std::string, std::string>> files = {
      {"lz4", MakeSnapshot(512, 3)},
      {"literals", MakeSnapshot(512, 2, true, Encoder::Compression::kLiteralsOnly)},
      {"untracked", MakeSnapshot(512, 2, false)},
  };
  for (const char* name :
       {"v1-raw/delta-p512-2.ltx", "v1-lz4/delta-p512-2.ltx", "v2-frame/delta-p512-2.ltx",
        "v3-frame/delta-p512-2.ltx", "v3-block/delta-p512-2.ltx",
        "v1-lz4-bad/ok-frame-blocksum.ltx", "v3-frame-bad/ok-frame-blocksum.ltx"}) {
    files.emplace_back(name, ReadTestFile(Vectors() / name));
  }
  return files;
}

TEST(LtxDecoder, RefusesAFileCutOffAnywhere) {
  for (const auto& [name, file] : SmallFiles()) {
    SCOPED_TRACE(name);
    ASSERT_TRUE(Decode(file).ok());
    for (size_t n = 0; n < file.size(); ++n) {
      // Exactly n bytes on the heap, so that the address sanitizer sees any read beyond.
      const std::vector<char> cut(file.begin(), file.begin() + static_cast<ptrdiff_t>(n));
      const auto decoded = Decode({cut.data(), cut.size()});
      ASSERT_FALSE(decoded.ok()) << n;
      EXPECT_EQ(decoded.status().code(), absl::StatusCode::kDataLoss);
      EXPECT_THAT(std::string(decoded.status().message()), HasSubstr(" at offset "));
    }
  }
}

// The compressed bytes are not checksummed, only what they stand for: LZ4 can say the same thing in
// two ways, and v1 and v2 frames carry some bits without meaning.
TEST(LtxDecoder, RefusesAnyFlippedBitThatChangesTheContent) {
  for (const auto& [name, file] : SmallFiles()) {
    SCOPED_TRACE(name);
    const auto original = Decode(file);
    ASSERT_TRUE(original.ok());
    size_t harmless = 0;
    for (size_t bit = 0; bit < file.size() * 8; ++bit) {
      std::string damaged = file;
      damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
      const auto decoded = Decode(damaged);
      if (!decoded.ok()) continue;
      ++harmless;
      EXPECT_EQ(decoded->info.header, original->info.header) << bit;
      EXPECT_EQ(decoded->info.trailer, original->info.trailer) << bit;
      EXPECT_EQ(decoded->pages, original->pages) << bit;
    }
    if (name.starts_with("v1-raw")) {
      EXPECT_EQ(harmless, 0u);
    }
    // The low half of the token in each of the two blocks: the length of a match that never comes.
    if (name == "literals") {
      EXPECT_EQ(harmless, 8u);
    }
    EXPECT_LT(harmless, file.size() / 16);
  }
}

TEST(LtxDecoder, RefusesBytesAfterTheEnd) {
  for (const auto& [name, file] : SmallFiles()) {
    EXPECT_FALSE(Decode(file + '\0').ok()) << name;
    EXPECT_FALSE(Decode(file + file).ok()) << name;
  }
}

TEST(LtxDecoder, NamesTheDefectAndItsOffset) {
  std::string file = MakeSnapshot(512, 2);
  file[103] = 2;  // the first page's number
  const auto decoded = Decode(file);
  EXPECT_THAT(std::string(decoded.status().message()),
              StartsWith("snapshot-incomplete: page 2 after page 0 at offset 100"));
}

// The size field of the first page claims 4 GiB less one.
TEST(LtxDecoder, DoesNotBelieveASizeField) {
  std::string file = MakeSnapshot(512, 2);
  StoreBig32(file.data() + 106, 0xffffffff);
  const auto decoded = Decode(file);
  EXPECT_THAT(std::string(decoded.status().message()), StartsWith("page-size-field: "));
}

TEST(LtxDecoder, DoesNotAllocateForAHugeCommit) {
  Header header = {.page_bytes = 65536,
                   .commit = 0xffffffff,
                   .min_txid = 2,
                   .max_txid = 2,
                   .pre_apply = kChecksumFlag};
  const auto file = EncodeFile(header, {}, kChecksumFlag);
  ASSERT_TRUE(file.ok());
  EXPECT_TRUE(Decode(*file).ok());
}

TEST(LtxDecoder, GivesTheCrcOfThePageItRead) {
  const std::string file = MakeSnapshot(4096, 3);
  SpanSource source(file);
  const auto decoder = Decoder::Open(&source);
  ASSERT_TRUE(decoder.ok());
  Page page(4096);
  PageNo pgno = 0;
  while ((*decoder)->Next(&pgno, page).value()) {
    EXPECT_EQ((*decoder)->page_crc(), Crc64(0, page));
  }
  EXPECT_EQ(pgno, 3u);
  EXPECT_EQ((*decoder)->index().size(), 3u);
  EXPECT_FALSE((*decoder)->Next(&pgno, page).value());
}

TEST(LtxDecoder, ReadsAndWritesThroughFileDescriptors) {
  const TempDir dir;
  const std::string path = dir.File("a.ltx");
  const std::string file = MakeSnapshot(4096, 300);  // more than the buffers hold
  {
    const auto fd = OpenFile(path, O_WRONLY | O_CREAT);
    ASSERT_TRUE(fd.ok());
    FdSink sink(fd->get(), path);
    ASSERT_TRUE(sink.Append(std::as_bytes(std::span(file))).ok());
    ASSERT_TRUE(sink.Flush().ok());
  }
  const auto fd = OpenFile(path, O_RDONLY);
  ASSERT_TRUE(fd.ok());
  auto source = FdSource::Open(fd->get(), path);
  ASSERT_TRUE(source.ok());
  EXPECT_EQ(source->size(), file.size());
  const auto info = VerifyFile(*source);
  ASSERT_TRUE(info.ok()) << Text(info);
  EXPECT_EQ(info->page_count, 300u);
}

TEST(LtxDecoder, PassesAnErrorOfTheSourceOn) {
  class BrokenSource final : public ByteSource {
   public:
    absl::Status ReadAt(std::span<std::byte>, uint64_t) override {
      return absl::UnavailableError("gone");
    }
    uint64_t size() const override { return 1000; }
  } source;
  EXPECT_EQ(VerifyFile(source).status().code(), absl::StatusCode::kUnavailable);
}

TEST(LtxHeader, IsReadAsWritten) {
  const Header header = {.flags = kFlagNoChecksum,
                         .page_bytes = 65536,
                         .commit = 1,
                         .min_txid = 2,
                         .max_txid = 3,
                         .timestamp_ms = -4,
                         .pre_apply = 0,
                         .wal_offset = 5,
                         .wal_size = 6,
                         .wal_salt1 = 7,
                         .wal_salt2 = 8,
                         .node_id = 9};
  const auto decoded = DecodeHeader(Encode(header));
  ASSERT_TRUE(decoded.ok()) << Text(decoded);
  EXPECT_EQ(*decoded, header);
}

}  // namespace
}  // namespace litefs::ltx
