// A primary and its replicas in one process, over real sockets.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <optional>
#include <vector>

#include "tests/support/replication_nodes.h"

namespace litefs::replication {
namespace {

class ReplicationStream : public testing::TestWithParam<bool> {  // with PUB or without
 protected:
  FakeSource source_;
  Primary primary_{&source_, GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Pub, ReplicationStream, testing::Bool(),
                         [](const auto& param) { return param.param ? "On" : "Off"; });

TEST_P(ReplicationStream, CarriesCommitsAsTheyCome) {
  Replica replica(primary_);
  replica.Start();
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(replica.sink.WaitFor("app.db", primary_.Commit("app.db", 1000))) << i;
  }
  EXPECT_EQ(0, source_.snapshots_made());
}

TEST_P(ReplicationStream, GivesALateReplicaASnapshot) {
  for (int i = 0; i < 10; ++i) primary_.Commit("app.db");
  source_.Prune("app.db");
  source_.set_snapshot_bytes(3 << 20);
  Replica replica(primary_);
  replica.Start();
  ASSERT_TRUE(replica.sink.WaitFor(source_));
  EXPECT_EQ(1, replica.sink.snapshots_received());
  EXPECT_EQ(1u, replica.sink.spools());
  ASSERT_TRUE(replica.sink.WaitFor("app.db", primary_.Commit("app.db")));
}

// A quarter of it is there, and is sent; whoever wants something else has it meanwhile.
TEST_P(ReplicationStream, SendsASnapshotWhileItIsMade) {
  for (int i = 0; i < 10; ++i) primary_.Commit("app.db");
  source_.Prune("app.db");
  source_.set_snapshot_bytes(4 << 20);
  source_.HoldSnapshotsAt(1 << 20);
  Replica replica(primary_);
  replica.Start();
  ASSERT_TRUE(source_.WaitForHeldSnapshot());
  constexpr uint64_t kChunks = (1 << 20) / kChunkBytes;
  ASSERT_TRUE(Eventually([&] { return primary_.server->counters().chunks == kChunks; }));
  ASSERT_TRUE(replica.sink.WaitFor("other.db", primary_.Commit("other.db")));
  EXPECT_EQ(0, replica.sink.snapshots_received());
  source_.LetSnapshotsGo();
  ASSERT_TRUE(replica.sink.WaitFor(source_));
  EXPECT_EQ(1, replica.sink.snapshots_received());
  EXPECT_EQ(1, source_.snapshots_made());
  ASSERT_TRUE(replica.sink.WaitFor("app.db", primary_.Commit("app.db")));
}

// Two replicas have had a part of a snapshot that is not finished.
TEST_P(ReplicationStream, BeginsASnapshotAnewWhenTheDatabaseGoesOn) {
  for (int i = 0; i < 10; ++i) primary_.Commit("app.db");
  source_.Prune("app.db");
  source_.set_snapshot_bytes(4 << 20);
  source_.HoldSnapshotsAt(1 << 20);
  Replica replica(primary_);
  Replica other(primary_);
  other.options.node_id = "other";
  replica.Start();
  other.Start();
  ASSERT_TRUE(source_.WaitForHeldSnapshot());
  constexpr uint64_t kChunks = 2 * (1 << 20) / kChunkBytes;
  ASSERT_TRUE(Eventually([&] { return primary_.server->counters().chunks == kChunks; }));
  primary_.Commit("app.db");
  source_.Prune("app.db");
  source_.LetSnapshotsGo(/*anew=*/true);
  ASSERT_TRUE(replica.sink.WaitFor(source_));
  ASSERT_TRUE(other.sink.WaitFor(source_));
  EXPECT_EQ(1, replica.sink.snapshots_received());
  EXPECT_EQ(1, other.sink.snapshots_received());
  EXPECT_EQ(2, source_.snapshots_made());
}

// What has come of it is not sent again.
TEST_P(ReplicationStream, ResumesASnapshotThatIsBeingMade) {
  for (int i = 0; i < 10; ++i) primary_.Commit("app.db");
  source_.Prune("app.db");
  source_.set_snapshot_bytes(4 << 20);
  source_.HoldSnapshotsAt(1 << 20);
  Replica replica(primary_);
  replica.Start();
  ASSERT_TRUE(source_.WaitForHeldSnapshot());
  constexpr uint64_t kChunks = (1 << 20) / kChunkBytes;
  ASSERT_TRUE(Eventually([&] { return primary_.server->counters().chunks == kChunks; }));
  ASSERT_TRUE(Eventually([&] { return replica.sink.spools() == 1; }));
  // A second Hello on the same chains: the follower of the new connection has what the old one had.
  primary_.server->Renew("cluster-1", 2, "primary", "");
  ASSERT_TRUE(Eventually([&] { return primary_.server->counters().resumed == 1; }));
  source_.LetSnapshotsGo();
  ASSERT_TRUE(replica.sink.WaitFor(source_));
  EXPECT_EQ(1, replica.sink.snapshots_received());
  EXPECT_EQ(1, source_.snapshots_made());
  // Its body, and a header and a digest.
  EXPECT_EQ(4 * kChunks + 1, primary_.server->counters().chunks);
}

TEST_P(ReplicationStream, GivesAReplicaThatWasAwayWhatItMissed) {
  Replica replica(primary_);
  replica.Start();
  ASSERT_TRUE(replica.sink.WaitFor("app.db", primary_.Commit("app.db")));
  replica.Stop();
  for (int i = 0; i < 20; ++i) primary_.Commit("app.db", 300'000);
  primary_.Commit("other.db");
  replica.Start();
  ASSERT_TRUE(replica.sink.WaitFor(source_));
  EXPECT_EQ(0, source_.snapshots_made());
  EXPECT_EQ(22, replica.sink.received());
}

TEST_P(ReplicationStream, ReplacesAReplicaOnAnotherBranch) {
  Replica replica(primary_);
  replica.Start();
  primary_.Commit("app.db");
  ASSERT_TRUE(replica.sink.WaitFor("app.db", primary_.Commit("app.db")));
  const ltx::Position other = source_.Diverge("app.db");
  primary_.server->Changed("app.db");
  ASSERT_TRUE(replica.sink.WaitFor("app.db", other));
  EXPECT_EQ(1, replica.sink.snapshots_received());
}

// 1: in one message; 70,000: in several requests, each of many messages.
TEST_P(ReplicationStream, GivesAReplicaOnAnotherBranchWhatDiffers) {
  int deltas = 0;
  for (const size_t pages : {size_t{1}, kSumsInMessage, kSumsInMessage + 1, size_t{70'000}}) {
    Replica replica(primary_);
    replica.sink.set_sums_pages(pages);
    replica.Start();
    primary_.Commit("app.db");
    ASSERT_TRUE(replica.sink.WaitFor("app.db", primary_.Commit("app.db")));
    const int snapshots = source_.snapshots_made();
    const ltx::Position other = source_.Diverge("app.db");
    primary_.server->Changed("app.db");
    ASSERT_TRUE(replica.sink.WaitFor("app.db", other));
    EXPECT_EQ(++deltas, source_.deltas_made()) << pages;
    EXPECT_EQ(snapshots, source_.snapshots_made()) << pages;
    ASSERT_TRUE(replica.sink.WaitFor("app.db", primary_.Commit("app.db")));
  }
}

TEST_P(ReplicationStream, GivesASnapshotWhereThereIsTooMuchToCompare) {
  Replica replica(primary_);
  replica.sink.set_sums_pages(kMaxSumsHeld + 1);
  replica.Start();
  primary_.Commit("app.db");
  ASSERT_TRUE(replica.sink.WaitFor("app.db", primary_.Commit("app.db")));
  const ltx::Position other = source_.Diverge("app.db");
  primary_.server->Changed("app.db");
  ASSERT_TRUE(replica.sink.WaitFor("app.db", other));
  EXPECT_EQ(0, source_.deltas_made());
  EXPECT_EQ(1, replica.sink.snapshots_received());
}

// The source cannot make one of the first transaction.
TEST_P(ReplicationStream, GivesASnapshotWhereThereIsNoDifferenceToBeHad) {
  Replica replica(primary_);
  replica.sink.set_sums_pages(10);
  replica.Start();
  ASSERT_TRUE(replica.sink.WaitFor("app.db", primary_.Commit("app.db")));
  const ltx::Position other = source_.Diverge("app.db");
  primary_.server->Changed("app.db");
  ASSERT_TRUE(replica.sink.WaitFor("app.db", other));
  EXPECT_EQ(0, source_.deltas_made());
}

TEST_P(ReplicationStream, CarriesFilesLargerThanAMessage) {
  Replica replica(primary_);
  replica.Start();
  for (const size_t bytes : {size_t{1}, kChunkBytes - 40, kChunkBytes - 39, kMaxInlineBytes - 40,
                             kMaxInlineBytes - 39, size_t{5} << 20}) {
    ASSERT_TRUE(replica.sink.WaitFor("app.db", primary_.Commit("app.db", bytes))) << bytes;
  }
}

TEST_P(ReplicationStream, DropsWhatThePrimaryDropped) {
  Replica replica(primary_);
  replica.Start();
  primary_.Commit("a.db");
  primary_.Commit("b.db");
  ASSERT_TRUE(replica.sink.WaitFor(source_));
  source_.Drop("a.db");
  primary_.server->Changed("a.db");
  ASSERT_TRUE(replica.sink.WaitFor(source_));
  EXPECT_FALSE(replica.sink.Has("a.db"));
  replica.Stop();
  source_.Drop("b.db");  // while it is away
  primary_.Commit("c.db");
  replica.Start();
  ASSERT_TRUE(replica.sink.WaitFor(source_));
}

TEST_P(ReplicationStream, CarriesTwoHundredDatabases) {
  constexpr int kDatabases = 200;
  for (int i = 0; i < kDatabases; ++i) primary_.Commit(fmt::format("db/{}.db", i));
  Replica replica(primary_);
  replica.Start();
  ASSERT_TRUE(replica.sink.WaitFor(source_));
  for (int round = 0; round < 5; ++round) {
    for (int i = 0; i < kDatabases; ++i) primary_.Commit(fmt::format("db/{}.db", i));
  }
  ASSERT_TRUE(replica.sink.WaitFor(source_));
  EXPECT_EQ(0, source_.snapshots_made());
  EXPECT_TRUE(Eventually(
      [&] { return replica.client->lag().OfNode(replica.sink.States()).transactions == 0; }));
}

TEST_P(ReplicationStream, CostsIdleDatabasesNoPulls) {
  constexpr uint64_t kDatabases = 1000;
  for (uint64_t i = 0; i < kDatabases; ++i) primary_.Commit(fmt::format("{}.db", i), 10);
  Replica replica(primary_);
  replica.Start();
  ASSERT_TRUE(replica.sink.WaitFor(source_));
  EXPECT_EQ(kDatabases, replica.client->counters().pulls);
  replica.Stop();
  replica.Start();  // nothing to fetch: the listing is all
  ASSERT_TRUE(replica.sink.WaitFor("7.db", primary_.Commit("7.db")));
  EXPECT_LE(replica.client->counters().pulls, 1u);
  EXPECT_EQ(static_cast<int>(kDatabases) + 1, replica.sink.received());
}

TEST_P(ReplicationStream, GoesOnWhenTheServerRestarts) {
  Replica replica(primary_);
  replica.Start();
  ASSERT_TRUE(replica.sink.WaitFor("app.db", primary_.Commit("app.db")));
  primary_.server.reset();
  source_.Commit("app.db");
  primary_.options.epoch = 2;
  primary_.Start();
  ASSERT_TRUE(replica.sink.WaitFor(source_));
  ASSERT_TRUE(replica.sink.WaitFor("app.db", primary_.Commit("app.db")));
  EXPECT_EQ(2u, replica.client->Status().epoch);
}

TEST_P(ReplicationStream, ShowsWhoIsThereAndHowFar) {
  Replica replica(primary_);
  replica.Start();
  const ltx::Position position = primary_.Commit("app.db");
  ASSERT_TRUE(replica.sink.WaitFor("app.db", position));
  const std::vector<DatabaseState> expected = {{"app.db", position}};
  ASSERT_TRUE(Eventually([&] {
    const std::vector<PeerStatus> peers = primary_.server->Peers();
    return peers.size() == 1 && peers[0].acknowledged == expected;
  }));
  EXPECT_EQ("replica", primary_.server->Peers()[0].node_id);
  LagTable& lag = replica.client->lag();
  ASSERT_TRUE(Eventually([&] { return lag.OfNode(expected).heard_ms.has_value(); }));
  const ClientStatus status = replica.client->Status();
  EXPECT_TRUE(status.connected);
  EXPECT_EQ("primary", status.primary_node_id);
  EXPECT_EQ("cluster-1", status.cluster_id);
  EXPECT_EQ("primary replica", status.path);
  ASSERT_TRUE(lag.Of("app.db", position).has_value());
  EXPECT_EQ(position, lag.Of("app.db", position)->primary);
  EXPECT_EQ(0u, lag.OfNode(expected).transactions);
}

TEST_P(ReplicationStream, TriesAgainWhenTheSinkFails) {
  Replica replica(primary_);
  replica.Start();
  ASSERT_TRUE(replica.sink.WaitFor("app.db", primary_.Commit("app.db")));
  for (const absl::Status& failure :
       {absl::ResourceExhaustedError("disk full"), absl::DataLossError("a broken file"),
        absl::FailedPreconditionError("does not follow")}) {
    replica.sink.FailNext(2, failure);
    ASSERT_TRUE(replica.sink.WaitFor("app.db", primary_.Commit("app.db"))) << failure;
  }
}

// Synchronous commit: what is confirmed is on the disk before, and the primary is told at once.
TEST(ReplicationDurable, ReplicasSyncBeforeTheyConfirm) {
  FakeSource source;
  Primary primary(&source);
  primary.server->Stop();
  Replica replica(primary);
  std::atomic<uint64_t> confirmed = 0;
  std::atomic<bool> ahead_of_disk = false;
  primary.options.durable = true;
  primary.options.proxy = "http://127.0.0.1:80";
  primary.options.on_stored = [&](const std::string& database,
                                  const std::vector<ltx::Position>& stored) {
    const auto synced = replica.sink.synced(database);
    for (const ltx::Position& position : stored) {
      if (!synced.has_value() || synced->txid < position.txid) ahead_of_disk = true;
      confirmed = position.txid;
    }
  };
  primary.Start();
  replica.Start();
  for (int i = 0; i < 20; ++i) {
    const ltx::Position position = primary.Commit("app.db");
    ASSERT_TRUE(Eventually([&] { return confirmed == position.txid; })) << i;
  }
  EXPECT_FALSE(ahead_of_disk);
  EXPECT_EQ(replica.client->Status().proxy, "http://127.0.0.1:80");
}

TEST(ReplicationDurable, IsNotAskedForWithoutSynchronousCommit) {
  FakeSource source;
  Primary primary(&source);
  Replica replica(primary);
  replica.Start();
  ASSERT_TRUE(replica.sink.WaitFor("app.db", primary.Commit("app.db")));
  ASSERT_TRUE(Eventually([&] {
    const auto peers = primary.server->Peers();
    return peers.size() == 1 && !peers[0].acknowledged.empty();
  }));
  EXPECT_EQ(replica.sink.synced("app.db"), std::nullopt);
}

TEST(ReplicationPub, CarriesNewFilesByPubOnceItIsHeard) {
  FakeSource source;
  Primary primary(&source);
  Replica replica(primary);
  replica.Start();
  ASSERT_TRUE(replica.sink.WaitFor("app.db", primary.Commit("app.db")));
  ASSERT_TRUE(replica.WaitForPub());
  const uint64_t before = replica.client->counters().received_by_pub;
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(replica.sink.WaitFor("app.db", primary.Commit("app.db")));
  }
  EXPECT_GE(replica.client->counters().received_by_pub - before, 15u);
}

TEST(ReplicationPub, IsNotNeededByAReplicaThatCannotReachIt) {
  FakeSource source;
  Primary primary(&source);
  Replica replica(primary);
  replica.options.pub_endpoint = "tcp://127.0.0.1:9";  // discard: nobody is there
  replica.Start();
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(replica.sink.WaitFor("app.db", primary.Commit("app.db")));
  }
  EXPECT_FALSE(replica.client->Status().pub_healthy);
}

TEST(ReplicationSession, AdoptsThePrimarysClusterId) {
  FakeSource source;
  Primary primary(&source);
  Replica replica(primary);
  std::string adopted;
  replica.options.cluster_id.clear();
  replica.options.on_cluster_adopted = [&](const std::string& id) { adopted = id; };
  replica.Start();
  ASSERT_TRUE(replica.sink.WaitFor("app.db", primary.Commit("app.db")));
  replica.Stop();
  EXPECT_EQ("cluster-1", adopted);
}

TEST(ReplicationSession, RefusesAnotherClusterWithAMessage) {
  FakeSource source;
  Primary primary(&source);
  primary.Commit("app.db");
  Replica replica(primary);
  replica.options.cluster_id = "cluster-2";
  replica.Start();
  ASSERT_TRUE(Eventually([&] { return !replica.client->Status().last_error.empty(); }));
  EXPECT_EQ("refused: this is cluster \"cluster-1\", not \"cluster-2\"",
            replica.client->Status().last_error);
  EXPECT_FALSE(replica.client->Status().connected);
  EXPECT_FALSE(replica.sink.Has("app.db"));
  EXPECT_TRUE(primary.server->Peers().empty());
}

TEST(ReplicationSession, DoesNotFollowAnEarlierEpoch) {
  FakeSource source;
  Primary primary(&source);
  primary.options.epoch = 7;
  primary.Start();
  Replica replica(primary);
  replica.options.refused_delay = std::chrono::milliseconds(20);
  replica.Start();
  ASSERT_TRUE(replica.sink.WaitFor("app.db", primary.Commit("app.db")));
  primary.server.reset();
  primary.options.epoch = 6;
  primary.Start();
  ASSERT_TRUE(Eventually([&] {
    return replica.client->Status().last_error ==
           "refused: this primary's epoch is 6, a later one is 7";
  }));
  primary.server.reset();
  primary.options.epoch = 8;
  primary.Start();
  ASSERT_TRUE(replica.sink.WaitFor("app.db", primary.Commit("app.db")));
}

TEST(ReplicationSession, WaitsForAPrimaryThatIsNotThereYet) {
  FakeSource source;
  Primary primary(&source);
  const ltx::Position position = primary.Commit("app.db");
  primary.server.reset();
  Replica replica(primary);
  replica.Start();
  primary.Start();
  ASSERT_TRUE(replica.sink.WaitFor("app.db", position));
}

TEST(ReplicationSession, ReportsABadEndpointAtStart) {
  FakeSource source;
  FakeSink sink;
  ReplicationServer server({.pub_endpoint = "tcp://127.0.0.1:*",
                            .pull_endpoint = "nonsense",
                            .cluster_id = "c",
                            .node_id = "n"},
                           &source);
  EXPECT_TRUE(absl::IsInvalidArgument(server.Start()));
  ReplicationClient client(
      {.pub_endpoint = "", .pull_endpoint = "nonsense", .cluster_id = "c", .node_id = "n"}, &sink);
  EXPECT_TRUE(absl::IsInvalidArgument(client.Start()));
}

}  // namespace
}  // namespace litefs::replication
