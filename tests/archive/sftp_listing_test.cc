#include "daemon/archive/sftp_listing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace litefs::archive {
namespace {

std::vector<std::string> Names(std::string_view text) {
  const auto entries = ParseSftpListing(text);
  EXPECT_TRUE(entries.ok()) << entries.status();
  std::vector<std::string> names;
  if (!entries.ok()) return names;
  for (const DirectoryEntry& entry : *entries) names.push_back(entry.name);
  return names;
}

TEST(SftpListing, GivesFilesAndDirectories) {
  const auto entries = ParseSftpListing(
      "drwxr-x---    4 nobody   nogroup      4096 Nov 28 10:46 .\n"
      "drwxr-x---    4 nobody   nogroup      4096 Nov 28 10:46 ..\n"
      "drwxr-x---    2 nobody   nogroup      4096 Nov  8  2025 sub dir\n"
      "-rw-r-----    1 nobody   nogroup  98765432101 Nov 28 10:46 a b  c\n"
      "-rw-r-----    1 nobody   nogroup         0 Nov 28 10:46  leading\n"
      "lrwxrwxrwx    1 nobody   nogroup         1 Nov 28 10:46 link -> a\n"
      "brw-rw----    1 root     disk       8,   0 Nov 28 10:46 device\n");
  ASSERT_TRUE(entries.ok()) << entries.status();
  ASSERT_EQ(entries->size(), 3U);
  EXPECT_EQ((*entries)[0].name, "sub dir/");
  EXPECT_EQ((*entries)[1].name, "a b  c");
  EXPECT_EQ((*entries)[1].size, 98765432101U);
  EXPECT_EQ((*entries)[2].name, " leading");
  EXPECT_EQ((*entries)[2].size, 0U);
}

TEST(SftpListing, TakesALastLineWithoutItsEnd) {
  EXPECT_THAT(Names(""), testing::IsEmpty());
  EXPECT_THAT(Names("-rw-r----- 1 u g 12 Nov 28 10:46 x"), testing::ElementsAre("x"));
}

TEST(SftpListing, RefusesOtherForms) {
  for (const char* text :
       {"-rw-r----- 1 u g 12\n", "-rw-r----- 1 u g big Nov 28 10:46 x\n", "-\n",
        "-rw-r----- 1 u g 12 Nov 28 10:46 \n", "-rw-r----- 1 u g 12 Nov 28 10:46 a/b\n",
        "-rw-r----- 1 u g 99999999999999999999 Nov 28 10:46 x\n"}) {
    EXPECT_TRUE(absl::IsDataLoss(ParseSftpListing(text).status())) << text;
  }
}

}  // namespace
}  // namespace litefs::archive
