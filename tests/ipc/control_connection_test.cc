#include "ipc/control_connection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <functional>
#include <thread>
#include <vector>

#include "common/msgpack.h"
#include "common/posix_io.h"
#include "ipc/protocol.h"

namespace litefs {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// Sends kControlReply, with a descriptor if fd is one.
void SendReply(int socket, uint64_t id, int error, const std::string& json, int fd = -1) {
  std::vector<char> message(ipc::kMaxMessageBytes);
  MessageWriter writer(message, 4);
  writer.Uint(static_cast<uint64_t>(ipc::MessageType::kControlReply));
  writer.Uint(id);
  writer.Uint(static_cast<uint64_t>(error));
  writer.Text(json);
  iovec vector = {.iov_base = message.data(), .iov_len = writer.size()};
  msghdr header = {};
  header.msg_iov = &vector;
  header.msg_iovlen = 1;
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control = {};
  if (fd >= 0) {
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    cmsghdr* const c = CMSG_FIRSTHDR(&header);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(c), &fd, sizeof(fd));
  }
  ASSERT_GT(::sendmsg(socket, &header, MSG_NOSIGNAL), 0);
}

UniqueFd FileWith(std::string_view text) {
  UniqueFd fd(::memfd_create("test", MFD_CLOEXEC));
  EXPECT_TRUE(WriteAt(fd.get(), std::as_bytes(std::span(text)), 0, "memfd").ok());
  return fd;
}

// A daemon for one connection: what it does with each request is the test's.
class ControlConnectionTest : public testing::Test {
 protected:
  ControlConnectionTest() {
    std::string pattern = testing::TempDir() + "control_test.XXXXXX";
    dir_ = mkdtemp(pattern.data());
  }
  ~ControlConnectionTest() override {
    if (daemon_.joinable()) daemon_.join();
    std::filesystem::remove_all(dir_);
  }

  using Handler = std::function<void(int socket, uint64_t id, const std::string& json)>;

  // Accepts one connection and serves `requests` requests, then closes.
  void Serve(int requests, Handler handler) {
    std::filesystem::create_directories(dir_ + "/.litefs");
    std::filesystem::current_path(dir_ + "/.litefs");  // a long path does not fit sun_path
    listener_.reset(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::strcpy(address.sun_path, ipc::kSocketName);
    ASSERT_EQ(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    ASSERT_EQ(::listen(listener_.get(), 4), 0);
    std::filesystem::current_path("/");
    daemon_ = std::thread([this, requests, handler = std::move(handler)] {
      const UniqueFd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      for (int i = 0; i < requests; ++i) {
        std::vector<char> message(ipc::kMaxMessageBytes);
        const ssize_t n = ::recv(socket.get(), message.data(), message.size(), 0);
        if (n <= 0) return;
        std::array<MessageField, 4> fields;
        ASSERT_EQ(DecodeMessage({message.data(), static_cast<size_t>(n)}, fields), 3);
        ASSERT_EQ(fields[0].number, static_cast<uint64_t>(ipc::MessageType::kControl));
        handler(socket.get(), fields[1].number, std::string(fields[2].bytes));
      }
    });
  }

  std::string dir_;
  UniqueFd listener_;
  std::thread daemon_;
};

TEST_F(ControlConnectionTest, NobodyListensIsUnavailable) {
  EXPECT_TRUE(absl::IsUnavailable(ControlConnection::Connect(dir_).status()));
  std::filesystem::create_directories(dir_ + "/.litefs");
  EXPECT_TRUE(absl::IsUnavailable(ControlConnection::Connect(dir_).status()));
  dir_ += std::string(120, 'x');
  EXPECT_TRUE(absl::IsUnavailable(ControlConnection::Connect(dir_).status()));
}

TEST_F(ControlConnectionTest, AsksAndIsAnswered) {
  Serve(2, [](int socket, uint64_t id, const std::string& json) {
    SendReply(socket, id, 0, json + "!");
  });
  auto connection = ControlConnection::Connect(dir_);
  ASSERT_TRUE(connection.ok()) << connection.status();
  EXPECT_EQ(connection->Request("one", seconds(10))->json, "one!");
  EXPECT_EQ(connection->Request("two", seconds(10))->json, "two!");
}

TEST_F(ControlConnectionTest, ReachesADirectoryWithALongPath) {
  dir_ += "/" + std::string(120, 'd');
  std::filesystem::create_directories(dir_);
  Serve(1, [](int socket, uint64_t id, const std::string&) { SendReply(socket, id, 0, "{}"); });
  const auto reply = ControlRequest(dir_, "{}", seconds(10));
  EXPECT_TRUE(reply.ok()) << reply.status();
  dir_ = std::filesystem::path(dir_).parent_path();
}

TEST_F(ControlConnectionTest, PassesErrnoAndDescriptor) {
  Serve(2, [](int socket, uint64_t id, const std::string& json) {
    const UniqueFd file = FileWith("content");
    SendReply(socket, id, json == "bad" ? ENOENT : 0, "{}", json == "bad" ? -1 : file.get());
  });
  auto connection = ControlConnection::Connect(dir_);
  ASSERT_TRUE(connection.ok());
  const auto bad = connection->Request("bad", seconds(10));
  EXPECT_EQ(bad->error, ENOENT);
  EXPECT_FALSE(bad->fd.valid());
  const auto good = connection->Request("good", seconds(10));
  EXPECT_EQ(*FileSize(good->fd.get(), "memfd"), 7u);
}

TEST_F(ControlConnectionTest, TakesALongReplyFromTheDescriptor) {
  const std::string text(300'000, 'j');
  Serve(1, [&](int socket, uint64_t id, const std::string&) {
    SendReply(socket, id, 0, R"({"in_descriptor":true})", FileWith(text).get());
  });
  const auto reply = ControlRequest(dir_, "{}", seconds(10));
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(reply->json, text);
  EXPECT_FALSE(reply->fd.valid());
}

TEST_F(ControlConnectionTest, SkipsTheReplyToAnOlderRequest) {
  Serve(1, [](int socket, uint64_t id, const std::string&) {
    SendReply(socket, id + 17, 0, "old");
    SendReply(socket, id, 0, "new");
  });
  EXPECT_EQ(ControlRequest(dir_, "{}", seconds(10))->json, "new");
}

TEST_F(ControlConnectionTest, ADaemonThatGoesIsUnavailable) {
  Serve(1, [](int, uint64_t, const std::string&) {});
  EXPECT_TRUE(absl::IsUnavailable(ControlRequest(dir_, "{}", seconds(10)).status()));
}

TEST_F(ControlConnectionTest, ADaemonThatHangsIsADeadlineExceeded) {
  Serve(2, [](int, uint64_t, const std::string&) {});
  EXPECT_TRUE(absl::IsDeadlineExceeded(ControlRequest(dir_, "{}", milliseconds(20)).status()));
}

TEST_F(ControlConnectionTest, NonsenseIsAnError) {
  Serve(1, [](int socket, uint64_t, const std::string&) {
    ASSERT_EQ(::send(socket, "\x93\x01\x02\x03", 4, MSG_NOSIGNAL), 4);
  });
  EXPECT_TRUE(absl::IsDataLoss(ControlRequest(dir_, "{}", seconds(10)).status()));
}

TEST_F(ControlConnectionTest, RefusesARequestThatFitsNoMessage) {
  Serve(1, [](int, uint64_t, const std::string&) {});
  const auto reply = ControlRequest(dir_, std::string(ipc::kMaxMessageBytes, 'x'), seconds(1));
  EXPECT_TRUE(absl::IsInvalidArgument(reply.status()));
}

}  // namespace
}  // namespace litefs
