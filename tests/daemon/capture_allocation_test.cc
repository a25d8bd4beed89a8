// The capture of a transaction allocates nothing once its buffers have their size.

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "daemon/db/primary_database.h"
#include "tests/support/allocation_counter.h"
#include "tests/support/child_commands.h"
#include "tests/support/primary_support.h"
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
    test::MakeAppDatabase(directory_.path(), mode);
    app_ = std::make_unique<StockProcess>(Path());
    app_->Run("PRAGMA wal_autocheckpoint = 0");
    database_ = test::OpenAppDatabase(directory_.path(), /*in_use=*/true);
    ASSERT_NE(database_, nullptr);
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
