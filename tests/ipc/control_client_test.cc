#include "ipc/control_client.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <thread>

#include "ipc/client.h"
#include "ipc/codec.h"

namespace litefs::ipc {
namespace {

using std::chrono::milliseconds;

class ControlClient : public testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/litefs-ipc-XXXXXX";
    directory_ = mkdtemp(pattern);
    path_ = directory_ + "/socket";
    listener_.reset(socket(AF_UNIX, SOCK_SEQPACKET, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strcpy(address.sun_path, path_.c_str());
    ASSERT_EQ(bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    ASSERT_EQ(listen(listener_.get(), 1), 0);
  }
  void TearDown() override { std::system(("rm -rf " + directory_).c_str()); }

  // Takes one request and answers it with what answer makes of it.
  std::thread Serve(std::string (*answer)(const Control&)) {
    return std::thread([this, answer] {
      const UniqueFd session(accept(listener_.get(), nullptr, nullptr));
      char buffer[kMaxMessageBytes];
      const ssize_t n = recv(session.get(), buffer, sizeof(buffer), 0);
      Control request;
      ASSERT_TRUE(Decode({buffer, static_cast<size_t>(n)}, &request));
      const std::string reply = answer(request);
      send(session.get(), reply.data(), reply.size(), MSG_NOSIGNAL);
    });
  }

  static std::string Reply(uint64_t id, uint32_t error, std::string_view json) {
    char buffer[1024];
    return {buffer, Encode(ControlReply{.id = id, .error = error, .json = json}, buffer)};
  }

  std::string directory_;
  std::string path_;
  UniqueFd listener_;
};

TEST_F(ControlClient, ReturnsTheAnswer) {
  std::thread server =
      Serve([](const Control& request) { return Reply(request.id, 2, request.json); });
  const auto result = ControlRequest(path_, R"({"a":1})", milliseconds(5000));
  server.join();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->error, 2);
  EXPECT_EQ(result->json, R"({"a":1})");
  EXPECT_FALSE(result->fd.valid());
}

TEST_F(ControlClient, ReachesASocketBehindALongPath) {
  const std::string link = directory_ + "/" + std::string(200, 'd');
  ASSERT_EQ(symlink(directory_.c_str(), link.c_str()), 0);
  std::thread server = Serve([](const Control& request) { return Reply(request.id, 0, ""); });
  const auto result = ControlRequest(link + "/socket", "{}", milliseconds(5000));
  server.join();
  EXPECT_TRUE(result.ok()) << result.status();
}

TEST_F(ControlClient, RefusesAnAnswerToAnotherRequest) {
  std::thread server = Serve([](const Control& request) { return Reply(request.id + 1, 0, ""); });
  const auto result = ControlRequest(path_, "{}", milliseconds(5000));
  server.join();
  EXPECT_TRUE(absl::IsInternal(result.status()));
}

TEST_F(ControlClient, ReportsADaemonThatIsAway) {
  EXPECT_TRUE(
      absl::IsUnavailable(ControlRequest(directory_ + "/none", "{}", milliseconds(100)).status()));
}

TEST_F(ControlClient, GivesUpAtTheDeadline) {
  EXPECT_TRUE(absl::IsDeadlineExceeded(ControlRequest(path_, "{}", milliseconds(20)).status()));
}

TEST_F(ControlClient, RefusesARequestOverTheLimit) {
  const std::string json(kMaxMessageBytes, ' ');
  EXPECT_TRUE(absl::IsInvalidArgument(ControlRequest(path_, json, milliseconds(20)).status()));
}

}  // namespace
}  // namespace litefs::ipc
