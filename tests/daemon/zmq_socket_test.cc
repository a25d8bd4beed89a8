#include "daemon/replication/zmq_socket.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <string>

#include "daemon/replication/connection_guard.h"
#include "tests/support/fake_chain.h"

namespace litefs::replication {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kPatience{10'000};

// A server and a peer of it that is connected.
class ZmqSocketTest : public testing::Test {
 protected:
  void SetUp() override {
    context_ = *Context::Open();
    server_ = *ZmqSocket::Open(*context_, ZmqSocket::Kind::kServe);
    ASSERT_TRUE(server_.Bind("tcp://127.0.0.1:*").ok());
    peer_ = *ZmqSocket::Open(*context_, ZmqSocket::Kind::kPull);
    ASSERT_TRUE(peer_.Connect(server_.BoundEndpoint()).ok());
    std::array<zmq::pollitem_t, 1> items = {{{peer_.handle(), 0, ZMQ_POLLOUT, 0}}};
    const auto connected = Poll(items, kPatience);
    ASSERT_TRUE(connected.ok() && *connected == 1);
    ASSERT_TRUE(Eventually([this] { return context_->guard().connections() == 1; }));
  }
  void TearDown() override {
    peer_.Close();
    server_.Close();
  }

  void Send(std::string_view text) {
    std::array<Frame, 1> frames = {MakeFrame(text)};
    ASSERT_TRUE(peer_.Send(frames).ok());
  }
  // Waits for one message, as the daemon does: by polling.
  void Take() {
    std::array<zmq::pollitem_t, 1> items = {{{server_.handle(), 0, ZMQ_POLLIN, 0}}};
    const auto ready = Poll(items, kPatience);
    ASSERT_TRUE(ready.ok() && *ready == 1);
    std::vector<Frame> frames;
    ASSERT_TRUE(server_.Receive(&frames).ok());
    ASSERT_EQ(frames.size(), 2u);
  }

  std::unique_ptr<Context> context_;
  ZmqSocket server_;
  ZmqSocket peer_;
};

// More than a connection may have waiting, all of it taken at once: for ever within its bounds.
TEST_F(ZmqSocketTest, CountsEveryMessageThatIsTakenToItsConnection) {
  const std::string text(4000, 'x');
  for (int sent = 0; sent < 8 << 20; sent += 4000) {
    Send(text);
    Take();
    if (HasFatalFailure()) return;
  }
  EXPECT_EQ(context_->guard().connections(), 1u);
  EXPECT_EQ(context_->refusals().Get().count, 0u);
}

TEST_F(ZmqSocketTest, EndsAConnectionWhoseMessagesMakeNoSense) {
  for (int i = 0; i < kMaxMalformedMessages; ++i) {
    Send("nonsense");
    Take();
    if (HasFatalFailure()) return;
    EXPECT_EQ(context_->refusals().Get().count, 0u);
    server_.Blame();
  }
  EXPECT_EQ(context_->refusals().Get().count, 1u);
}

}  // namespace
}  // namespace litefs::replication
