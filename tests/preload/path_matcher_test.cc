#include "preload/path_matcher.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "common/unique_fd.h"

namespace litefs::preload {
namespace {

TEST(PathMatcher, KnowsTheFourKindsByName) {
  const struct {
    const char* name;
    FileKind kind;
    const char* database;
  } cases[] = {
      {"app.db", FileKind::kDatabase, "app.db"},
      {"app.db-journal", FileKind::kJournal, "app.db"},
      {"app.db-wal", FileKind::kWal, "app.db"},
      {"app.db-shm", FileKind::kShm, "app.db"},
      {"x-mjzzzzzzzzz", FileKind::kDatabase, "x-mjzzzzzzzzz"},  // no hexadecimal number
      {"x-mj12345678", FileKind::kDatabase, "x-mj12345678"},    // too short
  };
  for (const auto& c : cases) {
    const NameMatch match = MatchName(c.name);
    EXPECT_TRUE(match.matches) << c.name;
    EXPECT_EQ(match.kind, c.kind) << c.name;
    EXPECT_EQ(match.database, c.database);
  }
}

TEST(PathMatcher, LeavesSqlitesOtherFilesAlone) {
  for (const char* name : {"app.db-mj0123ABCDE", "etilqs_0a1b2c", "-journal", "-wal", ""}) {
    EXPECT_FALSE(MatchName(name).matches) << name;
  }
  EXPECT_TRUE(MatchName(std::string(247, 'a')).matches);
  EXPECT_TRUE(MatchName(std::string(247, 'a') + "-wal").matches);
  EXPECT_FALSE(MatchName(std::string(248, 'a')).matches);
}

TEST(PathMatcher, SplitsPaths) {
  EXPECT_EQ(Split("/a/b").directory, "/a");
  EXPECT_EQ(Split("/a/b").name, "b");
  EXPECT_EQ(Split("/b").directory, "/");
  EXPECT_EQ(Split("b").directory, "");
  EXPECT_EQ(Split("b").name, "b");
  EXPECT_EQ(Split("/a/").name, "");
}

class PathMatcherFiles : public testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/litefs-path-XXXXXX";
    directory_ = mkdtemp(pattern);
  }
  void TearDown() override { std::system(("rm -rf " + directory_).c_str()); }

  UniqueFd Make(const std::string& name, std::string_view content, int flags = O_RDWR) {
    const std::string path = directory_ + "/" + name;
    UniqueFd writer(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644));
    EXPECT_EQ(write(writer.get(), content.data(), content.size()),
              static_cast<ssize_t>(content.size()));
    return UniqueFd(open(path.c_str(), flags));
  }

  std::string directory_;
};

TEST_F(PathMatcherFiles, KnowsManagedDirectories) {
  EXPECT_FALSE(IsManaged(directory_));
  mkdir((directory_ + "/.litefs").c_str(), 0755);
  EXPECT_TRUE(IsManaged(directory_));
  mkdir((directory_ + "/.litefs/.litefs").c_str(), 0755);
  EXPECT_FALSE(IsManaged(directory_ + "/.litefs"));
  mkdir((directory_ + "/.litefs/deep").c_str(), 0755);
  mkdir((directory_ + "/.litefs/deep/.litefs").c_str(), 0755);
  EXPECT_FALSE(IsManaged(directory_ + "/.litefs/deep"));
}

TEST_F(PathMatcherFiles, FindsThePathThroughSymlinksAndRelativeNames) {
  const UniqueFd file = Make("real.db", "");
  symlink("real.db", (directory_ + "/link.db").c_str());
  const UniqueFd link(open((directory_ + "/./link.db").c_str(), O_RDWR));
  char buffer[4096];
  EXPECT_EQ(DescriptorPath(link.get(), buffer), directory_ + "/real.db");
  EXPECT_EQ(DescriptorPath(9999, buffer), "");
  char small[8];
  EXPECT_EQ(DescriptorPath(link.get(), small), "");
}

TEST_F(PathMatcherFiles, ReadsTheMagicWithoutMovingTheOffset) {
  const std::string magic("SQLite format 3\0 and more", 25);
  const UniqueFd database = Make("a", magic);
  lseek(database.get(), 3, SEEK_SET);
  EXPECT_EQ(ReadContent(database.get(), 25), Content::kDatabase);
  EXPECT_EQ(lseek(database.get(), 0, SEEK_CUR), 3);
  EXPECT_EQ(ReadContent(Make("b", "").get(), 0), Content::kEmpty);
  EXPECT_EQ(ReadContent(Make("c", "SQLite").get(), 6), Content::kOther);
  EXPECT_EQ(ReadContent(Make("d", magic, O_WRONLY).get(), 25), Content::kUnreadable);
}

}  // namespace
}  // namespace litefs::preload
