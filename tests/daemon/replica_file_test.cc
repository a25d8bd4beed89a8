// ReplicaFile against real SQLite: histories of transactions, with stock readers in other
// processes.  Deaths are in replica_crash_test.cc.

#include "daemon/db/replica_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <random>

#include "common/sqlite_format.h"
#include "tests/support/child_commands.h"
#include "tests/support/replica_support.h"

namespace litefs::test {
namespace {

class ReplicaFileTest : public testing::Test {
 protected:
  std::string Path(const std::string& name) { return directory_.path() + "/" + name; }
  std::string Replica() { return Path("app.db"); }

  void Open() {
    file_.reset();
    auto file = ReplicaFile::Open({.path = Replica(), .temporary_directory = directory_.path()});
    ASSERT_TRUE(file.ok()) << file.status();
    file_ = *std::move(file);
  }
  absl::Status Apply(const Image& to) {
    Change change(applied_, to);
    const absl::Status status = change.ApplyTo(*file_);
    if (status.ok()) applied_ = to;
    return status;
  }
  void ExpectApplied(const Image& to) {
    const absl::Status status = Apply(to);
    ASSERT_TRUE(status.ok()) << status;
    ExpectContent();
  }
  void ExpectContent() {
    ASSERT_EQ(ReadAll(*file_) == applied_.bytes, true) << "content differs";
    StockProcess stock(Replica());
    ASSERT_EQ(stock.Serialize() == applied_.bytes, true) << "stock sqlite sees other content";
  }
  void ExpectIntegrity() {
    std::string output;
    ASSERT_EQ(RunProcess({"sqlite3", Replica(), "PRAGMA integrity_check"}, &output), 0);
    EXPECT_EQ(output, "ok\n");
  }

  TemporaryDirectory directory_;
  std::unique_ptr<ReplicaFile> file_;
  Image applied_;
};

// ---- Histories
// -----------------------------------------------------------------------------------

struct Mode {
  int page_bytes;
  const char* journal;
};

class History : public ReplicaFileTest, public testing::WithParamInterface<Mode> {};

std::string RandomSql(std::mt19937& random) {
  const auto pick = [&](unsigned n) { return std::to_string(random() % n); };
  switch (random() % 8) {
    case 0:
      return "DELETE FROM t WHERE id % 7 = " + pick(7);
    case 1:
      return "UPDATE t SET v = randomblob(" + pick(3000) + ") WHERE id % 11 = " + pick(11);
    case 2:
      return "BEGIN; CREATE TABLE IF NOT EXISTS u" + pick(4) + " AS SELECT * FROM t LIMIT " +
             pick(50) + "; DELETE FROM t WHERE id > 400; COMMIT";
    case 3:
      return "DROP TABLE IF EXISTS u" + pick(4);
    case 4:
      return random() % 3 == 0 ? "VACUUM" : "REINDEX";
    default:
      return "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x < " +
             std::to_string(1 + random() % 60) +
             ") INSERT INTO t(v) SELECT randomblob(abs(random()) % 900) FROM c";
  }
}

TEST_P(History, IsIdenticalAfterEachTransaction) {
  SourceDatabase source(Path("source.db"));
  source.Run("PRAGMA page_size=" + std::to_string(GetParam().page_bytes));
  source.Run(std::string("PRAGMA journal_mode=") + GetParam().journal);
  source.Run("CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB); CREATE INDEX i ON t(v)");
  Open();
  std::mt19937 random(20261123);
  for (int i = 0; i < 60; ++i) {
    ASSERT_NO_FATAL_FAILURE(ExpectApplied(source.Take())) << "transaction " << i;
    if (i % 10 == 0) ExpectIntegrity();
    if (i % 7 == 3) {
      ASSERT_TRUE(file_->Checkpoint().ok());
    }
    if (i % 13 == 5) Open();
    source.Run(RandomSql(random));
  }
  EXPECT_EQ(file_->shape().wal, std::string_view(GetParam().journal) == "WAL");
  ExpectIntegrity();
  file_.reset();
  ExpectIntegrity();
}

INSTANTIATE_TEST_SUITE_P(All, History,
                         testing::Values(Mode{512, "DELETE"}, Mode{4096, "DELETE"},
                                         Mode{65536, "DELETE"}, Mode{512, "WAL"}, Mode{4096, "WAL"},
                                         Mode{65536, "WAL"}),
                         [](const auto& mode) {
                           return std::string(mode.param.journal) +
                                  std::to_string(mode.param.page_bytes);
                         });

}  // namespace
}  // namespace litefs::test
