#include "daemon/replication/zap_handler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>
#include <zmq.hpp>

#include "daemon/replication/context.h"
#include "tests/support/fake_chain.h"

namespace litefs::replication {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;

// libzmq's side of RFC 27.
class ZapHandlerTest : public testing::Test {
 protected:
  void SetUp() override {
    key_ = MakeCurveKeys();
    ASSERT_TRUE(key_.ok());
    peers_ = std::make_unique<PeerList>(PeerList::Names{{key_->public_key, "berlin"}}, "");
    handler_ = *ZapHandler::Start(context_, peers_.get(), &refusals_);
    asker_ = zmq::socket_t(context_, zmq::socket_type::req);
    asker_.set(zmq::sockopt::linger, 0);
    asker_.set(zmq::sockopt::rcvtimeo, 10'000);
    asker_.connect("inproc://zeromq.zap.01");
  }

  static std::string Raw(const std::string& z85) {
    std::string raw(32, '\0');
    EXPECT_NE(zmq_z85_decode(reinterpret_cast<uint8_t*>(raw.data()), z85.c_str()), nullptr);
    return raw;
  }

  std::vector<std::string> Ask(const std::vector<std::string>& request) {
    for (size_t i = 0; i < request.size(); ++i) {
      asker_.send(zmq::buffer(request[i]),
                  i + 1 < request.size() ? zmq::send_flags::sndmore : zmq::send_flags::none);
    }
    std::vector<std::string> reply;
    zmq::message_t frame;
    do {
      if (!asker_.recv(frame)) return {"no answer"};
      reply.push_back(frame.to_string());
    } while (frame.more());
    return reply;
  }
  std::vector<std::string> AskFor(const std::string& mechanism, const std::string& credentials) {
    return Ask({"1.0", "id-7", "litefs", "::ffff:192.0.2.7", "", mechanism, credentials});
  }

  zmq::context_t context_;
  absl::StatusOr<CurveKeys> key_;
  std::unique_ptr<PeerList> peers_;
  Refusals refusals_;
  std::unique_ptr<ZapHandler> handler_;
  zmq::socket_t asker_;
};

TEST_F(ZapHandlerTest, LetsInWhoIsOnTheListByName) {
  EXPECT_THAT(AskFor("CURVE", Raw(key_->public_key)),
              ElementsAre("1.0", "id-7", "200", "OK", "berlin", ""));
  EXPECT_EQ(refusals_.Get().count, 0u);
}

TEST_F(ZapHandlerTest, RefusesAStrangersKeyAndSaysWhose) {
  const auto stranger = MakeCurveKeys();
  ASSERT_TRUE(stranger.ok());
  EXPECT_THAT(AskFor("CURVE", Raw(stranger->public_key)),
              ElementsAre("1.0", "id-7", "400", "not on the list of peers", "", ""));
  EXPECT_EQ(refusals_.Get().count, 1u);
  EXPECT_THAT(refusals_.Get().last, HasSubstr(stranger->public_key));
  EXPECT_THAT(refusals_.Get().last, HasSubstr("address=192.0.2.7 "));
}

TEST_F(ZapHandlerTest, RefusesEveryOtherMechanismAndForm) {
  const std::string raw = Raw(key_->public_key);
  EXPECT_EQ(AskFor("NULL", "")[2], "400");
  EXPECT_EQ(AskFor("PLAIN", raw)[2], "400");
  EXPECT_EQ(AskFor("CURVE", raw.substr(1))[2], "400");
  EXPECT_EQ(AskFor("CURVE", key_->public_key)[2], "400");
  EXPECT_EQ(Ask({"2.0", "i", "litefs", "", "", "CURVE", raw})[2], "400");
  EXPECT_EQ(Ask({"1.0", "i", "litefs", "", "", "CURVE", raw, "more"})[2], "400");
  EXPECT_EQ(Ask({"1.0"})[2], "400");
  EXPECT_EQ(Ask(std::vector<std::string>(100, raw))[2], "400");
  EXPECT_EQ(refusals_.Get().count, 8u);
  EXPECT_EQ(AskFor("CURVE", raw)[2], "200");  // it goes on
}

// ---- Without answers nobody gets in

class NoZapAnswer : public testing::Test {
 protected:
  void SetUp() override {
    client_ = MakeCurveKeys();
    ASSERT_TRUE(client_.ok());
  }
  // Whether the peer gets a message through to an encrypted socket of context in a while.
  bool GetsIn(zmq::context_t& context) {
    const auto server = MakeCurveKeys();
    zmq::socket_t listener(context, zmq::socket_type::pull);
    listener.set(zmq::sockopt::linger, 0);
    listener.set(zmq::sockopt::curve_server, true);
    listener.set(zmq::sockopt::curve_secretkey, server->secret_key);
    listener.set(zmq::sockopt::zap_domain, "litefs");
    const int on = 1;
    EXPECT_EQ(zmq_setsockopt(listener.handle(), 93 /* ZMQ_ZAP_ENFORCE_DOMAIN */, &on, sizeof(on)),
              0);
    listener.set(zmq::sockopt::rcvtimeo, 700);
    listener.bind("tcp://127.0.0.1:*");
    zmq::context_t elsewhere;
    zmq::socket_t peer(elsewhere, zmq::socket_type::push);
    peer.set(zmq::sockopt::linger, 0);
    peer.set(zmq::sockopt::curve_serverkey, server->public_key);
    peer.set(zmq::sockopt::curve_publickey, client_->public_key);
    peer.set(zmq::sockopt::curve_secretkey, client_->secret_key);
    peer.connect(listener.get(zmq::sockopt::last_endpoint));
    peer.send(zmq::str_buffer("hello"), zmq::send_flags::dontwait);
    zmq::message_t message;
    return listener.recv(message).has_value();
  }
  absl::StatusOr<CurveKeys> client_;
};

TEST_F(NoZapAnswer, MeansThatNobodyIsLetIn) {
  zmq::context_t context;
  EXPECT_FALSE(GetsIn(context)) << "without a handler";
  {
    PeerList peers({{client_->public_key, "berlin"}}, "");
    Refusals refusals;
    const auto handler = ZapHandler::Start(context, &peers, &refusals);
    ASSERT_TRUE(handler.ok());
    EXPECT_TRUE(GetsIn(context)) << "with a handler that answers";
  }
  EXPECT_FALSE(GetsIn(context)) << "after the handler's end";
  zmq::socket_t mute(context, zmq::socket_type::rep);
  mute.bind("inproc://zeromq.zap.01");
  EXPECT_FALSE(GetsIn(context)) << "with a handler that does not answer";
  zmq::message_t asked;
  EXPECT_TRUE(mute.recv(asked, zmq::recv_flags::dontwait).has_value()) << "it was asked";
}

}  // namespace
}  // namespace litefs::replication
