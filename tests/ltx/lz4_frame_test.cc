#include "ltx/lz4_frame.h"

#include <lz4frame.h>
#include <xxhash.h>

#include <functional>
#include <random>

#include "common/endian.h"
#include "tests/ltx/testing.h"

namespace litefs::ltx {
namespace {

using testing::StartsWith;

constexpr size_t kFrameHeaderBytes = 7;

// Three blocks of 64 KiB: one that compresses, one that does not, and a short one.
std::string Content() {
  std::string content(65536, 'a');
  std::mt19937 random(1);
  for (int i = 0; i < 65536; ++i) content += static_cast<char>(random());
  for (int i = 0; i < 1000; ++i) content += content[static_cast<size_t>(i) * 90];
  return content;
}

std::string Frame(const std::string& content, LZ4F_blockMode_t mode) {
  LZ4F_preferences_t preferences = LZ4F_INIT_PREFERENCES;
  preferences.frameInfo.blockSizeID = LZ4F_max64KB;
  preferences.frameInfo.blockMode = mode;
  preferences.frameInfo.blockChecksumFlag = LZ4F_blockChecksumEnabled;
  preferences.frameInfo.contentChecksumFlag = LZ4F_contentChecksumEnabled;
  std::string frame(LZ4F_compressFrameBound(content.size(), &preferences), '\0');
  frame.resize(
      LZ4F_compressFrame(frame.data(), frame.size(), content.data(), content.size(), &preferences));
  return frame;
}

std::byte* At(std::string& frame, size_t offset) {
  return reinterpret_cast<std::byte*>(frame.data()) + offset;
}

// Calls visit with the offset of each block's checksum.
void ForEachBlock(std::string& frame, const std::function<void(std::byte* sum)>& visit) {
  size_t at = kFrameHeaderBytes;
  while (const uint32_t size = LoadLittle32(At(frame, at)) & 0x7fffffff) {
    visit(At(frame, at + 4 + size));
    at += 4 + size + 4;
  }
}

// The same frame as the Go library writes it: the checksums are of the blocks' content.
std::string WithContentChecksums(std::string frame, const std::string& content) {
  size_t done = 0;
  ForEachBlock(frame, [&](std::byte* sum) {
    const size_t n = std::min<size_t>(65536, content.size() - done);
    StoreLittle32(sum, XXH32(content.data() + done, n, 0));
    done += n;
  });
  return frame;
}

// The frame's content, read in pieces of at most piece bytes.
absl::StatusOr<std::string> Read(const std::string& frame, size_t piece) {
  SpanSource source(frame);
  SourceReader reader(&source, 0);
  Lz4FrameReader lz4;
  if (const auto begun = lz4.Begin(&reader); !begun.ok()) return begun;
  std::string content;
  for (;;) {
    std::string part(piece, '\0');
    const auto n = lz4.Read({At(part, 0), part.size()});
    if (!n.ok()) return n.status();
    content.append(part, 0, *n);
    if (*n < piece) break;
  }
  EXPECT_EQ(reader.remaining(), 0u);
  return content;
}

TEST(LtxLz4Frame, ReadsBlockChecksumsOfEitherDefinition) {
  const std::string content = Content();
  for (const auto mode : {LZ4F_blockIndependent, LZ4F_blockLinked}) {
    const std::string standard = Frame(content, mode);
    const std::string go = WithContentChecksums(standard, content);
    ASSERT_NE(standard, go);
    for (const size_t piece : {size_t{511}, size_t{512}, size_t{65536}, content.size() + 1}) {
      SCOPED_TRACE(piece);
      for (const std::string& frame : {standard, go}) {
        const auto read = Read(frame, piece);
        ASSERT_TRUE(read.ok()) << read.status();
        EXPECT_TRUE(*read == content);
      }
    }
  }
}

TEST(LtxLz4Frame, RefusesAWrongBlockChecksum) {
  const std::string content = Content();
  const std::string standard = Frame(content, LZ4F_blockIndependent);
  std::string count = standard;
  int blocks = 0;
  ForEachBlock(count, [&](std::byte*) { ++blocks; });
  ASSERT_EQ(blocks, 3);
  for (int damaged = 0; damaged < blocks; ++damaged) {
    std::string frame = standard;
    int i = 0;
    ForEachBlock(frame, [&](std::byte* sum) {
      if (i++ == damaged) *sum ^= std::byte{1};
    });
    const auto read = Read(frame, 512);
    ASSERT_FALSE(read.ok());
    EXPECT_THAT(std::string(read.status().message()), StartsWith("lz4-checksum: block checksum"));
  }
}

TEST(LtxLz4Frame, RefusesAFrameWithBlockChecksumsCutOffAnywhere) {
  const std::string frame = Frame(std::string(600, 'x') + "end", LZ4F_blockIndependent);
  ASSERT_TRUE(Read(frame, 100).ok());
  for (size_t n = 0; n < frame.size(); ++n) {
    EXPECT_FALSE(Read(frame.substr(0, n), 100).ok()) << n;
  }
}

}  // namespace
}  // namespace litefs::ltx
