#include "daemon/replication/connection_guard.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <string>

#include "common/posix_io.h"
#include "daemon/replication/zmq_socket.h"
#include "tests/support/fake_chain.h"

namespace litefs::replication {
namespace {

using testing::HasSubstr;

// A TCP connection that speaks whatever a test likes.
class RawPeer {
 public:
  explicit RawPeer(const std::string& endpoint) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port =
        htons(static_cast<uint16_t>(std::stoi(endpoint.substr(endpoint.rfind(':') + 1))));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  }
  bool Send(const std::string& data) {
    return ::send(fd_.get(), data.data(), data.size(), MSG_NOSIGNAL) ==
           static_cast<ssize_t>(data.size());
  }
  // ZMTP 3.0, NULL mechanism, as a DEALER.
  void ShakeHands() {
    std::string greeting("\xff\0\0\0\0\0\0\0\0\x7f\x03\0NULL", 16);
    greeting.resize(64, '\0');
    const std::string ready(
        "\x04\x1c\x05READY\x0bSocket-Type\0\0\0\x06"
        "DEALER",
        30);
    EXPECT_TRUE(Send(greeting) && Send(ready));
  }

 private:
  UniqueFd fd_;
};

class ConnectionGuardTest : public testing::Test {
 protected:
  void Listen(Security security = {}) {
    context_ = *Context::Open(std::move(security));
    server_ = *ZmqSocket::Open(*context_, ZmqSocket::Kind::kServe);
    ASSERT_TRUE(server_.Bind("tcp://127.0.0.1:*").ok());
  }
  void TearDown() override { server_.Close(); }
  bool HasConnections(size_t count) {
    return Eventually([&] { return context_->guard().connections() == count; });
  }
  uint64_t refused() const { return context_->refusals().Get().count; }

  std::unique_ptr<Context> context_;
  ZmqSocket server_;
};

TEST_F(ConnectionGuardTest, ForgetsConnectionsThatEnd) {
  Listen();
  {
    RawPeer one(server_.BoundEndpoint());
    RawPeer two(server_.BoundEndpoint());
    EXPECT_TRUE(HasConnections(2));
  }
  EXPECT_TRUE(HasConnections(0));
}

TEST_F(ConnectionGuardTest, ReportsWhoSpeaksSomethingElse) {
  Listen();
  RawPeer peer(server_.BoundEndpoint());
  peer.ShakeHands();
  EXPECT_TRUE(HasConnections(1));
  EXPECT_EQ(refused(), 0u);
  RawPeer other(server_.BoundEndpoint());
  EXPECT_TRUE(HasConnections(2));  // its address is known from here on
  std::string greeting("\xff\0\0\0\0\0\0\0\0\x7f\x03\0PLAIN", 17);
  greeting.resize(64, '\0');
  other.Send(greeting);
  EXPECT_TRUE(Eventually([this] { return refused() == 1; }));
  EXPECT_THAT(context_->refusals().Get().last, HasSubstr("address=127.0.0.1"));
  EXPECT_TRUE(HasConnections(1));
}

// Frames that all say that more is to come: libzmq keeps them, and no socket's owner ever sees one.
TEST_F(ConnectionGuardTest, EndsAConnectionThatMakesLibzmqKeepTooMuch) {
  Listen();
  RawPeer good(server_.BoundEndpoint());
  good.ShakeHands();
  RawPeer bad(server_.BoundEndpoint());
  bad.ShakeHands();
  EXPECT_TRUE(HasConnections(2));
  const std::string frame = std::string("\x01\xff", 2) + std::string(255, 'x');
  std::string block;
  while (block.size() < 64 << 10) block += frame;
  size_t sent = 0;
  while (sent < size_t{1} << 30 && bad.Send(block)) sent += block.size();
  EXPECT_LT(sent, size_t{1} << 30);
  EXPECT_TRUE(HasConnections(1));
  EXPECT_EQ(refused(), 1u);
}

TEST_F(ConnectionGuardTest, EndsAllConnectionsWhenAKeyIsTakenOffTheList) {
  const auto server = MakeCurveKeys();
  const auto client = MakeCurveKeys();
  const std::string path = testing::TempDir() + "/guard-peers." + std::to_string(::getpid());
  ASSERT_TRUE(WriteWholeFile(path, client->public_key + " berlin\n").ok());
  Listen({.keys = *server,
          .server_keys = {},
          .peers = std::make_shared<PeerList>(PeerList::Names(), path)});
  auto elsewhere = *Context::Open({.keys = *client,
                                   .server_keys = {{server_.BoundEndpoint(), server->public_key}},
                                   .peers = nullptr});
  ZmqSocket peer = *ZmqSocket::Open(*elsewhere, ZmqSocket::Kind::kPull);
  ASSERT_TRUE(peer.Connect(server_.BoundEndpoint()).ok());
  EXPECT_TRUE(Eventually([&] { return peer.HasRoom(); }));  // it has been let in
  EXPECT_TRUE(HasConnections(1));
  ASSERT_TRUE(WriteWholeFile(path, "# nobody\n").ok());
  EXPECT_TRUE(Eventually([&] { return !peer.HasRoom(); }));
  EXPECT_TRUE(Eventually([this] { return refused() > 0; }));  // it tries again
  peer.Close();
  ::unlink(path.c_str());
}

// ---- Unix sockets

TEST(IpcEndpoint, IsNotTakenFromWhoListensThere) {
  const std::string path = testing::TempDir() + "/taken." + std::to_string(::getpid());
  auto context = *Context::Open();
  ZmqSocket first = *ZmqSocket::Open(*context, ZmqSocket::Kind::kServe);
  ASSERT_TRUE(first.Bind("ipc://" + path).ok());
  {
    auto other = *Context::Open();
    ZmqSocket second = *ZmqSocket::Open(*other, ZmqSocket::Kind::kServe);
    const absl::Status status = second.Bind("ipc://" + path);
    EXPECT_TRUE(absl::IsAlreadyExists(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("another process listens there"));
    second.Close();
  }
  EXPECT_EQ(::access(path.c_str(), F_OK), 0);
  first.Close();
  ::unlink(path.c_str());
}

TEST(IpcEndpoint, IsTakenFromTheDead) {
  const std::string path = testing::TempDir() + "/dead." + std::to_string(::getpid());
  {
    const UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    path.copy(address.sun_path, path.size());
    ASSERT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  }
  ASSERT_EQ(::access(path.c_str(), F_OK), 0);
  auto context = *Context::Open();
  ZmqSocket socket = *ZmqSocket::Open(*context, ZmqSocket::Kind::kServe);
  EXPECT_TRUE(socket.Bind("ipc://" + path).ok());
  socket.Close();
  ::unlink(path.c_str());
}

TEST(IpcEndpoint, IsNoFileOfAnotherKind) {
  const std::string path = testing::TempDir() + "/file." + std::to_string(::getpid());
  ASSERT_TRUE(WriteWholeFile(path, "precious").ok());
  auto context = *Context::Open();
  ZmqSocket socket = *ZmqSocket::Open(*context, ZmqSocket::Kind::kServe);
  EXPECT_TRUE(absl::IsAlreadyExists(socket.Bind("ipc://" + path)));
  EXPECT_EQ(*ReadWholeFile(path, 100), "precious");
  socket.Close();
  ::unlink(path.c_str());
}

}  // namespace
}  // namespace litefs::replication
