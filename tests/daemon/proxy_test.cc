// The proxy's own life, with a node that answers late or never.  What it does with HTTP is in
// tests/system/proxy_test.py.

#include "daemon/proxy/proxy.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <future>
#include <string>
#include <utility>

#include "common/mutex.h"
#include "common/unique_fd.h"

namespace litefs::proxy {
namespace {

class Client {
 public:
  explicit Client(int port) : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  }
  void Send(const std::string& text) {
    EXPECT_EQ(::send(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL), ssize_t(text.size()));
  }
  // All that comes until the other end closes.
  std::string ReadAll() {
    std::string all;
    char part[4096];
    for (ssize_t n; (n = ::recv(socket_.get(), part, sizeof(part), 0)) > 0;) {
      all.append(part, static_cast<size_t>(n));
    }
    return all;
  }

 private:
  UniqueFd socket_;
};

// A node that keeps what it is asked until the test lets it answer.
class ProxyTest : public testing::Test {
 protected:
  void SetUp() override {
    auto proxy = Proxy::Start(
        {.host = "127.0.0.1",
         .target_host = "127.0.0.1",
         .target_port = 1,
         .passthrough = {},
         .wait = [this](ltx::TxId, auto answer) { Keep([answer] { answer(ETIMEDOUT); }); },
         .position = [](auto) {},
         .primary_url = [this](auto answer) { Keep([answer] { answer("http://p:80"); }); },
         .is_primary = [] { return false; }});
    ASSERT_TRUE(proxy.ok()) << proxy.status();
    proxy_ = *std::move(proxy);
  }
  void Keep(std::function<void()> answer) { question_.set_value(std::move(answer)); }

  std::promise<std::function<void()>> question_;
  std::future<std::function<void()>> asked_ = question_.get_future();
  std::unique_ptr<Proxy> proxy_;
};

constexpr char kRead[] =
    "GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\nCookie: __txid=0000000000000001\r\n\r\n";
constexpr char kWrite[] = "POST /a?b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n";

TEST_F(ProxyTest, AnswersWhenTheNodeDoes) {
  Client client(proxy_->port());
  client.Send(kWrite);
  asked_.get()();
  const std::string answer = client.ReadAll();
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 307 Temporary Redirect\r\n")) << answer;
  EXPECT_NE(answer.find("\r\nLocation: http://p:80/a?b\r\n"), std::string::npos) << answer;
  EXPECT_EQ(proxy_->counters().redirects, 1u);
}

TEST_F(ProxyTest, CountsAWaitInVain) {
  Client client(proxy_->port());
  client.Send(kRead);
  asked_.get()();
  const std::string answer = client.ReadAll();
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 504 Gateway Timeout\r\n")) << answer;
  EXPECT_EQ(proxy_->counters().waits, 1u);
  EXPECT_EQ(proxy_->counters().wait_timeouts, 1u);
}

TEST_F(ProxyTest, EndsAlthoughTheNodeHasNotAnswered) {
  Client client(proxy_->port());
  client.Send(kRead);
  const std::function<void()> answer = asked_.get();
  proxy_.reset();
  EXPECT_EQ(client.ReadAll(), "");
  answer();  // too late, and nobody minds
}

TEST_F(ProxyTest, SaysThatTheAppIsNotThere) {
  Client client(proxy_->port());
  client.Send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  const std::string answer = client.ReadAll();
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n")) << answer;
  EXPECT_NE(answer.find("the app at 127.0.0.1:1 cannot be reached"), std::string::npos) << answer;
  EXPECT_EQ(proxy_->counters().bad_gateways, 1u);
}

TEST_F(ProxyTest, RefusesAnAddressInUse) {
  const auto other = Proxy::Start({.host = "127.0.0.1", .port = proxy_->port()});
  EXPECT_EQ(other.status().code(), absl::StatusCode::kAlreadyExists) << other.status();
}

}  // namespace
}  // namespace litefs::proxy
