// The parts of the command line that need no daemon; tests/system runs the rest.

#include <gtest/gtest.h>

#include "daemon/cli/command_support.h"
#include "daemon/cli/preload_library.h"

namespace litefs {
namespace {

TEST(PreloadLibrary, StandsBeforeTheOthers) {
  EXPECT_EQ(WithPreloadLibrary("", "/a/liblitefs.so"), "/a/liblitefs.so");
  EXPECT_EQ(WithPreloadLibrary("/x.so /y.so", "/a/liblitefs.so"), "/a/liblitefs.so:/x.so /y.so");
  EXPECT_EQ(WithPreloadLibrary("/x.so:/b/liblitefs.so", "/a/liblitefs.so"),
            "/a/liblitefs.so:/x.so");
}

TEST(PreloadLibrary, IsTakenOutByItsNameOnly) {
  EXPECT_EQ(WithoutPreloadLibrary("/x.so /y.so"), "/x.so /y.so");
  EXPECT_EQ(WithoutPreloadLibrary("liblitefs.so"), "");
  EXPECT_EQ(WithoutPreloadLibrary("/x.so:/lib/liblitefs.so /y.so"), "/x.so:/y.so");
  EXPECT_EQ(WithoutPreloadLibrary("/lib/liblitefs.so.old"), "/lib/liblitefs.so.old");
  EXPECT_EQ(WithoutPreloadLibrary(""), "");
}

TEST(DatabasePath, GivesItsDirectory) {
  DirOptions options;
  std::string database = "data/app.db";
  EXPECT_TRUE(SplitDatabasePath(&database, &options).ok());
  EXPECT_EQ(options.dir, "data");
  EXPECT_EQ(database, "app.db");
}

TEST(DatabasePath, OfTheRoot) {
  DirOptions options;
  std::string database = "/app.db";
  EXPECT_TRUE(SplitDatabasePath(&database, &options).ok());
  EXPECT_EQ(options.dir, "/");
}

TEST(DatabasePath, MayNotContradictDir) {
  DirOptions options = {.dir = "data", .config = ""};
  std::string database = "app.db";
  EXPECT_TRUE(SplitDatabasePath(&database, &options).ok());
  database = "other/app.db";
  EXPECT_FALSE(SplitDatabasePath(&database, &options).ok());
}

TEST(Table, AlignsItsColumns) {
  EXPECT_EQ(Table({{"A", "LONG"}, {"bbb", "c"}, {"d", ""}}), "A    LONG\nbbb  c\nd\n");
}

TEST(Format, SizesAndDurations) {
  EXPECT_EQ(FormatSize(0), "0 B");
  EXPECT_EQ(FormatSize(1023), "1023 B");
  EXPECT_EQ(FormatSize(1536), "1.5 KiB");
  EXPECT_EQ(FormatSize(uint64_t{5} << 40), "5.0 TiB");
  EXPECT_EQ(FormatSize(uint64_t{1} << 52), "4096.0 TiB");
  EXPECT_EQ(FormatDuration(std::chrono::milliseconds(12)), "12 ms");
  EXPECT_EQ(FormatDuration(std::chrono::seconds(59)), "59 s");
  EXPECT_EQ(FormatDuration(std::chrono::seconds(61)), "1 min 1 s");
  EXPECT_EQ(FormatDuration(std::chrono::minutes(125)), "2 h 5 min");
  EXPECT_EQ(FormatDuration(std::chrono::hours(49)), "2 d 1 h");
}

TEST(ReplyMembers, OfAnotherTypeAreDefaults) {
  const auto json = nlohmann::json::parse(R"({"t":1,"n":"x","a":{},"b":true,"l":[1,2]})");
  EXPECT_EQ(Text(json, "t"), "");
  EXPECT_EQ(Number(json, "n"), 0);
  EXPECT_EQ(Number(json, "absent"), 0);
  EXPECT_TRUE(Flag(json, "b"));
  EXPECT_TRUE(Items(json, "a").empty());
  EXPECT_EQ(Items(json, "l").size(), 2u);
  EXPECT_EQ(Text(nlohmann::json::parse("3"), "t"), "");
  EXPECT_EQ(Text(nlohmann::json::parse("{", nullptr, false), "t"), "");
}

}  // namespace
}  // namespace litefs
