#include "ltx/crc64.h"

#include <gtest/gtest.h>

#include <random>
#include <string_view>
#include <vector>

#include "ltx/crc64_polynomial.h"
#include "ltx/page_checksum.h"

namespace litefs::ltx {
namespace {

// Bit by bit, from the definition.
uint64_t Reference(std::span<const std::byte> data) {
  uint64_t state = ~uint64_t{0};
  for (const std::byte byte : data) {
    state ^= static_cast<uint64_t>(byte);
    for (int i = 0; i < 8; ++i) {
      state = state >> 1 ^ ((state & 1) != 0 ? internal::kPolynomial : 0);
    }
  }
  return ~state;
}

std::vector<std::byte> RandomBytes(size_t n) {
  std::mt19937_64 random(n);
  std::vector<std::byte> data(n);
  for (std::byte& b : data) b = static_cast<std::byte>(random());
  return data;
}

std::span<const std::byte> Bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

struct Portable {
  static bool Available() { return true; }
  static uint64_t Crc(uint64_t crc, std::span<const std::byte> data) {
    return Crc64Portable(crc, data);
  }
};
struct Clmul {
  static bool Available() { return HaveClmul(); }
  static uint64_t Crc(uint64_t crc, std::span<const std::byte> data) {
    return Crc64Clmul(crc, data);
  }
};
struct NarrowClmul {
  static bool Available() { return HaveClmul(); }
  static uint64_t Crc(uint64_t crc, std::span<const std::byte> data) {
    return internal::Crc64NarrowClmul(crc, data);
  }
};
struct Dispatched {
  static bool Available() { return true; }
  static uint64_t Crc(uint64_t crc, std::span<const std::byte> data) { return Crc64(crc, data); }
};

template <typename T>
class Crc64Test : public testing::Test {
 protected:
  void SetUp() override {
    if (!T::Available()) GTEST_SKIP() << "not on this processor";
  }
};
using Implementations = testing::Types<Portable, Clmul, NarrowClmul, Dispatched>;
TYPED_TEST_SUITE(Crc64Test, Implementations);

TYPED_TEST(Crc64Test, HasThePublishedValues) {
  EXPECT_EQ(TypeParam::Crc(0, Bytes("123456789")), 0xb90956c775a41001);
  EXPECT_EQ(TypeParam::Crc(0, {}), 0u);
  EXPECT_EQ(TypeParam::Crc(0, std::vector<std::byte>(512)), 0x7cd9900000000000);
}

TYPED_TEST(Crc64Test, AgreesWithTheDefinitionForEveryShortLength) {
  for (size_t n = 0; n <= 300; ++n) {
    const auto data = RandomBytes(n);
    EXPECT_EQ(TypeParam::Crc(0, data), Reference(data)) << n;
  }
}

TYPED_TEST(Crc64Test, AgreesWithTheDefinitionForPages) {
  for (const size_t n : {512, 1000, 4096, 4099, 65536, 65536 + 127}) {
    const auto data = RandomBytes(n);
    EXPECT_EQ(TypeParam::Crc(0, data), Reference(data)) << n;
  }
}

TYPED_TEST(Crc64Test, IsTheSameHoweverTheDataIsSplit) {
  const auto data = RandomBytes(700);
  const uint64_t whole = Reference(data);
  const std::span<const std::byte> bytes = data;
  for (size_t split = 0; split <= data.size(); ++split) {
    const uint64_t first = TypeParam::Crc(0, bytes.first(split));
    EXPECT_EQ(TypeParam::Crc(first, bytes.subspan(split)), whole) << split;
  }
}

TYPED_TEST(Crc64Test, DoesNotDependOnAlignment) {
  const auto data = RandomBytes(1040);
  for (size_t skip = 0; skip < 16; ++skip) {
    const auto part = std::span<const std::byte>(data).subspan(skip, 1024);
    EXPECT_EQ(TypeParam::Crc(0, part), Reference(part)) << skip;
  }
}

TEST(Crc64, CombinesTheChecksumsOfTwoParts) {
  for (const size_t length : {0, 1, 7, 8, 512, 1000, 4096, 65536}) {
    const auto a = RandomBytes(37);
    const auto b = RandomBytes(length);
    const uint64_t crc_a = Crc64(0, a);
    const uint64_t crc_b = Crc64(0, b);
    EXPECT_EQ(Crc64Combine(crc_a, crc_b, length), Crc64(crc_a, b)) << length;
    EXPECT_EQ(Crc64Combiner(length).Combine(crc_a, crc_b), Crc64(crc_a, b)) << length;
  }
}

TEST(Crc64, MultipliesAlikeWithAndWithoutTheInstruction) {
  if (!HaveClmul()) GTEST_SKIP() << "not on this processor";
  std::mt19937_64 random(1);
  for (int i = 0; i < 1000; ++i) {
    const uint64_t a = random();
    const uint64_t b = random();
    EXPECT_EQ(internal::MultiplyClmul(a, b),
              internal::Multiply(internal::Multiply(a, b), internal::kX));
  }
}

TEST(PageChecksum, HasThePublishedValues) {
  EXPECT_EQ(PageChecksum(1, std::vector<std::byte>(512)), 0xefb1f44fecd99000);
  EXPECT_EQ(PageChecksum(2, std::vector<std::byte>(4096, std::byte{0xff})), 0x92404d14a0dca3af);
}

TEST(PageChecksum, IsTheSameFromTheCrcOfThePage) {
  for (uint32_t page_bytes = 512; page_bytes <= 65536; page_bytes *= 2) {
    const auto page = RandomBytes(page_bytes);
    EXPECT_EQ(PageChecksummer(page_bytes).FromCrc(77, Crc64(0, page)), PageChecksum(77, page));
  }
}

}  // namespace
}  // namespace litefs::ltx
