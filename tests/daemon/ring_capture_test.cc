// A primary's database takes in what apps have committed by their rings: in SQLite's order, and
// what has none is found by comparing.  The apps are stock SQLite; what the shim would have put
// into a ring is read from the file.

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/endian.h"
#include "daemon/db/primary_database.h"
#include "preload/page_stage.h"
#include "tests/support/allocation_counter.h"
#include "tests/support/chain_support.h"
#include "tests/support/child_commands.h"
#include "tests/support/primary_support.h"
#include "tests/support/replica_support.h"

namespace litefs::db {
namespace {

using test::StockProcess;

constexpr uint32_t kPageBytes = 4096;
constexpr SessionId kFirst = 20, kSecond = 21;

// The shim of one session.
class FakeShim {
 public:
  explicit FakeShim(int ring_fd)
      : map_(::mmap(nullptr, kRingFileBytes, PROT_READ | PROT_WRITE, MAP_SHARED, ring_fd, 0)) {
    stage_.SetRing(ring());
  }
  ~FakeShim() { ::munmap(map_, kRingFileBytes); }
  FakeShim(const FakeShim&) = delete;
  FakeShim& operator=(const FakeShim&) = delete;

  RingHeader* ring() { return static_cast<RingHeader*>(map_); }
  bool held() { return ring()->held.load() != 0; }
  // Without the page at left_out, as SQLite does with one that it has used and freed.
  void Begin(const std::string& before, const std::string& after, size_t left_out = 0) {
    stage_.Begin(true, LoadBig32(before.data() + 24));
    for (size_t at = 0; at < after.size(); at += kPageBytes) {
      const std::string page = after.substr(at, kPageBytes);
      if (at != 0 && at == left_out) continue;
      if (at >= before.size() || before.substr(at, kPageBytes) != page) stage_.Add(at, page);
    }
  }
  // A rollback after page 1 was written: it is as it was.
  void BeginRollback(const std::string& content) {
    stage_.Begin(true, LoadBig32(content.data() + 24));
    stage_.Add(0, content.substr(0, kPageBytes));
  }
  void Publish() {
    ASSERT_TRUE(stage_.complete());
    stage_.Publish();
    stage_.Forget();
  }

 private:
  void* const map_;
  preload::PageStage stage_{};
};

class RingCapture : public testing::Test {
 protected:
  void SetUp() override {
    test::MakeAppDatabase(directory_.path(), "delete");
    app_ = std::make_unique<StockProcess>(Path());
    database_ = test::OpenAppDatabase(directory_.path(), /*in_use=*/false);
    ASSERT_NE(database_, nullptr);
    StartSession(kFirst);
    StartSession(kSecond);
    for (const SessionId session : {kFirst, kSecond}) CommitByMessage(session);
  }
  void StartSession(SessionId session) {
    database_->SessionStarted(session, 0, false);
    const absl::StatusOr<UniqueFd> fd = database_->AddRing(session);
    ASSERT_TRUE(fd.ok()) << fd.status();
    shims_[session] = std::make_unique<FakeShim>(fd->get());
    EXPECT_TRUE(shims_[session]->held()) << "before its first commit";
  }
  void Update(const std::string& set = "") {
    const std::string value = std::to_string(++updates_);
    ASSERT_EQ(app_->Run("UPDATE t SET v = " + (set.empty() ? value : set)), "");
  }
  void CommitByMessage(SessionId session) {
    Update();
    database_->AddEverything(session);
    ASSERT_TRUE(database_->Commit(session, false).ok());
    database_->Done(session, 0);
  }
  // What the app does until its next commit becomes the session's.
  template <typename Change>
  void Stage(SessionId session, Change change) {
    const std::string before = test::ReadBytes(Path());
    change();
    shims_[session]->Begin(before, test::ReadBytes(Path()));
  }
  void CommitByRing(SessionId session) {
    Stage(session, [this] { Update(); });
    shims_[session]->Publish();
  }
  void Capture() { ASSERT_TRUE(database_->CaptureWal().ok()); }
  // The chain leads to what the file is.
  void ExpectEqual() {
    const test::ReplayedChain replayed(directory_.path() + "/control/ltx");
    EXPECT_EQ(test::Difference(replayed.AtTip(), test::ReadBytes(Path())), "");
    EXPECT_EQ(replayed.tip(), database_->position());
  }
  void Settle() {
    for (int i = 0; i < 100 && database_->NeedsAttention(); ++i) database_->Attend();
  }
  uint64_t HandedOver() { return database_->Info().counters.handed_over; }
  std::string Path() { return directory_.path() + "/app.db"; }

  int updates_ = 0;
  test::TemporaryDirectory directory_;
  std::unique_ptr<StockProcess> app_;
  std::unique_ptr<PrimaryDatabase> database_;
  std::map<SessionId, std::unique_ptr<FakeShim>> shims_;
};

TEST_F(RingCapture, MakesATransactionOfEach) {
  const ltx::TxId before = database_->position().txid;
  EXPECT_FALSE(shims_[kFirst]->held());
  for (int i = 1; i <= 5; ++i) {
    CommitByRing(kFirst);
    Capture();
    EXPECT_EQ(database_->position().txid, before + static_cast<ltx::TxId>(i));
  }
  EXPECT_EQ(HandedOver(), 5u);
  EXPECT_FALSE(database_->NeedsAttention());
  ExpectEqual();
}

TEST_F(RingCapture, ThoseThatWaitedShareAFile) {
  const DatabaseInfo before = database_->Info();
  for (int i = 0; i < 7; ++i) CommitByRing(kFirst);
  Capture();
  const DatabaseInfo after = database_->Info();
  EXPECT_EQ(after.position.txid, before.position.txid + 7);
  EXPECT_EQ(after.counters.files, before.counters.files + 1);
  ExpectEqual();
}

TEST_F(RingCapture, SeveralAppsAreInTheOrderOfTheirCommits) {
  const ltx::TxId before = database_->position().txid;
  for (const SessionId session : {kSecond, kFirst, kFirst, kSecond, kFirst, kSecond, kSecond}) {
    CommitByRing(session);
  }
  Capture();
  EXPECT_EQ(database_->position().txid, before + 7);
  EXPECT_EQ(HandedOver(), 7u);
  ExpectEqual();
}

TEST_F(RingCapture, GrowthIsWhole) {
  Stage(kFirst, [this] { Update("zeroblob(100000)"); });
  shims_[kFirst]->Publish();
  Capture();
  Settle();
  ExpectEqual();
}

TEST_F(RingCapture, AMessageComesAfterWhatIsInTheRings) {
  const ltx::TxId before = database_->position().txid;
  CommitByRing(kSecond);
  CommitByMessage(kFirst);
  EXPECT_EQ(database_->position().txid, before + 2);
  EXPECT_EQ(HandedOver(), 1u);
  CommitByRing(kSecond);
  Capture();
  EXPECT_EQ(database_->position().txid, before + 3);
  ExpectEqual();
}

TEST_F(RingCapture, WhatComesBetweenAMessageAndItsEndIsCapturedAtIt) {
  const ltx::TxId before = database_->position().txid;
  Update();
  database_->AddEverything(kFirst);
  ASSERT_TRUE(database_->Commit(kFirst, false).ok());
  CommitByRing(kSecond);  // before the daemon has seen the other one's kDone
  Capture();
  EXPECT_EQ(database_->position().txid, before);
  database_->Done(kFirst, 0);
  EXPECT_EQ(database_->position().txid, before + 2);
  ExpectEqual();
}

// Somebody without the shim has committed in between: all is compared, at the next commit at the
// latest.
TEST_F(RingCapture, AGapIsFoundByComparing) {
  CommitByRing(kFirst);
  Update();  // told by nobody
  CommitByRing(kFirst);
  Capture();
  EXPECT_TRUE(database_->NeedsAttention());
  EXPECT_TRUE(shims_[kFirst]->held());
  EXPECT_TRUE(shims_[kSecond]->held());
  CommitByMessage(kFirst);
  EXPECT_FALSE(database_->NeedsAttention());
  EXPECT_FALSE(shims_[kFirst]->held());
  ExpectEqual();
  CommitByRing(kSecond);
  Capture();
  ExpectEqual();
}

TEST_F(RingCapture, AnAppThatDiesInATransactionIsFoundByComparing) {
  CommitByRing(kFirst);
  Stage(kFirst, [this] { Update(); });  // committed, and never published
  database_->SessionEnded(kFirst);
  EXPECT_TRUE(database_->NeedsAttention());
  Settle();
  ExpectEqual();
}

TEST_F(RingCapture, AnAppThatEndsBetweenTransactionsLeavesNoDoubt) {
  const uint64_t before = database_->Info().counters.reconciled;
  for (const SessionId session : {kFirst, kSecond}) {
    CommitByRing(session);
    database_->SessionEnded(session);
    EXPECT_FALSE(database_->NeedsAttention());
    ExpectEqual();
  }
  database_->LookForStrangers(/*has_sessions=*/false, [] {});
  EXPECT_FALSE(database_->NeedsAttention());
  EXPECT_EQ(database_->Info().counters.reconciled, before);
}

TEST_F(RingCapture, AMalformedRingIsFoundByComparing) {
  CommitByRing(kFirst);
  shims_[kFirst]->ring()->head.fetch_add(8);
  Capture();
  EXPECT_TRUE(database_->NeedsAttention());
  Settle();
  EXPECT_FALSE(database_->NeedsAttention());
  ExpectEqual();
}

// Its ranges are not all that is to be compared then.
TEST_F(RingCapture, ADoubtThatACommitMeetsIsDecidedByIt) {
  CommitByRing(kFirst);
  shims_[kFirst]->ring()->head.fetch_add(8);
  database_->AddDirty(kSecond, 0, kPageBytes);  // a rollback: the change counter is the first one's
  ASSERT_TRUE(database_->Commit(kSecond, false).ok());
  database_->Done(kSecond, 0);
  EXPECT_FALSE(database_->NeedsAttention());
  ExpectEqual();
}

TEST_F(RingCapture, AStrangersCommitBeforeARollbackIsFoundByComparing) {
  Update();  // told by nobody
  shims_[kFirst]->BeginRollback(test::ReadBytes(Path()));
  shims_[kFirst]->Publish();
  Capture();
  EXPECT_TRUE(database_->NeedsAttention());
  Settle();
  ExpectEqual();
}

TEST_F(RingCapture, WhatBecomesSuspectBeforeACommitsEndStaysSo) {
  Update();
  database_->AddEverything(kFirst);
  ASSERT_TRUE(database_->Commit(kFirst, false).ok());
  Stage(kSecond, [this] { Update(); });
  database_->SessionEnded(kSecond);
  database_->Done(kFirst, 0);
  EXPECT_TRUE(database_->NeedsAttention());
  Settle();
  ExpectEqual();
}

TEST_F(RingCapture, AGrowthWithAHoleIsComparedWhereItIs) {
  const uint64_t reconciled = database_->Info().counters.reconciled;
  const std::string before = test::ReadBytes(Path());
  Update("zeroblob(100000)");
  shims_[kFirst]->Begin(before, test::ReadBytes(Path()), 5 * kPageBytes);
  shims_[kFirst]->Publish();
  Capture();
  EXPECT_TRUE(database_->NeedsAttention());
  EXPECT_TRUE(shims_[kSecond]->held());
  Update();
  database_->AddDirty(kSecond, 0, 2 * kPageBytes);
  ASSERT_TRUE(database_->Commit(kSecond, false).ok());
  database_->Done(kSecond, 0);
  EXPECT_FALSE(database_->NeedsAttention());
  EXPECT_EQ(database_->Info().counters.reconciled, reconciled);
  ExpectEqual();
}

TEST_F(RingCapture, OnlyOneForASession) {
  EXPECT_FALSE(database_->AddRing(kFirst).ok());
  EXPECT_FALSE(database_->AddRing(99).ok());
}

#ifdef LITEFS_COUNT_ALLOCATIONS
TEST_F(RingCapture, AllocatesNothingOnceItsBuffersHaveTheirSize) {
  constexpr int kWarmUp = 300, kMeasured = 100;
  uint64_t allocations = 0;
  for (int i = 0; i < kWarmUp + kMeasured; ++i) {
    CommitByRing(kFirst);
    const test::AllocationCounter counter;
    Capture();
    if (i >= kWarmUp) allocations += counter.count();
  }
  EXPECT_EQ(allocations, 0u) << "in " << kMeasured << " transactions";
  EXPECT_EQ(HandedOver(), uint64_t{kWarmUp + kMeasured});
}
#endif

}  // namespace
}  // namespace litefs::db
