// Looking for programs without the shim: a database is looked at again only where its files have
// changed, or the log has more than what is captured.

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>

#include "daemon/db/primary_database.h"
#include "tests/support/child_commands.h"
#include "tests/support/primary_support.h"
#include "tests/support/replica_support.h"

namespace litefs::db {
namespace {

using test::StockProcess;

class StrangersLook : public testing::Test {
 protected:
  void Open(const std::string& mode) {
    test::MakeAppDatabase(directory_.path(), mode);
    database_ = test::OpenAppDatabase(directory_.path(), /*in_use=*/false);
    ASSERT_NE(database_, nullptr);
  }
  void Look() {
    database_->LookForStrangers(has_sessions_, [] {});
    if (database_->NeedsAttention()) database_->Attend();
  }
  // Looks until the last change is old enough to tell it from a next one.  False after 10 s.
  bool LooksUntilSeen() {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (!database_->IsAsLastSeen()) {
      if (std::chrono::steady_clock::now() > end) return false;
      Look();
    }
    return true;
  }
  std::string Path() { return directory_.path() + "/app.db"; }

  bool has_sessions_ = false;
  test::TemporaryDirectory directory_;
  std::unique_ptr<PrimaryDatabase> database_;
};

TEST_F(StrangersLook, IsNotRepeatedWhereNothingHasChanged) {
  Open("delete");
  EXPECT_FALSE(database_->IsAsLastSeen());  // nobody has looked
  ASSERT_TRUE(LooksUntilSeen());
  EXPECT_TRUE(database_->IsAsLastSeen());
  const ltx::TxId before = database_->position().txid;
  ASSERT_EQ(test::RunProcess({"sqlite3", Path(), "UPDATE t SET v = 'y'"}), 0);
  EXPECT_FALSE(database_->IsAsLastSeen());
  Look();
  EXPECT_EQ(database_->position().txid, before + 1);
  EXPECT_TRUE(LooksUntilSeen());
}

TEST_F(StrangersLook, IsRepeatedForAChangeThatKeepsSizeAndTime) {
  Open("delete");
  ASSERT_TRUE(LooksUntilSeen());
  const ltx::TxId before = database_->position().txid;
  const auto time = std::filesystem::last_write_time(Path());
  const auto size = std::filesystem::file_size(Path());
  ASSERT_EQ(test::RunProcess({"sqlite3", Path(), "UPDATE t SET v = 'z'"}), 0);
  std::filesystem::last_write_time(Path(), time);
  ASSERT_EQ(std::filesystem::file_size(Path()), size);
  EXPECT_FALSE(database_->IsAsLastSeen());
  Look();
  EXPECT_EQ(database_->position().txid, before + 1);
}

TEST_F(StrangersLook, IsRepeatedForAFileThatIsReplaced) {
  Open("delete");
  ASSERT_TRUE(LooksUntilSeen());
  const auto time = std::filesystem::last_write_time(Path());
  std::filesystem::copy_file(Path(), Path() + ".new");
  std::filesystem::last_write_time(Path() + ".new", time);
  std::filesystem::rename(Path() + ".new", Path());
  EXPECT_FALSE(database_->IsAsLastSeen());
}

// Frames that lie in the log become a transaction by a word in the wal-index, which no file's time
// tells of.
TEST_F(StrangersLook, IsRepeatedWhileTheLogHasMoreThanIsCaptured) {
  Open("wal");
  StockProcess app(Path());
  app.Run("PRAGMA cache_size = 1");
  app.Run("PRAGMA cache_spill = 1");
  ASSERT_EQ(app.Run("UPDATE t SET v = 'first'"), "");
  Look();
  ASSERT_TRUE(LooksUntilSeen());
  const ltx::TxId before = database_->position().txid;
  ASSERT_EQ(app.Run("BEGIN"), "");
  ASSERT_EQ(app.Run("WITH RECURSIVE i(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM i WHERE x < 500) "
                    "INSERT INTO t(v) SELECT randomblob(2000) FROM i"),
            "");
  ASSERT_GT(std::filesystem::file_size(Path() + "-wal"), 100'000u);  // it has spilled
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(300);
  while (std::chrono::steady_clock::now() < end) {
    EXPECT_FALSE(database_->IsAsLastSeen());
    Look();
  }
  EXPECT_EQ(database_->position().txid, before);
  ASSERT_EQ(app.Run("COMMIT"), "");
  EXPECT_FALSE(database_->IsAsLastSeen());
  Look();
  EXPECT_EQ(database_->position().txid, before + 1);
  EXPECT_TRUE(LooksUntilSeen());
}

// With the last app, what it left in the file is looked at again.
TEST_F(StrangersLook, IsRepeatedWhenTheLastSessionHasEnded) {
  Open("wal");
  constexpr SessionId kSession = 20;
  database_->SessionStarted(kSession, 0, false);
  has_sessions_ = true;
  StockProcess app(Path());
  ASSERT_EQ(app.Run("UPDATE t SET v = 'w'"), "");
  ASSERT_EQ(app.Run("PRAGMA wal_checkpoint").substr(0, 2), "0|");
  ASSERT_TRUE(database_->CaptureWal().ok());
  ASSERT_TRUE(LooksUntilSeen());
  database_->SessionEnded(kSession);
  EXPECT_FALSE(database_->IsAsLastSeen());
}

}  // namespace
}  // namespace litefs::db
