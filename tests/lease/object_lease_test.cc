// The lease in an object store, where time passes as the test wants it, and requests are lost and
// late.

#include "daemon/lease/object_lease.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/fake_store.h"

namespace litefs::lease {
namespace {

using std::chrono::seconds;
using test::FakeBucket;
using test::FakeStore;
using test::ManualClock;
using testing::HasSubstr;

constexpr milliseconds kTimeout{1000};
constexpr milliseconds kTtl{10'000};
constexpr milliseconds kMoment{1};

Owner NodeOf(char name) {
  return {
      .node_id = std::string(15, '0').append(1, name), .endpoint = "tcp://x:1", .cluster_id = "c"};
}

Positions At(ltx::TxId txid) {
  Positions positions;
  positions.Add("app.db", {.txid = txid, .checksum = ltx::kChecksumFlag | txid});
  return positions;
}

// A node, whose clock is its own.
struct Party {
  Party(FakeBucket* bucket, char name) : self(NodeOf(name)), store(new FakeStore(bucket)) {
    lease = std::make_unique<ObjectLease>(
        LeaseOptions{.urls = {}, .key = "k", .token = "", .ttl = kTtl},
        std::unique_ptr<ConditionalStore>(store), &clock);
  }
  absl::StatusOr<Reign> Acquire() const {
    const absl::StatusOr<View> view = lease->Read(kTimeout);
    return view.ok() ? lease->Acquire(self, *view, kTimeout) : view.status();
  }
  bool SeesOwner() const { return lease->Read(kTimeout).value().owner.has_value(); }

  Owner self;
  ManualClock clock;
  FakeStore* store;  // the lease's
  std::unique_ptr<ObjectLease> lease;
};

class ObjectLeaseTest : public testing::Test {
 protected:
  FakeBucket bucket_;
  Party a_{&bucket_, 'a'};
  Party b_{&bucket_, 'b'};
};

TEST_F(ObjectLeaseTest, IsTakenOnlyAfterOnesOwnTimeToLiveWithoutAChange) {
  ASSERT_TRUE(a_.Acquire().ok());
  b_.clock.Advance(seconds(1000));  // whatever b's clock says: it has not looked yet
  EXPECT_TRUE(b_.SeesOwner());
  b_.clock.Advance(kTtl - kMoment);
  EXPECT_TRUE(b_.SeesOwner());
  EXPECT_TRUE(absl::IsAlreadyExists(b_.Acquire().status()));
  ASSERT_TRUE(a_.lease->Renew(kTimeout).ok());
  b_.clock.Advance(kMoment);
  EXPECT_TRUE(b_.SeesOwner());  // it has changed: the count begins anew
  b_.clock.Advance(kTtl - kMoment);
  EXPECT_TRUE(absl::IsAlreadyExists(b_.Acquire().status()));
  b_.clock.Advance(kMoment);
  const absl::StatusOr<Reign> reign = b_.Acquire();
  ASSERT_TRUE(reign.ok()) << reign.status();
  EXPECT_EQ(reign->epoch, 2u);
  EXPECT_TRUE(absl::IsNotFound(a_.lease->Renew(kTimeout).status()));
  EXPECT_TRUE(absl::IsNotFound(a_.lease->Note(At(9), kTimeout)));
}

TEST_F(ObjectLeaseTest, OwnersLongerTimeToLiveCounts) {
  Party slow(&bucket_, 'd');
  slow.lease = std::make_unique<ObjectLease>(
      LeaseOptions{.urls = {}, .key = "k", .token = "", .ttl = 3 * kTtl},
      std::make_unique<FakeStore>(&bucket_), &slow.clock);
  ASSERT_TRUE(slow.Acquire().ok());
  EXPECT_TRUE(b_.SeesOwner());
  b_.clock.Advance(3 * kTtl - kMoment);
  EXPECT_TRUE(b_.SeesOwner());
  b_.clock.Advance(kMoment);
  EXPECT_FALSE(b_.SeesOwner());
}

TEST_F(ObjectLeaseTest, DeadlineCountsFromTheSendingOfTheLastWriteThatSucceeded) {
  const BootTime first = a_.clock.Boot();
  EXPECT_EQ(a_.Acquire().value().deadline, first + SafeTime(kTtl));
  a_.clock.Advance(seconds(3));
  EXPECT_EQ(a_.lease->Renew(kTimeout).value(), first + seconds(3) + SafeTime(kTtl));
  a_.store->cut_off = true;
  a_.clock.Advance(seconds(3));
  EXPECT_TRUE(absl::IsUnavailable(a_.lease->Renew(kTimeout).status()));
  a_.store->cut_off = false;
  a_.clock.Advance(seconds(1));
  EXPECT_EQ(a_.lease->Renew(kTimeout).value(), first + seconds(7) + SafeTime(kTtl));
}

TEST_F(ObjectLeaseTest, RenewalWhoseAnswerIsLostIsOwnWork) {
  ASSERT_TRUE(a_.Acquire().ok());
  a_.store->loses_next_answer = true;
  EXPECT_TRUE(absl::IsUnavailable(a_.lease->Renew(kTimeout).status()));
  const absl::StatusOr<BootTime> renewed = a_.lease->Renew(kTimeout);
  EXPECT_TRUE(renewed.ok()) << renewed.status();
  EXPECT_TRUE(a_.lease->Note(At(3), kTimeout).ok());
  EXPECT_EQ(b_.lease->Read(kTimeout)->record.positions.databases.at("app.db").txid, 3u);
}

TEST_F(ObjectLeaseTest, ReignWhoseAnswerIsLostIsOwnWork) {
  ASSERT_TRUE(a_.Acquire().ok());  // so that the conditions have been tried
  ASSERT_TRUE(a_.lease->Release(At(1), kTimeout).ok());
  a_.store->loses_next_answer = true;
  const absl::StatusOr<Reign> reign = a_.Acquire();
  ASSERT_TRUE(reign.ok()) << reign.status();
  EXPECT_EQ(reign->epoch, 2u);
  EXPECT_TRUE(absl::IsAlreadyExists(b_.Acquire().status()));
}

TEST_F(ObjectLeaseTest, ReignWhoseRequestComesLateBeginsWhenItIsSeen) {
  ASSERT_TRUE(a_.Acquire().ok());
  ASSERT_TRUE(a_.lease->Release(At(1), kTimeout).ok());
  a_.store->delays_next = true;
  EXPECT_TRUE(absl::IsUnavailable(a_.Acquire().status()));
  EXPECT_FALSE(b_.SeesOwner());
  a_.store->Deliver();
  EXPECT_TRUE(absl::IsAlreadyExists(b_.Acquire().status()));
  a_.clock.Advance(seconds(5));
  const BootTime now = a_.clock.Boot();
  EXPECT_EQ(a_.Acquire().value().deadline, now + SafeTime(kTtl));
}

TEST_F(ObjectLeaseTest, LateWriteOfAReignThatIsOverChangesNothing) {
  ASSERT_TRUE(a_.Acquire().ok());
  EXPECT_TRUE(b_.SeesOwner());
  a_.store->delays_next = true;
  EXPECT_TRUE(absl::IsUnavailable(a_.lease->Renew(kTimeout).status()));
  b_.clock.Advance(kTtl);
  ASSERT_TRUE(b_.Acquire().ok());
  a_.store->Deliver();
  EXPECT_EQ(a_.lease->Read(kTimeout)->owner->node_id, b_.self.node_id);
  EXPECT_TRUE(b_.lease->Note(At(5), kTimeout).ok());
  EXPECT_TRUE(absl::IsNotFound(a_.lease->Renew(kTimeout).status()));
}

TEST_F(ObjectLeaseTest, LateRenewalOfTheOwnerKeepsOthersOut) {
  ASSERT_TRUE(a_.Acquire().ok());
  const View seen = b_.lease->Read(kTimeout).value();
  b_.clock.Advance(kTtl);
  const View expired = b_.lease->Read(kTimeout).value();
  EXPECT_TRUE(seen.owner.has_value());
  ASSERT_FALSE(expired.owner.has_value());
  ASSERT_TRUE(a_.lease->Renew(kTimeout).ok());  // between b's look and its attempt
  EXPECT_TRUE(absl::IsAlreadyExists(b_.lease->Acquire(b_.self, expired, kTimeout).status()));
  EXPECT_TRUE(a_.lease->Note(At(2), kTimeout).ok());
}

TEST_F(ObjectLeaseTest, RecordThatWasNotSeenIsRefused) {
  const View seen = b_.lease->Read(kTimeout).value();
  ASSERT_TRUE(a_.Acquire().ok());
  ASSERT_TRUE(a_.lease->Release(At(7), kTimeout).ok());
  EXPECT_TRUE(absl::IsAborted(b_.lease->Acquire(b_.self, seen, kTimeout).status()));
  EXPECT_TRUE(b_.Acquire().ok());
}

TEST_F(ObjectLeaseTest, HandOverToWhoHasBeenSilentIsRefused) {
  ASSERT_TRUE(a_.Acquire().ok());
  ASSERT_TRUE(b_.lease->Announce({.node = b_.self}, kTimeout).ok());
  const Candidate b = a_.lease->Candidates(kTimeout).value().at(0);
  a_.clock.Advance(kTtl);
  EXPECT_TRUE(a_.lease->Candidates(kTimeout)->empty());
  EXPECT_TRUE(absl::IsFailedPrecondition(a_.lease->HandOver(b, At(1), kTimeout)));
  b_.clock.Advance(kTtl);
  ASSERT_TRUE(b_.lease->Renew(kTimeout).ok());
  EXPECT_TRUE(a_.lease->HandOver(b, At(1), kTimeout).ok());
  // The deadline of the new reign is of a write of its own.
  b_.clock.Advance(seconds(2));
  const BootTime now = b_.clock.Boot();
  EXPECT_EQ(b_.Acquire().value().deadline, now + SafeTime(kTtl));
}

TEST_F(ObjectLeaseTest, WhoComesBackAsAnotherIsNotTheOwner) {
  ASSERT_TRUE(a_.Acquire().ok());
  const Party again(&bucket_, 'a');  // the daemon was started anew
  EXPECT_TRUE(absl::IsAlreadyExists(again.Acquire().status()));
}

TEST_F(ObjectLeaseTest, StoreThatIgnoresConditionsIsRefused) {
  bucket_.ignores_conditions = true;
  const absl::Status status = a_.Acquire().status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("the fake store: does not honour If-Match"));
  EXPECT_FALSE(a_.SeesOwner());
}

TEST_F(ObjectLeaseTest, LeavesNothingOfItsProbes) {
  ASSERT_TRUE(a_.Acquire().ok());
  EXPECT_EQ(bucket_.objects.size(), 1u);
}

TEST_F(ObjectLeaseTest, RefusesWhatItDidNotWrite) {
  for (const char* text : {"", "[]", "{}", "{\"record\":{}}", "{\"owner\":{},\"record\":null}"}) {
    bucket_.objects["k/lease"] = {.content = text, .version = ++bucket_.versions};
    const absl::Status status = a_.Acquire().status();
    EXPECT_TRUE(absl::IsDataLoss(status)) << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr("k/lease"));
  }
}

TEST_F(ObjectLeaseTest, ObjectThatSomebodyDeletedIsALostReign) {
  ASSERT_TRUE(a_.Acquire().ok());
  bucket_.objects.erase("k/lease");
  EXPECT_TRUE(absl::IsNotFound(a_.lease->Renew(kTimeout).status()));
}

}  // namespace
}  // namespace litefs::lease
