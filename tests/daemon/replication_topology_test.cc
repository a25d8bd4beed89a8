// Replicas that have replicas, loops, and primaries that connect to their replicas.

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>

#include "tests/support/bad_network.h"
#include "tests/support/replication_nodes.h"

namespace litefs::replication {
namespace {

using std::chrono::milliseconds;

// A replica that serves what it has received, wired as NodeReplication does it.
struct Relay {
  struct Sink : FakeSink {
    explicit Sink(FakeSource* relayed) : source(relayed) {}
    absl::StatusOr<ltx::Position> ReceiveBytes(const std::string& database,
                                               std::span<const std::byte> file) override {
      absl::StatusOr<ltx::Position> position = FakeSink::ReceiveBytes(database, file);
      if (!position.ok()) return position;
      source->Adopt(database, file);
      if (on_stored) on_stored(database, *position);
      return position;
    }
    absl::Status Drop(const std::string& database) override {
      source->Drop(database);
      if (on_dropped) on_dropped(database);
      return FakeSink::Drop(database);
    }
    FakeSource* const source;
    std::function<void(const std::string&, const ltx::Position&)> on_stored;
    std::function<void(const std::string&)> on_dropped;
  };
  // Its list is whole when its own primary's is, and is here.
  struct Source : FakeSource {
    bool Complete() override { return client != nullptr && client->lag().complete(); }
    ReplicationClient* client = nullptr;
  };

  Relay(const std::string& node_id, const std::string& pub, const std::string& pull)
      : sink(&source) {
    options.pub_endpoint = pub;
    options.pull_endpoint = pull;
    options.cluster_id = "cluster-1";
    options.node_id = node_id;
    served.pub_endpoint = served.pull_endpoint = "tcp://127.0.0.1:*";
    served.cluster_id = "cluster-1";
    served.node_id = node_id;
  }
  void Start() {
    options.on_session = [this](const std::string& cluster_id, uint64_t epoch,
                                const std::string& path, const std::string& proxy) {
      server->Renew(cluster_id, epoch, path, proxy);
    };
    client = std::make_unique<ReplicationClient>(options, &sink);
    source.client = client.get();
    served.upstream = &client->lag();
    server = std::make_unique<ReplicationServer>(served, &source);
    sink.on_dropped = [this](const std::string& database) { server->Changed(database); };
    sink.on_stored = [this](const std::string& database, const ltx::Position& position) {
      server->Committed(database, position.txid, position.txid);
    };
    absl::Status status = server->Start();
    ASSERT_TRUE(status.ok()) << status;
    served.pub_endpoint = server->pub_endpoint();
    served.pull_endpoint = server->pull_endpoint();
    status = client->Start();
    ASSERT_TRUE(status.ok()) << status;
  }
  void Stop() {
    client->Stop();
    server->Stop();
    source.client = nullptr;
    server.reset();
    client.reset();
  }

  Source source;
  Sink sink;
  ReplicationClient::Options options;
  ReplicationServer::Options served;
  std::unique_ptr<ReplicationClient> client;
  std::unique_ptr<ReplicationServer> server;
};

struct Chain3 {
  explicit Chain3(bool publish = true)
      : primary(&source, publish),
        middle("middle", primary.options.pub_endpoint, primary.options.pull_endpoint),
        end(primary) {
    middle.served.publish = publish;
    middle.Start();
    Follow();
    end.Start();
  }
  void Follow() {
    end.options.pub_endpoint = middle.served.pub_endpoint;
    end.options.pull_endpoint = middle.served.pull_endpoint;
    end.options.node_id = "end";
  }
  ~Chain3() {
    end.Stop();
    if (middle.client != nullptr) middle.Stop();
  }

  FakeSource source;
  Primary primary;
  Relay middle;
  Replica end;
};

class ReplicationCascade : public testing::TestWithParam<bool> {};  // with PUB
INSTANTIATE_TEST_SUITE_P(Publish, ReplicationCascade, testing::Bool());

TEST_P(ReplicationCascade, OfThreeConverges) {
  Chain3 chain(GetParam());
  for (int i = 0; i < 200; ++i) chain.primary.Commit(i % 2 == 0 ? "a.db" : "b.db", 1 + 37 * i);
  ASSERT_TRUE(chain.end.sink.WaitFor(chain.source));
  EXPECT_EQ("primary middle end", chain.end.client->Status().path);
  EXPECT_EQ(0, chain.source.snapshots_made() + chain.middle.source.snapshots_made());
}

TEST_P(ReplicationCascade, SurvivesARestartOfEachNode) {
  Chain3 chain(GetParam());
  ASSERT_TRUE(chain.end.sink.WaitFor("a.db", chain.primary.Commit("a.db")));
  chain.middle.Stop();
  chain.primary.Commit("a.db");
  chain.middle.Start();
  ASSERT_TRUE(chain.end.sink.WaitFor("a.db", chain.primary.Commit("a.db")));
  chain.primary.server.reset();
  chain.source.Commit("a.db");
  chain.primary.Start();
  ASSERT_TRUE(chain.end.sink.WaitFor("a.db", chain.primary.Commit("a.db")));
  chain.end.Stop();
  chain.primary.Commit("a.db");
  chain.end.Start();
  ASSERT_TRUE(chain.end.sink.WaitFor(chain.source));
  EXPECT_EQ(0, chain.source.snapshots_made() + chain.middle.source.snapshots_made());
}

TEST_P(ReplicationCascade, PassesOnANewEpoch) {
  Chain3 chain(GetParam());
  ASSERT_TRUE(chain.end.sink.WaitFor("a.db", chain.primary.Commit("a.db")));
  chain.primary.server.reset();
  chain.primary.options.epoch = 7;
  chain.primary.Start();
  EXPECT_TRUE(Eventually([&] { return chain.end.client->Status().epoch == 7; }));
  EXPECT_TRUE(chain.end.sink.WaitFor("a.db", chain.primary.Commit("a.db")));
}

TEST_P(ReplicationCascade, PassesOnPrunesBranchesAndDrops) {
  Chain3 chain(GetParam());
  chain.primary.Commit("b.db");
  ASSERT_TRUE(chain.end.sink.WaitFor("a.db", chain.primary.Commit("a.db")));
  ASSERT_TRUE(chain.end.sink.WaitFor(chain.source));
  chain.middle.Stop();
  chain.primary.Commit("a.db");
  chain.primary.Commit("a.db");
  chain.source.Prune("a.db");
  chain.middle.Start();
  ASSERT_TRUE(chain.end.sink.WaitFor(chain.source));
  EXPECT_GE(chain.source.snapshots_made(), 1);
  // Another branch, with the middle there to see it.
  chain.source.Diverge("a.db");
  chain.primary.server->Changed("a.db");
  ASSERT_TRUE(chain.end.sink.WaitFor(chain.source));
  chain.source.Drop("b.db");
  chain.primary.server->Changed("b.db");
  ASSERT_TRUE(chain.end.sink.WaitFor(chain.source));
  EXPECT_FALSE(chain.end.sink.Has("b.db"));
}

TEST(ReplicationRelay, ThatHasNotReachedAPrimaryRefusesAndSaysSo) {
  FakeSource source;
  Primary primary(&source);
  const std::string pub = primary.options.pub_endpoint;
  primary.server.reset();
  Relay middle("middle", pub, primary.options.pull_endpoint);
  middle.Start();
  Replica end(primary);
  end.options.pub_endpoint = middle.served.pub_endpoint;
  end.options.pull_endpoint = middle.served.pull_endpoint;
  end.Start();
  EXPECT_TRUE(Eventually([&] {
    return end.client->Status().last_error.find("not reached a primary") != std::string::npos;
  }));
  primary.Start();
  EXPECT_TRUE(end.sink.WaitFor("a.db", primary.Commit("a.db")));
  end.Stop();
  middle.Stop();
}

// A middle that has lost its disk knows little of what there is.
TEST(ReplicationRelay, ThatDoesNotHaveAllYetDropsNothingFurtherOn) {
  FakeSource source;
  Primary primary(&source);
  Replica end(primary);
  end.options.node_id = "end";
  end.Start();
  primary.Commit("a.db");
  ASSERT_TRUE(end.sink.WaitFor("b.db", primary.Commit("b.db")));
  ASSERT_TRUE(end.sink.WaitFor(source));
  end.Stop();

  Relay middle("middle", primary.options.pub_endpoint, primary.options.pull_endpoint);
  middle.sink.CloseGate();
  middle.Start();
  ASSERT_TRUE(middle.sink.WaitForReceiver());
  end.options.pub_endpoint = middle.served.pub_endpoint;
  end.options.pull_endpoint = middle.served.pull_endpoint;
  end.Start();
  // Online, and has heard of a list that names nothing, and a beacon after it.
  ASSERT_TRUE(end.WaitForPub());
  source.Drop("b.db");
  primary.server->Changed("b.db");
  EXPECT_FALSE(end.client->lag().complete());
  EXPECT_TRUE(end.sink.Has("a.db"));
  EXPECT_TRUE(end.sink.Has("b.db"));
  middle.sink.OpenGate();
  ASSERT_TRUE(end.sink.WaitFor("a.db", primary.Commit("a.db")));
  ASSERT_TRUE(end.sink.WaitFor(source));  // and what is gone goes, once that is known
  EXPECT_FALSE(end.sink.Has("b.db"));
  end.Stop();
  middle.Stop();
}

TEST(ReplicationLoop, OfReplicasWithoutAPrimaryMovesNothing) {
  Relay a("a", "", "");
  Relay b("b", "", "");
  // Their ports must be known before they can follow each other.
  a.options.pub_endpoint = a.options.pull_endpoint = "tcp://127.0.0.1:1";
  b.options = a.options;
  b.options.node_id = "b";
  a.Start(), b.Start();
  a.Stop(), b.Stop();
  a.options.pub_endpoint = b.served.pub_endpoint, a.options.pull_endpoint = b.served.pull_endpoint;
  b.options.pub_endpoint = a.served.pub_endpoint, b.options.pull_endpoint = a.served.pull_endpoint;
  a.source.Commit("x.db");
  b.source.Commit("x.db");
  a.Start(), b.Start();
  for (Relay* relay : {&a, &b}) {
    EXPECT_TRUE(Eventually([&] {
      return relay->client->Status().last_error.find("not reached a primary") != std::string::npos;
    }));
    EXPECT_EQ(0u, relay->client->counters().sessions);
    EXPECT_EQ(0, relay->sink.received());
  }
  a.Stop(), b.Stop();
}

TEST(ReplicationLoop, BelowAPrimaryIsRefusedAndSaid) {
  FakeSource source;
  Primary primary(&source);
  Relay a("a", primary.options.pub_endpoint, primary.options.pull_endpoint);
  a.Start();
  Relay b("b", a.served.pub_endpoint, a.served.pull_endpoint);
  b.Start();
  ASSERT_TRUE(b.sink.WaitFor("x.db", primary.Commit("x.db")));
  a.Stop();
  a.options.pub_endpoint = b.served.pub_endpoint;
  a.options.pull_endpoint = b.served.pull_endpoint;
  a.options.refused_delay = milliseconds(50);
  a.Start();
  EXPECT_TRUE(Eventually(
      [&] { return a.client->Status().last_error.find("a loop: ") != std::string::npos; }));
  EXPECT_EQ(0u, a.client->counters().sessions);
  // b waits for a that has no primary any more.
  EXPECT_TRUE(Eventually([&] { return !b.client->Status().connected; }));
  b.Stop();
  a.Stop();
}

// ---- Primaries that connect ----

struct Dialling {
  explicit Dialling(FakeSource* chain, const std::string& node_id, const std::string& endpoint)
      : source(chain) {
    options.cluster_id = "cluster-1";
    options.node_id = node_id;
    options.epoch = 1;
    options.dial = {endpoint};
  }
  void Start() {
    server = std::make_unique<ReplicationServer>(options, source);
    const absl::Status status = server->Start();
    ASSERT_TRUE(status.ok()) << status;
  }
  ltx::Position Commit(const std::string& database, size_t bytes = 100) {
    const ltx::Position position = source->Commit(database, bytes);
    server->Committed(database, position.txid, position.txid);
    return position;
  }
  bool IsInSession() {
    return Eventually([&] { return server->Dialled()[0].in_session; });
  }
  bool IsTold(const std::string& what) {
    return Eventually(
        [&] { return server->Dialled()[0].last_error.find(what) != std::string::npos; });
  }
  FakeSource* source;
  ReplicationServer::Options options;
  std::unique_ptr<ReplicationServer> server;
};

class ReplicationDial : public testing::Test {
 protected:
  ReplicationDial() {
    accepting_.accept_endpoint = "tcp://127.0.0.1:*";
    accepting_.cluster_id = "cluster-1";
    accepting_.node_id = "replica";
    StartReplica();
  }
  void StartReplica() {
    client_ = std::make_unique<ReplicationClient>(accepting_, &sink_);
    const absl::Status status = client_->Start();
    ASSERT_TRUE(status.ok()) << status;
    accepting_.accept_endpoint = client_->accept_endpoint();
  }

  FakeSource source_;
  FakeSink sink_;
  ReplicationClient::Options accepting_;
  std::unique_ptr<ReplicationClient> client_;
};

TEST_F(ReplicationDial, CarriesFilesLargeAndSmall) {
  Dialling primary(&source_, "primary", accepting_.accept_endpoint);
  primary.Start();
  for (int i = 0; i < 100; ++i) primary.Commit(i % 2 == 0 ? "a.db" : "b.db", 1 + 37 * i);
  primary.Commit("c.db", 5 << 20);
  ASSERT_TRUE(sink_.WaitFor(source_));
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(sink_.WaitFor("a.db", primary.Commit("a.db")));
  }
  EXPECT_TRUE(primary.IsInSession());
  EXPECT_EQ(1u, client_->counters().sessions);
  EXPECT_TRUE(
      Eventually([&] { return client_->lag().OfNode(sink_.States()).time_ms == uint64_t{0}; }));
}

TEST_F(ReplicationDial, GoesOnWhenEitherRestarts) {
  Dialling primary(&source_, "primary", accepting_.accept_endpoint);
  primary.Start();
  ASSERT_TRUE(sink_.WaitFor("a.db", primary.Commit("a.db")));
  for (int round = 0; round < 3; ++round) {
    client_.reset();
    primary.Commit("a.db");
    StartReplica();
    ASSERT_TRUE(sink_.WaitFor("a.db", primary.Commit("a.db"))) << round;
    primary.server.reset();
    source_.Commit("a.db");
    primary.Start();
    ASSERT_TRUE(sink_.WaitFor("a.db", primary.Commit("a.db"))) << round;
    client_.reset();
    primary.server.reset();
    source_.Commit("a.db");
    primary.Start();
    StartReplica();
    ASSERT_TRUE(sink_.WaitFor("a.db", primary.Commit("a.db"))) << round;
  }
  EXPECT_EQ(0, source_.snapshots_made());
}

TEST_F(ReplicationDial, ConnectionsThatAreCutAreMadeAnew) {
  const int port =
      std::stoi(accepting_.accept_endpoint.substr(accepting_.accept_endpoint.rfind(':') + 1));
  TcpRelay relay(port);
  Dialling primary(&source_, "primary", relay.endpoint());
  primary.Start();
  ASSERT_TRUE(sink_.WaitFor("a.db", primary.Commit("a.db")));
  for (int i = 0; i < 5; ++i) {
    const uint64_t cuts = relay.cuts();
    relay.CutAfter(100);
    ASSERT_TRUE(Eventually([&] {
      primary.Commit("a.db");
      return relay.cuts() > cuts;
    }));
    ASSERT_TRUE(sink_.WaitFor("a.db", primary.Commit("a.db", 300'000))) << i;
  }
  EXPECT_GE(relay.cuts(), 5u);
}

TEST_F(ReplicationDial, ASecondPrimaryIsToldWhoWasFirst) {
  Dialling first(&source_, "first", accepting_.accept_endpoint);
  first.Start();
  ASSERT_TRUE(sink_.WaitFor("a.db", first.Commit("a.db")));
  FakeSource other;
  other.Commit("a.db");
  Dialling second(&other, "second", accepting_.accept_endpoint);
  second.Start();
  EXPECT_TRUE(second.IsTold("follows node first"));
  ASSERT_TRUE(sink_.WaitFor("a.db", first.Commit("a.db")));
  EXPECT_EQ(1u, client_->counters().sessions);
}

TEST_F(ReplicationDial, ALaterEpochReplacesTheFirst) {
  Dialling first(&source_, "first", accepting_.accept_endpoint);
  first.Start();
  ASSERT_TRUE(sink_.WaitFor("a.db", first.Commit("a.db")));
  FakeSource other;
  other.Commit("b.db");
  Dialling second(&other, "second", accepting_.accept_endpoint);
  second.options.epoch = 2;
  second.Start();
  EXPECT_TRUE(second.IsInSession());
  EXPECT_TRUE(first.IsTold("epoch"));
  EXPECT_TRUE(sink_.WaitFor(other));
}

TEST_F(ReplicationDial, AnotherClusterIsTold) {
  Dialling stranger(&source_, "stranger", accepting_.accept_endpoint);
  stranger.options.cluster_id = "cluster-2";
  stranger.Start();
  EXPECT_TRUE(stranger.IsTold("this is cluster \"cluster-1\", not \"cluster-2\""));
  EXPECT_EQ(0u, client_->counters().sessions);
}

TEST_F(ReplicationDial, ARelayCallsOnceItHasAPrimary) {
  FakeSource source;
  Primary primary(&source);
  Relay middle("middle", primary.options.pub_endpoint, primary.options.pull_endpoint);
  middle.served.dial = {accepting_.accept_endpoint};
  middle.Start();
  EXPECT_TRUE(sink_.WaitFor("a.db", primary.Commit("a.db")));
  EXPECT_EQ("primary middle replica", client_->Status().path);
  client_.reset();
  middle.Stop();
}

}  // namespace
}  // namespace litefs::replication
