#include "ipc/codec.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "common/msgpack.h"

namespace litefs::ipc {
namespace {

template <typename Message>
std::string Encoded(const Message& message) {
  std::vector<char> buffer(kMaxMessageBytes);
  const size_t size = Encode(message, buffer);
  EXPECT_GT(size, 0u);
  return std::string(buffer.data(), size);
}

std::string RawMessage(uint32_t fields, auto fill) {
  char buffer[4096];
  MessageWriter writer(buffer, fields);
  fill(writer);
  return std::string(buffer, writer.size());
}

const std::vector<DirtyRange> kRanges = {{0, 4096}, {8192, 12288}, {~uint64_t{0}, 0}};

TEST(IpcCodec, ReturnsEveryFieldOfHello) {
  const std::string data = Encoded(Hello{.version = 3,
                                         .pid = 77,
                                         .name = "app.db",
                                         .device = ~uint64_t{0},
                                         .inode = 12,
                                         .program = "php",
                                         .flags = kHelloLockless});
  Hello hello;
  ASSERT_TRUE(Decode(data, &hello));
  EXPECT_EQ(hello.version, 3u);
  EXPECT_EQ(hello.pid, 77u);
  EXPECT_EQ(hello.name, "app.db");
  EXPECT_EQ(hello.device, ~uint64_t{0});
  EXPECT_EQ(hello.inode, 12u);
  EXPECT_EQ(hello.program, "php");
  EXPECT_EQ(hello.flags, kHelloLockless);
  EXPECT_EQ(TypeOf(data), static_cast<uint32_t>(MessageType::kHello));
}

TEST(IpcCodec, ReturnsEveryFieldOfWelcome) {
  const std::string data = Encoded(Welcome{.version = 1,
                                           .error = 71,
                                           .role = Role::kReplica,
                                           .bell_slot = 8191,
                                           .text = "no",
                                           .flags = kWelcomeSync});
  Welcome welcome;
  ASSERT_TRUE(Decode(data, &welcome));
  EXPECT_EQ(welcome.error, 71u);
  EXPECT_EQ(welcome.role, Role::kReplica);
  EXPECT_EQ(welcome.bell_slot, 8191u);
  EXPECT_EQ(welcome.text, "no");
  EXPECT_EQ(welcome.flags, kWelcomeSync);
}

TEST(IpcCodec, ReturnsRangesAtAnyAlignment) {
  Commit commit;
  const std::string data =
      Encoded(Commit{.id = 9, .flags = kFlagSynced, .ranges = RangesView(kRanges)});
  for (size_t shift = 0; shift < 16; ++shift) {
    const std::string moved = std::string(shift, 'x') + data;
    ASSERT_TRUE(Decode(std::string_view(moved).substr(shift), &commit));
    ASSERT_EQ(commit.ranges.size(), kRanges.size());
    for (size_t i = 0; i < kRanges.size(); ++i) {
      EXPECT_EQ(commit.ranges[i].offset, kRanges[i].offset);
      EXPECT_EQ(commit.ranges[i].length, kRanges[i].length);
    }
  }
  EXPECT_EQ(commit.id, 9u);
  EXPECT_EQ(commit.flags, kFlagSynced);
}

TEST(IpcCodec, ReturnsTheSmallMessages) {
  Dirty dirty;
  ASSERT_TRUE(Decode(Encoded(Dirty{}), &dirty));
  EXPECT_TRUE(dirty.ranges.empty());
  Prepare prepare;
  ASSERT_TRUE(Decode(Encoded(Prepare{.flags = 1, .ranges = RangesView(kRanges)}), &prepare));
  EXPECT_EQ(prepare.flags, 1u);
  Done done;
  ASSERT_TRUE(Decode(Encoded(Done{5}), &done));
  EXPECT_EQ(done.error, 5u);
  Bell bell;
  EXPECT_TRUE(Decode(Encoded(Bell{}), &bell));
  Drain drain;
  ASSERT_TRUE(Decode(Encoded(Drain{4, DrainReason::kUnlink}), &drain));
  EXPECT_EQ(drain.reason, DrainReason::kUnlink);
  Sync sync;
  ASSERT_TRUE(Decode(Encoded(Sync{6, 70'000}), &sync));
  EXPECT_EQ(sync.id, 6u);
  EXPECT_EQ(sync.waited_ms, 70'000u);
  Lock lock;
  ASSERT_TRUE(Decode(Encoded(Lock{6}), &lock));
  EXPECT_EQ(lock.id, 6u);
  Ring ring;
  ASSERT_TRUE(Decode(Encoded(Ring{5}), &ring));
  EXPECT_EQ(ring.id, 5U);
  Unlock unlock;
  EXPECT_TRUE(Decode(Encoded(Unlock{}), &unlock));
  Forward forward;
  ASSERT_TRUE(Decode(Encoded(Forward{1, kFlagSynced, uint64_t{1} << 40, 3, 4}), &forward));
  EXPECT_EQ(forward.offset, uint64_t{1} << 40);
  EXPECT_EQ(forward.pgno, 3u);
  EXPECT_EQ(forward.size_pages, 4u);
  EXPECT_FALSE(Decode(Encoded(Lock{6}), &unlock));
  Reply reply;
  ASSERT_TRUE(Decode(Encoded(Reply{1, 2}), &reply));
  EXPECT_EQ(reply.error, 2u);
  const std::string request = Encoded(Control{1, "{}"});
  Control control;
  ASSERT_TRUE(Decode(request, &control));
  EXPECT_EQ(control.json, "{}");
  const std::string answer = Encoded(ControlReply{1, 2, "[]"});
  ControlReply control_reply;
  ASSERT_TRUE(Decode(answer, &control_reply));
  EXPECT_EQ(control_reply.json, "[]");
}

TEST(IpcCodec, HoldsAFullListOfRanges) {
  const std::vector<DirtyRange> many(257, DirtyRange{1, 2});
  EXPECT_LT(Encoded(Commit{.ranges = RangesView(many)}).size(), 4300u);
}

TEST(IpcCodec, ReportsABufferThatIsTooSmall) {
  char small[16];
  EXPECT_EQ(Encode(Hello{.name = "a-database-with-a-name", .program = ""}, small), 0u);
  EXPECT_EQ(Encode(Dirty{RangesView(kRanges)}, small), 0u);
}

TEST(IpcCodec, RefusesOneTypeAsAnother) {
  const std::string data = Encoded(Reply{1, 0});
  Done done;
  Drain drain;
  EXPECT_FALSE(Decode(data, &done));
  EXPECT_FALSE(Decode(data, &drain));
}

TEST(IpcCodec, RefusesMissingAndSurplusFields) {
  Reply reply;
  EXPECT_FALSE(Decode(RawMessage(2,
                                 [](MessageWriter& w) {
                                   w.Uint(102);
                                   w.Uint(1);
                                 }),
                      &reply));
  EXPECT_FALSE(Decode(RawMessage(4,
                                 [](MessageWriter& w) {
                                   for (const int v : {102, 1, 0, 0})
                                     w.Uint(static_cast<uint64_t>(v));
                                 }),
                      &reply));
}

TEST(IpcCodec, RefusesValuesOutsideTheirLimits) {
  const auto hello = [](uint64_t pid, std::string_view name) {
    return RawMessage(8, [&](MessageWriter& w) {
      w.Uint(1);
      w.Uint(kProtocolVersion);
      w.Uint(pid);
      w.Text(name);
      w.Uint(0);
      w.Uint(0);
      w.Text("");
      w.Uint(0);
    });
  };
  Hello out;
  EXPECT_TRUE(Decode(hello(1, "a"), &out));
  EXPECT_FALSE(Decode(hello(uint64_t{1} << 32, "a"), &out));
  EXPECT_FALSE(Decode(hello(1, ""), &out));
  EXPECT_FALSE(Decode(hello(1, ".."), &out));
  EXPECT_FALSE(Decode(hello(1, "../etc/passwd"), &out));
  EXPECT_FALSE(Decode(hello(1, std::string_view("a\0b", 3)), &out));
  EXPECT_FALSE(Decode(hello(1, std::string(kMaxDatabaseNameBytes + 1, 'a')), &out));
  for (const uint64_t reason : {uint64_t{0}, uint64_t{5}, ~uint64_t{0}}) {
    Drain drain;
    EXPECT_FALSE(Decode(RawMessage(3,
                                   [&](MessageWriter& w) {
                                     w.Uint(7);
                                     w.Uint(1);
                                     w.Uint(reason);
                                   }),
                        &drain));
  }
}

TEST(IpcCodec, RefusesRangesThatAreNotWhole) {
  Dirty dirty;
  EXPECT_FALSE(Decode(RawMessage(2,
                                 [](MessageWriter& w) {
                                   w.Uint(2);
                                   w.Bytes(std::string_view("seventeen bytes!!"));
                                 }),
                      &dirty));
}

TEST(IpcCodec, RefusesEveryTruncationAndExtension) {
  const std::string data = Encoded(Prepare{.flags = 1, .ranges = RangesView(kRanges)});
  Prepare prepare;
  for (size_t n = 0; n < data.size(); ++n) EXPECT_FALSE(Decode(data.substr(0, n), &prepare));
  EXPECT_FALSE(Decode(data + '\0', &prepare));
}

TEST(IpcCodec, RefusesMessagesOverTheLimit) {
  std::string json(kMaxMessageBytes, ' ');
  std::vector<char> buffer(kMaxMessageBytes + 100);
  const size_t size = Encode(Control{1, json}, buffer);
  ASSERT_GT(size, kMaxMessageBytes);
  Control control;
  EXPECT_FALSE(Decode({buffer.data(), size}, &control));
  EXPECT_EQ(TypeOf({buffer.data(), size}), 0u);
}

TEST(IpcCodec, SurvivesRandomBytes) {
  std::mt19937 random(1);
  const std::string seed = Encoded(Commit{.id = 9, .flags = 1, .ranges = RangesView(kRanges)});
  for (int i = 0; i < 20000; ++i) {
    std::string data = seed;
    for (int k = 0; k < 3; ++k) data[random() % data.size()] = static_cast<char>(random());
    Commit commit;
    Hello hello;
    if (Decode(data, &commit)) {
      EXPECT_LE(commit.ranges.size(), kRanges.size());
    }
    Decode(data, &hello);
    TypeOf(data);
  }
}

}  // namespace
}  // namespace litefs::ipc
