// NodeSync: when a commit is answered, by what replicas have confirmed.

#include "daemon/node_sync.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <optional>

#include "common/clock.h"
#include "daemon/forwarded_commit.h"
#include "daemon/session/status_file.h"
#include "tests/support/replica_support.h"

namespace litefs {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class NodeSyncTest : public ::testing::Test {
 protected:
  NodeSyncTest() : writer_(home_.path() + "/app.db") {
    config_.sync = {.replicas = 2, .timeout = seconds(10)};
    config_.sync_databases.push_back({.glob = "free.db"});
    writer_.Run("CREATE TABLE t(x)");
    directory_ = *store::NodeDirectory::Open({.database_directory = home_.path(),
                                              .node_id = "",
                                              .cluster_id = "",
                                              .make_cluster_id = true});
    store_ =
        *store::Store::Open({.node = directory_.get(), .clock = &SystemClock(), .on_commit = {}});
    entry_ = store_->Find("app.db");
    first_ = tip();
    writer_.Run("INSERT INTO t VALUES(1)");
    entry_->primary->AddEverything(1);
    EXPECT_TRUE(entry_->primary->Commit(1, /*recheck=*/true).ok());
    EXPECT_EQ(tip().txid, 2);
  }

  ltx::Position tip() { return entry_->database->log().tip(); }
  // The answer: an errno, or -1 if it is deferred.
  int Ask(milliseconds waited = milliseconds(0)) {
    request_.type = ipc::MessageType::kSync;
    request_.waited = waited;
    deferral_.reset();
    const uint32_t error = sync_.AtSync(*entry_, request_, [this](session::Deferral deferral) {
      deferral_ = std::move(deferral);
      return [this](uint32_t answer) { answers_.push_back(answer); };
    });
    return deferral_.has_value() ? -1 : static_cast<int>(error);
  }
  void Store(std::vector<ltx::Position> stored) {
    stored_ = std::move(stored);
    sync_.Stored("app.db", stored_);
  }
  nlohmann::json Counters() {
    nlohmann::json json;
    sync_.AddCountersTo(&json);
    return json;
  }

  test::TemporaryDirectory home_;
  test::SourceDatabase writer_;
  Config config_;
  std::unique_ptr<store::NodeDirectory> directory_;
  std::unique_ptr<store::Store> store_;
  store::Store::Entry* entry_ = nullptr;
  ltx::Position first_;
  std::vector<ltx::Position> stored_;
  std::vector<ltx::Position> others_;
  NodeSync sync_{&config_, [this](const std::string&, const std::string& but_for) {
                   return but_for.empty() ? stored_ : others_;
                 }};
  session::GateRequest request_;
  std::optional<session::Deferral> deferral_;
  std::vector<uint32_t> answers_;
};

TEST_F(NodeSyncTest, AnswersWhenEnoughHaveStoredIt) {
  Store({tip()});
  EXPECT_EQ(Ask(), -1);
  EXPECT_EQ(sync_.StatusJson(*entry_)["waiting"], 1);
  EXPECT_EQ(sync_.StatusJson(*entry_)["stored_by"], 1);
  Store({tip(), first_});
  EXPECT_TRUE(answers_.empty());
  Store({tip(), tip()});
  EXPECT_EQ(answers_, std::vector<uint32_t>({0}));
  deferral_->on_end(0);
  EXPECT_EQ(sync_.StatusJson(*entry_)["waiting"], 0);
  EXPECT_EQ(Ask(), 0);
  EXPECT_EQ(Counters()["sync_commits"], 2);
}

// A replica that was on another branch confirms what it has there.
TEST_F(NodeSyncTest, AnotherBranchDoesNotCount) {
  Store({tip(), {.txid = 9, .checksum = ltx::kChecksumFlag | 5}});
  EXPECT_EQ(Ask(), -1);
  Store({tip(), {.txid = 2, .checksum = first_.checksum}});
  EXPECT_TRUE(answers_.empty());
}

TEST_F(NodeSyncTest, WaitsOnAfterTheTimeout) {
  EXPECT_EQ(Ask(), -1);
  EXPECT_LE(deferral_->limit, seconds(1));
  EXPECT_EQ(deferral_->late_error, EAGAIN);
  deferral_->on_end(EAGAIN);
  EXPECT_EQ(Counters()["sync_timeouts"], 0);
  EXPECT_EQ(Ask(milliseconds(9500)), -1);
  EXPECT_EQ(deferral_->limit, milliseconds(500));
  EXPECT_EQ(deferral_->late_error, EAGAIN);
  deferral_->on_end(EAGAIN);
  EXPECT_EQ(Counters()["sync_timeouts"], 1);
  EXPECT_EQ(Ask(seconds(60)), -1);
  EXPECT_EQ(deferral_->limit, seconds(1));
  Store({tip(), tip()});
  EXPECT_EQ(answers_, std::vector<uint32_t>({0}));
  EXPECT_EQ(Counters()["sync_timeouts"], 1);
}

TEST_F(NodeSyncTest, DegradesAndComesBack) {
  config_.sync.degrade = true;
  EXPECT_EQ(Ask(), -1);
  EXPECT_EQ(deferral_->late_error, EAGAIN);
  deferral_->on_end(EAGAIN);
  EXPECT_EQ(Ask(milliseconds(9500)), -1);
  EXPECT_EQ(deferral_->late_error, 0);
  deferral_->on_end(0);
  EXPECT_EQ(sync_.StatusJson(*entry_)["degraded"], true);
  EXPECT_EQ(Ask(), 0);
  EXPECT_EQ(Counters()["sync_degraded_commits"], 2);
  Store({first_, first_});  // as they were before
  EXPECT_EQ(sync_.StatusJson(*entry_)["degraded"], true);
  Store({tip(), first_});
  EXPECT_EQ(sync_.StatusJson(*entry_)["degraded"], true);
  Store({tip(), tip()});
  EXPECT_EQ(sync_.StatusJson(*entry_)["degraded"], false);
  stored_ = {tip(), first_};
  EXPECT_EQ(Ask(), -1);
}

TEST_F(NodeSyncTest, SaysWhenNobodyCanKnow) {
  Store({tip(), tip()});
  request_.captured = false;
  EXPECT_EQ(Ask(), EBUSY);
  EXPECT_EQ(Ask(seconds(60)), EIO);
  request_ = {.past_lease = true};
  Store({first_, first_});
  EXPECT_EQ(Ask(), -1) << "the lease may come back";
  EXPECT_EQ(Ask(seconds(60)), EIO);
  EXPECT_EQ(Counters()["unconfirmed_commits"], 2);
}

// Another node may reign by now that has been elected without them.
TEST_F(NodeSyncTest, WhatIsStoredPastTheLeaseDoesNotCount) {
  sync_.SetLease(SystemClock().Boot());
  EXPECT_EQ(Ask(), -1);
  Store({tip(), tip()});
  EXPECT_TRUE(answers_.empty());
  deferral_->on_end(EAGAIN);
  EXPECT_EQ(Ask(), -1);
  deferral_->on_end(EAGAIN);
  request_.past_lease = true;
  EXPECT_EQ(Ask(seconds(60)), EIO);
  sync_.SetLease(SystemClock().Boot() + seconds(60));
  EXPECT_EQ(Ask(seconds(60)), 0) << "it has come back, so nobody else has reigned";
  Store({first_, first_});
  EXPECT_EQ(Ask(), -1);
  Store({tip(), tip()});
  EXPECT_EQ(answers_, std::vector<uint32_t>({0}));
}

TEST_F(NodeSyncTest, AsksNothingOfOtherDatabases) {
  store::Store::Entry* const free = *store_->FindOrCreate("free.db", /*in_use=*/true);
  EXPECT_EQ(sync_.WelcomeFlags("free.db"), 0);
  EXPECT_EQ(sync_.WelcomeFlags("app.db"), ipc::kWelcomeSync | ipc::kWelcomeSyncWait);
  EXPECT_TRUE(sync_.StatusJson(*free).is_null());
  EXPECT_EQ(sync_.AtSync(*free, {}, nullptr), 0);
}

TEST_F(NodeSyncTest, AnAppThatIsGoneDoesNotWait) {
  EXPECT_EQ(Ask(), -1);
  deferral_->on_end(std::nullopt);
  Store({tip(), tip()});
  EXPECT_TRUE(answers_.empty());
}

// ---- What an app on a replica has written
// ----------------------------------------------------------------------------------

class ForwardedSyncTest : public NodeSyncTest {
 protected:
  ~ForwardedSyncTest() override { sync_.Forget(&commit_); }
  NodeSync::Verdict Look(milliseconds waited = milliseconds(0)) {
    return sync_.AtForwarded(&commit_, seconds(100) + waited);
  }

  NodeSync::Forwarded commit_{
      .database = entry_->database.get(), .txid = 2, .node_id = "writer", .since = seconds(100)};
};

TEST_F(ForwardedSyncTest, TheReplicaThatMadeItCountsOnce) {
  EXPECT_EQ(Look(), NodeSync::Verdict::kWait);
  EXPECT_EQ(sync_.StatusJson(*entry_)["waiting"], 1);
  stored_ = {tip(), first_};  // it says itself that it has it
  others_ = {first_};
  EXPECT_EQ(Look(), NodeSync::Verdict::kWait) << "that is one replica";
  stored_ = {first_, tip()};
  others_ = {tip()};
  EXPECT_EQ(Look(), NodeSync::Verdict::kIfDurable);
  stored_ = {tip(), tip()};
  EXPECT_EQ(Look(), NodeSync::Verdict::kEnough);
  sync_.Forget(&commit_);
  EXPECT_EQ(sync_.StatusJson(*entry_)["waiting"], 0);
  EXPECT_EQ(Counters()["sync_timeouts"], 0);
}

TEST_F(ForwardedSyncTest, OneReplicaIsTheOneThatMadeIt) {
  config_.sync.replicas = 1;
  EXPECT_EQ(Look(), NodeSync::Verdict::kIfDurable);
  EXPECT_EQ(Counters()["sync_commits"], 1);
  config_.sync.replicas = 0;
  EXPECT_EQ(Look(), NodeSync::Verdict::kEnough);
  EXPECT_EQ(Counters()["sync_commits"], 1);
}

TEST_F(ForwardedSyncTest, AnotherBranchDoesNotCount) {
  stored_ = others_ = {{.txid = 9, .checksum = ltx::kChecksumFlag | 5}};
  EXPECT_EQ(Look(), NodeSync::Verdict::kWait);
}

TEST_F(ForwardedSyncTest, WaitsOnAfterTheTimeout) {
  EXPECT_EQ(Look(seconds(10)), NodeSync::Verdict::kWait);
  EXPECT_EQ(Look(seconds(60)), NodeSync::Verdict::kWait);
  EXPECT_EQ(Counters()["sync_timeouts"], 1);
  EXPECT_EQ(sync_.StatusJson(*entry_)["degraded"], false);
}

TEST_F(ForwardedSyncTest, DegradesAndComesBack) {
  config_.sync.degrade = true;
  EXPECT_EQ(Look(milliseconds(9999)), NodeSync::Verdict::kWait);
  EXPECT_EQ(Look(seconds(10)), NodeSync::Verdict::kEnough);
  EXPECT_EQ(sync_.StatusJson(*entry_)["degraded"], true);
  EXPECT_EQ(Counters()["sync_timeouts"], 1);
  EXPECT_EQ(Look(), NodeSync::Verdict::kEnough) << "later ones do not wait";
  EXPECT_EQ(Ask(), 0) << "nor do those of apps here";
  EXPECT_EQ(Counters()["sync_degraded_commits"], 3);
  Store({tip(), tip()});
  EXPECT_EQ(sync_.StatusJson(*entry_)["degraded"], false);
}

// ---- ForwardedCommit
// ----------------------------------------------------------------------------------

TEST_F(ForwardedSyncTest, NothingIsSaidPastTheLease) {
  const auto status = *session::StatusFile::Open(home_.path() + "/status");
  std::atomic<uint64_t>& deadline = status->status().lease_deadline_ns;
  ForwardedCommit commit(&sync_, status.get(), entry_->database.get(), 2, "writer");
  deadline = ipc::kNoDeadline;
  EXPECT_EQ(commit.Look(), std::nullopt);
  EXPECT_TRUE(commit.WaitsForReplicas());
  EXPECT_EQ(sync_.StatusJson(*entry_)["waiting"], 1);
  others_ = {tip()};
  EXPECT_GT(commit.Look(), seconds(60)) << "nobody else reigns";
  const auto now = [] { return static_cast<uint64_t>(SystemClock().Boot().count()); };
  deadline = now() + 5'000'000'000;
  EXPECT_LE(commit.Look(), seconds(5));
  EXPECT_GT(commit.Look(), seconds(1));
  deadline = now();
  EXPECT_EQ(commit.Look(), std::nullopt);
  EXPECT_FALSE(commit.WaitsForReplicas());
  deadline = now() + 5'000'000'000;
  stored_ = {tip(), tip()};
  EXPECT_EQ(commit.Look(), milliseconds(0)) << "the replica has said itself that it is durable";
}

}  // namespace
}  // namespace litefs
