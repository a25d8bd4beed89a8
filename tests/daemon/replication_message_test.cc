#include <fmt/format.h>
#include <gtest/gtest.h>

#include <random>
#include <type_traits>

#include "common/msgpack.h"
#include "daemon/replication/message.h"

namespace litefs::replication {
namespace {

const Envelope kEnvelope{"cluster-1", 7, 0xfedcba9876543210};
constexpr FileIdentity kFile{5, 6, ~uint64_t{0}, 1, 4711};

std::vector<Body> AllBodies() {
  return {Hello{"node-1", kWindowBytes, true},
          Welcome{"node-2", true, "node-0 node-2", true, "http://a:80"},
          Refused{RefusalCode::kWrongCluster, 3, "no"},
          PositionsRequest{9, "app.db"},
          Positions{9, 10, true, false, {{"a.db", {1, 2}, 5, 6}, {"dir/b.db", {3, 4}, 7, 8}}},
          Pull{1, "app.db", {7, 8}, kFile, 4710},
          Chunk{1, "app.db", true, kFile, 4710, 11, 12, 13},
          Current{1, "app.db", {7, 8}},
          Credit{1 << 20},
          Ack{"app.db", {7, 8}},
          Ping{14},
          Mode{false},
          Transaction{12, "app.db", kFile, true, 13, 14, 15},
          Beacon{14, 15, 16, 17, true, {{"a.db", {1, 2}, 3, 4}}},
          SumsRequest{17, "a.db", 18, 19},
          Sums{20, 4096, 22, 2, {23, 24}},
          Pong{1, 2, 3},
          Call{"node-3"},
          Halt{1, "app.db", 5000},
          Halted{1, 2, {3, 4}, 3000, "why"},
          KeepHalt{2},
          EndHalt{2, 1},
          RecallHalt{2, true, "why"},
          Forward{3, 2, "app.db", kFile, true, 4710, 9},
          Forwarded{3, Outcome::kAccepted, 4711, "fine", 800},
          AskOutcome{4, "app.db", {5, 6}}};
}

// A header of these fields after a proper envelope, for messages that Encode would not write.
class Header {
 public:
  Header(uint64_t type, uint32_t fields) : out_(buffer_, 5 + fields) {
    out_.Uint(kWireVersion), out_.Uint(type), out_.Text("c"), out_.Uint(1), out_.Uint(1);
  }
  Header& Uint(uint64_t v) { return out_.Uint(v), *this; }
  Header& Text(std::string_view v) { return out_.Text(v), *this; }
  absl::StatusOr<Message> Decode() { return replication::Decode({buffer_, out_.size()}); }

 private:
  char buffer_[2 * kMaxHeaderBytes];
  MessageWriter out_;
};

std::string ErrorOf(const absl::StatusOr<Message>& message) {
  return std::string(message.status().message());
}

TEST(ReplicationMessage, SurvivesARoundTrip) {
  const std::vector<Body> bodies = AllBodies();
  ASSERT_EQ(std::variant_size_v<Body>, bodies.size());
  for (size_t i = 0; i < bodies.size(); ++i) {
    ASSERT_EQ(i, bodies[i].index()) << "one of each";
    const absl::StatusOr<Message> message = Decode(Encode(kEnvelope, bodies[i]));
    ASSERT_TRUE(message.ok()) << i << message.status();
    EXPECT_EQ(kEnvelope, message->envelope);
    EXPECT_EQ(bodies[i], message->body) << i;
  }
}

// The bytes are the contract with other versions of this program.
TEST(ReplicationMessage, HasTheDocumentedBytes) {
  EXPECT_EQ(std::string("\x99\x07\x08\xa1"
                        "c\x02\x03\x01\xa4"
                        "a.db\x05",
                        14),
            Encode({"c", 2, 3}, Current{1, "a.db", {5, 6}}).substr(0, 14));
  EXPECT_EQ(std::string("\x96\x07\x0b\xa1"
                        "c\x02\x03\x04",
                        8),
            Encode({"c", 2, 3}, Ping{4}));
  EXPECT_EQ(std::string("\x98\x07\x11\xa1"
                        "c\x02\x03\x04\x05\x06",
                        10),
            Encode({"c", 2, 3}, Pong{4, 5, 6}));
  EXPECT_EQ(std::string("\x96\x07\x12\xa1"
                        "c\x02\x03\xa1n",
                        9),
            Encode({"c", 2, 3}, Call{"n"}));
  EXPECT_EQ(kTopicBytes, Topic("").size());
  EXPECT_EQ("lfs14c52bbef0bae3e6d", Topic("cluster-1"));
}

TEST(ReplicationMessage, HoldsTheLongestListThatIsAllowed) {
  Positions positions{1, 2, false, true, {}};
  for (size_t i = 0; i < kMaxListedDatabases; ++i) {
    positions.databases.push_back(
        {std::string(kMaxDatabaseNameBytes, 'x'), {~0ull, ~0ull}, ~0ull, ~0ull});
  }
  const std::string header =
      Encode({std::string(kMaxClusterIdBytes, 'c'), ~0ull, ~0ull}, positions);
  EXPECT_TRUE(Decode(header).ok());
  EXPECT_TRUE(absl::IsInvalidArgument(Decode(header, kMaxRequestBytes).status()));
}

TEST(ReplicationMessage, RejectsEveryTruncationAndExtension) {
  for (const Body& body : AllBodies()) {
    const std::string header = Encode(kEnvelope, body);
    for (size_t size = 0; size < header.size(); ++size) {
      EXPECT_FALSE(Decode(header.substr(0, size)).ok()) << body.index() << " " << size;
    }
    EXPECT_FALSE(Decode(header + '\0').ok());
  }
}

TEST(ReplicationMessage, NamesTheWireVersionThatItDoesNotSpeak) {
  for (const char* header : {"\x92\x01\x01", "\x91\x02", "\x92\x02\x80", "\x92\xcc\xff\x01"}) {
    EXPECT_TRUE(absl::IsUnimplemented(Decode(header).status())) << header;
  }
  EXPECT_EQ("wire version 1, this node speaks 7", ErrorOf(Decode("\x92\x01\x01")));
}

TEST(ReplicationMessage, UnderstandsARefusalOfAnyVersion) {
  std::string header = Encode(kEnvelope, Refused{RefusalCode::kWrongVersion, 0, "too old"});
  header[1] = 99;
  const absl::StatusOr<Message> message = Decode(header);
  ASSERT_TRUE(message.ok()) << message.status();
  EXPECT_EQ("too old", std::get<Refused>(message->body).text);
}

TEST(ReplicationMessage, RejectsWhatIsOutOfItsLimits) {
  EXPECT_EQ("malformed message: no wire version", ErrorOf(Decode("")));
  EXPECT_EQ("malformed message: unknown type",
            ErrorOf(Header(std::variant_size_v<Body> + 1, 0).Decode()));
  EXPECT_EQ("malformed message: unknown type", ErrorOf(Header(0, 0).Decode()));
  EXPECT_EQ("malformed message: a flag is neither 0 nor 1",
            ErrorOf(Header(12, 1).Uint(2).Decode()));
  EXPECT_EQ("malformed message: wrong number or kind of fields",
            ErrorOf(Header(12, 2).Uint(1).Uint(1).Decode()));
  EXPECT_EQ("malformed message: a string is too long",
            ErrorOf(Header(10, 3).Text(std::string(513, 'x')).Uint(1).Uint(1).Decode()));
  EXPECT_EQ("malformed message: a list is too long",
            ErrorOf(Header(5, 5).Uint(1).Uint(1).Uint(1).Uint(1).Uint(129).Decode()));
  EXPECT_EQ("malformed message: a list is too long",
            ErrorOf(Header(5, 5).Uint(1).Uint(1).Uint(1).Uint(1).Uint(~0ull).Decode()));
}

TEST(ReplicationMessage, RejectsNamesThatLeadElsewhere) {
  for (const std::string& name : {std::string(), std::string("/etc/passwd"), std::string(".."),
                                  std::string("../x"), std::string("a/../b"), std::string("a//b"),
                                  std::string("a/"), std::string("./a"), std::string("a\0b", 3)}) {
    EXPECT_EQ("malformed message: not a database name",
              ErrorOf(Header(10, 3).Text(name).Uint(1).Uint(1).Decode()))
        << name;
  }
  EXPECT_TRUE(Header(10, 3).Text("..a/b..c/.d").Uint(1).Uint(1).Decode().ok());
}

TEST(ReplicationMessage, RejectsChunksThatCannotBe) {
  const auto chunk = [](uint64_t stream, FileIdentity file, uint64_t offset) {
    return ErrorOf(Decode(Encode(kEnvelope, Chunk{stream, "a", false, file, offset, 0, 0, 0})));
  };
  EXPECT_EQ("", chunk(1, kFile, 0));
  EXPECT_EQ("malformed message: stream id 0", chunk(0, kFile, 0));
  EXPECT_EQ("malformed message: offset beyond the file", chunk(1, kFile, 4711));
  EXPECT_EQ("malformed message: offset beyond the file", chunk(1, {1, 1, 0, 0, 0}, 0));
  EXPECT_EQ("malformed message: transaction ids out of order", chunk(1, {0, 1, 0, 0, 9}, 0));
  EXPECT_EQ("malformed message: transaction ids out of order", chunk(1, {2, 1, 0, 0, 9}, 0));
  EXPECT_EQ("malformed message: file size out of range", chunk(1, {1, 1, 0, 0, ~0ull}, 0));
}

TEST(ReplicationMessage, RejectsPageSumsThatCannotBe) {
  const auto sums = [](Sums message) { return ErrorOf(Decode(Encode(kEnvelope, message))); };
  EXPECT_EQ("", sums({1, 4096, 3, 1, {7, 8, 9}}));
  EXPECT_EQ("", sums({1, 4096, 3, 3, {9}}));
  EXPECT_EQ("", sums({1, 0, 0, 1, {}}));
  EXPECT_EQ("malformed message: stream id 0", sums({0, 4096, 3, 1, {7}}));
  EXPECT_EQ("malformed message: pages beyond the size", sums({1, 4096, 3, 0, {7}}));
  EXPECT_EQ("malformed message: pages beyond the size", sums({1, 4096, 3, 4, {7}}));
  EXPECT_EQ("malformed message: pages beyond the size", sums({1, 4096, 3, 2, {7, 8, 9}}));
  EXPECT_EQ("malformed message: pages beyond the size", sums({1, 4096, 3, ~0ull, {7}}));
  EXPECT_EQ("malformed message: no database has that shape", sums({1, 4096, ~0ull, 1, {7}}));
  EXPECT_EQ("malformed message: no database has that shape", sums({1, 65537, 3, 1, {7}}));
  EXPECT_EQ("malformed message: not whole words",
            ErrorOf(Header(16, 5).Uint(1).Uint(4096).Uint(3).Uint(1).Text("1234567").Decode()));
  EXPECT_EQ("malformed message: too many words",
            ErrorOf(Header(16, 5)
                        .Uint(1)
                        .Uint(4096)
                        .Uint(1000)
                        .Uint(1)
                        .Text(std::string(8 * (kSumsInMessage + 1), 'x'))
                        .Decode()));
  const auto request = [](SumsRequest message) {
    return ErrorOf(Decode(Encode(kEnvelope, message)));
  };
  EXPECT_EQ("", request({1, "a", 1, kMaxSumsAsked}));
  EXPECT_EQ("malformed message: pages out of range", request({1, "a", 0, 1}));
  EXPECT_EQ("malformed message: pages out of range", request({1, "a", 1, 0}));
  EXPECT_EQ("malformed message: pages out of range", request({1, "a", 1, kMaxSumsAsked + 1}));
}

TEST(ReplicationMessage, RejectsForwardsThatCannotBe) {
  const auto error = [](const Body& body) { return ErrorOf(Decode(Encode(kEnvelope, body))); };
  const auto forward = [](uint64_t request, uint64_t lock, FileIdentity file, uint64_t offset) {
    return Forward{request, lock, "a", file, false, offset, 0};
  };
  EXPECT_EQ("", error(forward(1, 1, kFile, 0)));
  EXPECT_EQ("malformed message: request or lock id 0", error(forward(0, 1, kFile, 0)));
  EXPECT_EQ("malformed message: request or lock id 0", error(forward(1, 0, kFile, 0)));
  EXPECT_EQ("malformed message: offset beyond the file", error(forward(1, 1, kFile, 4711)));
  EXPECT_EQ("malformed message: file size out of range",
            error(forward(1, 1, {5, 5, 1, 1, kMaxForwardBytes + 1}, 0)));
  EXPECT_EQ("malformed message: transaction ids out of order",
            error(forward(1, 1, {0, 1, 0, 0, 9}, 0)));
  EXPECT_EQ("malformed message: request id 0", error(Halt{0, "a", 1}));
  EXPECT_EQ("malformed message: request id 0", error(AskOutcome{0, "a", {1, 1}}));
  EXPECT_EQ("malformed message: unknown outcome",
            error(Forwarded{1, static_cast<Outcome>(5), 0, ""}));
}

TEST(ReplicationMessage, SurvivesRandomDamage) {
  std::mt19937_64 random(4);
  const std::vector<Body> bodies = AllBodies();
  for (int i = 0; i < 200'000; ++i) {
    std::string header = Encode(kEnvelope, bodies[random() % bodies.size()]);
    for (uint64_t flips = 1 + random() % 4; flips > 0; --flips) {
      header[random() % header.size()] = static_cast<char>(random());
    }
    const absl::StatusOr<Message> message = Decode(header);
    // What is accepted can be written again.
    if (message.ok()) {
      EXPECT_FALSE(Encode(message->envelope, message->body).empty());
    }
  }
}

TEST(ReplicationMessage, StatesOfDifferentTablesDiffer) {
  EXPECT_NE(StateDigest("a", {1, 2}), StateDigest("b", {1, 2}));
  EXPECT_NE(StateDigest("a", {1, 2}), StateDigest("a", {2, 1}));
}

}  // namespace
}  // namespace litefs::replication
