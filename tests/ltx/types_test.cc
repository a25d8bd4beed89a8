#include "ltx/types.h"

#include <gtest/gtest.h>

namespace litefs::ltx {
namespace {

TEST(Position, IsWrittenAndReadAsThirtyThreeCharacters) {
  const Position position{.txid = 42, .checksum = 0xd140aa9888888888};
  EXPECT_EQ(FormatPosition(position), "000000000000002a/d140aa9888888888");
  EXPECT_EQ(ParsePosition("000000000000002a/d140aa9888888888"), position);
}

TEST(Position, RefusesAnythingElse) {
  for (const char* text : {"", "2a/d140aa9888888888", "000000000000002a-d140aa9888888888",
                           "000000000000002a/d140aa988888888", "000000000000002a/d140aa98888888888",
                           "00000000000000 a/d140aa9888888888"}) {
    EXPECT_FALSE(ParsePosition(text).has_value()) << text;
  }
}

TEST(FileName, IsWrittenAndRead) {
  EXPECT_EQ(FormatFileName(1, 0xabc), "0000000000000001-0000000000000abc.ltx");
  const auto range = ParseFileName("0000000000000001-0000000000000abc.ltx");
  ASSERT_TRUE(range.has_value());
  EXPECT_EQ(range->min_txid, 1u);
  EXPECT_EQ(range->max_txid, 0xabcu);
}

TEST(FileName, RefusesAnythingElse) {
  for (const char* name :
       {"", "0000000000000001-0000000000000abc", "0000000000000001-0000000000000ABC.ltx",
        "0000000000000002-0000000000000001.ltx", "0000000000000000-0000000000000001.ltx",
        "0000000000000001-0000000000000002.ltx.tmp", "x0000000000000001-000000000000002.ltx"}) {
    EXPECT_FALSE(ParseFileName(name).has_value()) << name;
  }
}

}  // namespace
}  // namespace litefs::ltx
