// Networks that lose and cut, peers that send garbage, and peers that stand still.

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <malloc.h>
#include <sys/resource.h>

#include <chrono>
#include <random>
#include <zmq.hpp>

#include "daemon/replication/message.h"
#include "daemon/replication/zmq_socket.h"
#include "tests/support/bad_network.h"
#include "tests/support/replication_nodes.h"

namespace litefs::replication {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// ---- Messages lost, repeated, reordered
// ----------------------------------------------------------

class ReplicationLoss : public testing::TestWithParam<int> {};  // per cent
INSTANTIATE_TEST_SUITE_P(Percent, ReplicationLoss, testing::Values(1, 10, 50));

TEST_P(ReplicationLoss, DoesNotChangeTheEndState) {
  FakeSource source;
  Primary primary(&source);
  BadPub proxy(primary.options.pub_endpoint, GetParam() / 100.0, GetParam());
  Replica replica(primary);
  replica.options.pub_endpoint = proxy.endpoint();
  replica.Start();
  ASSERT_TRUE(replica.WaitForPub());
  for (int i = 0; i < 400; ++i) {
    const std::string name = fmt::format("{}.db", i % 3);
    const ltx::Position position = primary.Commit(name, 1 + 37 * i);
    // Sometimes wait, so that the last of a burst is what gets lost.
    if (i % 10 == 9) {
      ASSERT_TRUE(replica.sink.WaitFor(name, position)) << i;
    }
  }
  EXPECT_TRUE(replica.sink.WaitFor(source));
  EXPECT_EQ(0, source.snapshots_made());
  if (GetParam() >= 10) {
    EXPECT_GT(proxy.lost(), 0u);
  }
}

TEST(ReplicationSilence, OfPubTurnsToThePullSocketAndBack) {
  FakeSource source;
  Primary primary(&source);
  primary.options.beacon_interval = milliseconds(50);
  primary.Start();
  BadPub proxy(primary.options.pub_endpoint, 0, 1);
  Replica replica(primary);
  replica.options.pub_endpoint = proxy.endpoint();
  replica.options.pub_deadline = milliseconds(300);
  replica.Start();
  ASSERT_TRUE(replica.WaitForPub());
  proxy.set_share(1);
  ASSERT_TRUE(Eventually([&] { return !replica.client->Status().pub_healthy; }));
  ASSERT_TRUE(replica.sink.WaitFor("app.db", primary.Commit("app.db")));
  ASSERT_TRUE(replica.sink.WaitFor("app.db", primary.Commit("app.db")));
  proxy.set_share(0);
  ASSERT_TRUE(replica.WaitForPub());
  ASSERT_TRUE(replica.sink.WaitFor("app.db", primary.Commit("app.db")));
  EXPECT_EQ(1u, replica.client->counters().sessions);
}

// Reads up to a replica's Hello; peer receives its key.
bool AwaitHello(ZmqSocket& router, Frame* peer) {
  return Eventually([&] {
    std::vector<Frame> frames;
    if (!router.Receive(&frames).ok() || frames.size() < 2) return false;
    const absl::StatusOr<Message> message = Decode(Text(frames[1]));
    if (!message.ok() || !std::holds_alternative<Hello>(message->body)) return false;
    *peer = std::move(frames[0]);
    return true;
  });
}

// A primary that is stopped, or behind a cable that was pulled: its kernel, or nobody, answers.
TEST(ReplicationSilence, OfThePrimaryEndsTheSession) {
  const absl::StatusOr<std::unique_ptr<Context>> context = Context::Open();
  ASSERT_TRUE(context.ok());
  absl::StatusOr<ZmqSocket> router = ZmqSocket::Open(**context, ZmqSocket::Kind::kServe);
  ASSERT_TRUE(router.ok() && router->Bind("tcp://127.0.0.1:*").ok());
  FakeSink sink;
  ReplicationClient client({.pub_endpoint = "",
                            .pull_endpoint = router->BoundEndpoint(),
                            .cluster_id = "cluster-1",
                            .node_id = "replica",
                            .subscribe = false,
                            .silence_deadline = milliseconds(200)},
                           &sink);
  ASSERT_TRUE(client.Start().ok());
  for (uint64_t session = 1; session <= 3; ++session) {
    std::vector<Frame> welcome(2);
    ASSERT_TRUE(AwaitHello(*router, &welcome[0]));
    welcome[1] = MakeFrame(Encode({"cluster-1", 1, 1}, Welcome{"primary", false, "primary"}));
    ASSERT_TRUE(router->Send(welcome).ok());
    ASSERT_TRUE(Eventually([&] { return client.counters().sessions == session; }));
    ASSERT_TRUE(Eventually([&] { return !client.Status().connected; }));
    EXPECT_EQ("the primary is silent", client.Status().last_error);
  }
}

int PortOf(const std::string& endpoint) {
  return std::stoi(endpoint.substr(endpoint.rfind(':') + 1));
}

class ReplicationCut : public testing::TestWithParam<bool> {
};  // a snapshot, or a file of the chain
INSTANTIATE_TEST_SUITE_P(Snapshot, ReplicationCut, testing::Bool());

TEST_P(ReplicationCut, ResumesWhereTheTransferStopped) {
  constexpr size_t kBytes = 24 << 20;
  FakeSource source;
  Primary primary(&source);
  primary.Commit("app.db", GetParam() ? 100 : kBytes);
  if (GetParam()) {
    primary.Commit("app.db");
    source.Prune("app.db");
    source.set_snapshot_bytes(kBytes);
  }
  TcpRelay relay(PortOf(primary.options.pull_endpoint));
  Replica replica(primary);
  replica.options.pull_endpoint = relay.endpoint();
  relay.CutAfter(kBytes / 2);
  replica.Start();
  ASSERT_TRUE(replica.sink.WaitFor(source));
  EXPECT_EQ(1u, relay.cuts());
  EXPECT_EQ(2u, replica.client->counters().sessions);
  EXPECT_EQ(1u, replica.sink.spools());
  EXPECT_EQ(1u, primary.server->counters().resumed);
  EXPECT_EQ(GetParam() ? 1 : 0, source.snapshots_made());
  // At most what was on its way is sent twice.
  EXPECT_LE(primary.server->counters().chunks, (kBytes + kWindowBytes) / kChunkBytes + 2);
}

// ---- Peers that stand still
// ----------------------------------------------------------------------

TEST(ReplicationSlow, AReplicaThatStandsStillDelaysNobody) {
  FakeSource source;
  Primary primary(&source);
  Replica slow(primary);
  Replica quick(primary);
  slow.sink.CloseGate();
  slow.Start();
  quick.Start();
  ASSERT_TRUE(quick.sink.WaitFor("app.db", primary.Commit("app.db")));
  ASSERT_TRUE(slow.sink.WaitForReceiver());
  const struct mallinfo2 before = ::mallinfo2();
  const auto start = std::chrono::steady_clock::now();
  size_t total = 0;
  for (int i = 0; i < 400; ++i, total += 800'000) {
    ASSERT_TRUE(quick.sink.WaitFor("app.db", primary.Commit("app.db", 800'000))) << i;
    source.Prune("app.db");  // the fake's own memory stays out of the sum
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, seconds(25));
  // 320 MB went by; held for the slow one: PUB's budget on each side, and its credit.
  const struct mallinfo2 after = ::mallinfo2();
  const size_t held = after.uordblks + after.hblkhd - before.uordblks - before.hblkhd;
  EXPECT_GT(total, size_t{300} << 20);
  EXPECT_LT(held, size_t{220} << 20);
  slow.sink.OpenGate();
  EXPECT_TRUE(slow.sink.WaitFor(source));
}

// A peer of our own making, which says what it likes.
class Stranger {
 public:
  explicit Stranger(const Primary& primary) : socket_(context_, zmq::socket_type::dealer) {
    socket_.set(zmq::sockopt::linger, 0);
    socket_.set(zmq::sockopt::rcvhwm, 1);
    socket_.connect(primary.options.pull_endpoint);
  }
  void Send(std::string_view data, bool more = false) {
    socket_.send(zmq::buffer(data), more ? zmq::send_flags::sndmore : zmq::send_flags::none);
  }
  // As a well-formed frame.
  void SendPart(std::string_view data) {
    Frame parts[] = {MakeFrame(data)};
    socket_.send(JoinParts(parts), zmq::send_flags::none);
  }
  void Send(const Body& body) { SendPart(Encode(envelope_, body)); }
  // The next message's header, within 10 s.
  absl::StatusOr<Message> Receive() {
    socket_.set(zmq::sockopt::rcvtimeo, 10'000);
    Frame frame;
    std::vector<Frame> parts;
    if (!socket_.recv(frame)) return absl::DeadlineExceededError("no answer");
    if (!SplitParts(frame, &parts)) return absl::DataLossError("not a frame of ours");
    absl::StatusOr<Message> message = Decode(Text(parts[0]));
    if (message.ok()) envelope_ = message->envelope;
    return message;
  }
  RefusalCode ReceiveRefusal() {
    const absl::StatusOr<Message> message = Receive();
    EXPECT_TRUE(message.ok()) << message.status();
    const auto* refused = message.ok() ? std::get_if<Refused>(&message->body) : nullptr;
    EXPECT_NE(nullptr, refused);
    return refused == nullptr ? RefusalCode{} : refused->code;
  }
  Envelope& envelope() { return envelope_; }

 private:
  zmq::context_t context_;
  zmq::socket_t socket_;
  Envelope envelope_{"cluster-1", 0, 0};
};

TEST(ReplicationSlow, APeerThatGrantsWithoutReadingCostsABoundedAmount) {
  FakeSource source;
  Primary primary(&source);
  primary.Commit("app.db");
  primary.Commit("app.db");
  source.Prune("app.db");
  source.set_snapshot_bytes(64 << 20);
  Stranger stranger(primary);
  stranger.Send(Hello{"stranger", uint64_t{1} << 60, true});
  ASSERT_TRUE(stranger.Receive().ok());
  stranger.Send(Pull{1, "app.db", {}, {}, 0});
  ASSERT_TRUE(Eventually([&] { return primary.server->counters().chunks > 0; }));
  for (uint64_t i = 1; i < 500; ++i) stranger.Send(Credit{(uint64_t{1} << 60) + i});
  // Another replica is served all the while, and shares the snapshot.
  Replica replica(primary);
  replica.Start();
  ASSERT_TRUE(replica.sink.WaitFor(source));
  EXPECT_EQ(1, source.snapshots_made());
  // The kernel's socket buffers take some; of ours there are at most kMaxWindowBytes.
  EXPECT_LT(primary.server->counters().chunks, (64u << 20) / kChunkBytes + 130);
}

// ---- Peers that send garbage
// ---------------------------------------------------------------------

TEST(ReplicationGarbage, IsRefusedAndCounted) {
  FakeSource source;
  Primary primary(&source);
  primary.Commit("app.db");
  Stranger stranger(primary);
  stranger.Send("GET / HTTP/1.1");
  EXPECT_EQ(RefusalCode::kMalformed, stranger.ReceiveRefusal());
  stranger.SendPart("\x92\x08\x01");  // wire version 8
  EXPECT_EQ(RefusalCode::kWrongVersion, stranger.ReceiveRefusal());
  for (int i = 0; i < 9; ++i) stranger.Send("x", i < 8);
  EXPECT_EQ(RefusalCode::kMalformed, stranger.ReceiveRefusal());
  stranger.Send(Ping{});
  EXPECT_EQ(RefusalCode::kNoSession, stranger.ReceiveRefusal());
  stranger.envelope() = {"cluster-9", 0, 0};
  stranger.Send(Hello{"stranger", 1000, true});
  EXPECT_EQ(RefusalCode::kWrongCluster, stranger.ReceiveRefusal());
  stranger.envelope() = {"cluster-1", 99, 0};
  stranger.Send(Hello{"stranger", 1000, true});
  EXPECT_EQ(RefusalCode::kStaleEpoch, stranger.ReceiveRefusal());
  stranger.envelope() = {"cluster-1", 0, 0};
  stranger.Send(Hello{"stranger", kWindowBytes, false});
  ASSERT_TRUE(stranger.Receive().ok());
  stranger.Send(Pull{1, "nothing.db", {}, {}, 0});
  EXPECT_EQ(RefusalCode::kUnknownDatabase, stranger.ReceiveRefusal());
  stranger.Send(Beacon{});
  EXPECT_EQ(RefusalCode::kMalformed, stranger.ReceiveRefusal());
  EXPECT_EQ(4u, primary.server->counters().malformed);
  EXPECT_TRUE(primary.server->Peers().empty());
}

TEST(ReplicationGarbage, NeitherStopsNorSwellsAServer) {
  FakeSource source;
  Primary primary(&source);
  Replica replica(primary);
  replica.Start();
  std::mt19937_64 random(1);
  const Body bodies[] = {Hello{"x", kWindowBytes, true},
                         Pull{1, "app.db", {5, 6}, {}, 0},
                         Credit{1 << 20},
                         Mode{true},
                         Ack{"app.db", {1, 2}},
                         Ping{},
                         PositionsRequest{1, ""}};
  for (int round = 0; round < 20; ++round) {
    Stranger stranger(primary);
    stranger.Send(Hello{"stranger", kWindowBytes, true});
    for (int i = 0; i < 50; ++i) {
      std::string data = Encode(stranger.envelope(), bodies[random() % std::size(bodies)]);
      for (uint64_t flips = random() % 3; flips > 0; --flips)
        data[random() % data.size()] ^= random();
      if (random() % 8 == 0) {
        stranger.Send(data, random() % 2 == 0);  // not even a frame of ours
      } else {
        stranger.SendPart(data);
      }
    }
    stranger.Send(std::string(kMaxRequestBytes + 1, 'x'));  // ends the connection
    ASSERT_TRUE(replica.sink.WaitFor("app.db", primary.Commit("app.db"))) << round;
  }
  EXPECT_LE(primary.server->Peers().size(), kMaxPeers);
}

TEST(ReplicationGarbage, OfAPublisherIsCountedAndIgnored) {
  FakeSource source;
  Primary primary(&source);
  zmq::context_t context;
  zmq::socket_t pub(context, zmq::socket_type::pub);
  pub.set(zmq::sockopt::linger, 0);
  pub.bind("tcp://127.0.0.1:*");
  Replica replica(primary);
  replica.options.pub_endpoint = pub.get(zmq::sockopt::last_endpoint);
  replica.Start();
  const std::string topic = Topic("cluster-1");
  ASSERT_TRUE(Eventually([&] {
    Frame parts[] = {MakeFrame(topic), MakeFrame("garbage")};
    pub.send(JoinParts(parts), zmq::send_flags::none);
    pub.send(zmq::buffer(topic + "not even parts"), zmq::send_flags::none);
    return replica.client->counters().corrupt > 3;
  }));
  // One that claims to be of the session's cluster, but not of the session.
  const Transaction fake{1, "app.db", {1, 1, 0, 5, 3}, true, 7};
  const uint64_t discarded = replica.client->counters().discarded;
  ASSERT_TRUE(Eventually([&] {
    Frame parts[] = {MakeFrame(topic), MakeFrame(Encode({"cluster-1", 1, 12345}, fake)),
                     MakeFrame("abc")};
    pub.send(JoinParts(parts), zmq::send_flags::none);
    return replica.client->counters().discarded > discarded;
  }));
  EXPECT_FALSE(replica.sink.Has("app.db"));
  ASSERT_TRUE(replica.sink.WaitFor("app.db", primary.Commit("app.db")));
}

}  // namespace
}  // namespace litefs::replication
