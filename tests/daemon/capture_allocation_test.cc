// The capture of a transaction allocates nothing once its buffers have their size.

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>

#include "common/clock.h"
#include "daemon/db/primary_database.h"
#include "tests/support/allocation_counter.h"
#include "tests/support/child_commands.h"
#include "tests/support/replica_support.h"

#ifdef LITEFS_COUNT_ALLOCATIONS

namespace litefs::db {
namespace {

using test::AllocationCounter;
using test::StockProcess;

constexpr int kWarmUp = 300, kMeasured = 100;

class CaptureAllocation : public testing::Test {
 protected:
  void Open(const std::string& mode) {
    std::filesystem::create_directories(directory_.path() + "/control");
    ASSERT_EQ(test::RunProcess({"sqlite3", Path(),
                                "PRAGMA journal_mode = " + mode +
                                    "; CREATE TABLE t(id INTEGER PRIMARY KEY, v);"
                                    "INSERT INTO t VALUES (1, 'x')"}),
              0);
    app_ = std::make_unique<StockProcess>(Path());
    app_->Run("PRAGMA wal_autocheckpoint = 0");
    std::string report;
    auto database = PrimaryDatabase::Open({.name = "app.db",
                                           .path = Path(),
                                           .control_directory = directory_.path() + "/control",
                                           .temporary_directory = directory_.path(),
                                           .node_id = 7,
                                           .clock = &SystemClock(),
                                           .on_commit = {}},
                                          true, &report);
    ASSERT_TRUE(database.ok()) << database.status();
    database_ = *std::move(database);
  }
  void Update(int i) {
    ASSERT_EQ(app_->Run("UPDATE t SET v = " + std::to_string(i) + " WHERE id = 1"), "");
  }
  std::string Path() { return directory_.path() + "/app.db"; }

  test::TemporaryDirectory directory_;
  std::unique_ptr<StockProcess> app_;
  std::unique_ptr<PrimaryDatabase> database_;
};

TEST_F(CaptureAllocation, OfATransactionInTheWal) {
  Open("wal");
  uint64_t allocations = 0;
  for (int i = 0; i < kWarmUp + kMeasured; ++i) {
    Update(i);
    const AllocationCounter counter;
    ASSERT_TRUE(database_->CaptureWal().ok());
    if (i >= kWarmUp) allocations += counter.count();
  }
  EXPECT_EQ(database_->position().txid, uint64_t{kWarmUp + kMeasured});
  EXPECT_EQ(allocations, 0u) << "in " << kMeasured << " transactions";
}

TEST_F(CaptureAllocation, OfATransactionWithARollbackJournal) {
  Open("delete");
  constexpr SessionId kSession = 20;
  database_->SessionStarted(kSession, 0, false);
  uint64_t allocations = 0;
  for (int i = 0; i < kWarmUp + kMeasured; ++i) {
    Update(i);
    const AllocationCounter counter;
    database_->AddDirty(kSession, 0, 8192);
    database_->Prepare(kSession);
    ASSERT_TRUE(database_->Commit(kSession, false).ok());
    database_->Done(kSession, 0);
    if (i >= kWarmUp) allocations += counter.count();
  }
  EXPECT_EQ(database_->position().txid, uint64_t{kWarmUp + kMeasured});
  EXPECT_EQ(allocations, 0u) << "in " << kMeasured << " transactions";
}

}  // namespace
}  // namespace litefs::db

#endif
