// HaltServer: when a replica is told that its transaction is accepted.

#include "daemon/replication/halt_server.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <atomic>
#include <optional>
#include <vector>

#include "common/clock.h"
#include "daemon/replication/message.h"
#include "tests/support/fake_chain.h"

namespace litefs::replication {
namespace {

using std::chrono::milliseconds;

// What stands between "in the chain" and "tell it": of all Confirmations of a target.
struct Said {
  std::atomic<int64_t> durable_within_ms = -1;  // -1: not yet
  std::atomic<bool> waits = true;
  std::atomic<int> alive = 0;
};

class FakeConfirmation final : public Confirmation {
 public:
  explicit FakeConfirmation(Said* said) : said_(said) { ++said_->alive; }
  ~FakeConfirmation() override { --said_->alive; }
  std::optional<milliseconds> Look() override {
    const int64_t within = said_->durable_within_ms;
    return within < 0 ? std::nullopt : std::optional(milliseconds(within));
  }
  bool WaitsForReplicas() const override { return said_->waits; }

 private:
  Said* const said_;
};

class FakeTarget final : public ForwardTarget {
 public:
  absl::StatusOr<ltx::Position> Halt(const std::string& /*database*/) override {
    return ltx::Position{4, 44};
  }
  void EndHalt(const std::string& /*database*/) override {}
  bool IsWanted(const std::string& /*database*/) override { return false; }
  absl::StatusOr<ltx::Position> Accept(const std::string& /*database*/, UniqueFd /*fd*/,
                                       bool /*sync*/) override {
    return ltx::Position{5, 55};
  }
  absl::StatusOr<bool> HasReached(const std::string& /*database*/,
                                  const ltx::Position& end) override {
    return end == ltx::Position{5, 55};
  }
  std::unique_ptr<Confirmation> Confirm(const std::string& /*database*/, const ltx::Position& end,
                                        const std::string& node_id) override {
    EXPECT_EQ(end, (ltx::Position{5, 55}));
    EXPECT_EQ(node_id, "node");
    return std::make_unique<FakeConfirmation>(&said);
  }
  absl::StatusOr<UniqueFd> SpoolFile() override {
    return UniqueFd(::memfd_create("spool", MFD_CLOEXEC));
  }

  Said said;
};

class HaltServerTest : public ::testing::Test {
 protected:
  HaltServerTest() { server_.Start(); }
  ~HaltServerTest() override { server_.Stop(); }

  void Say(Body body, std::vector<std::byte> payload = {}, const std::string& session = "s1") {
    server_.Handle({.session = session,
                    .node_id = "node",
                    .body = std::move(body),
                    .payload = std::move(payload)});
  }
  template <typename T>
  T Hear() {
    std::optional<T> heard;
    EXPECT_TRUE(Eventually([&] {
      for (HaltServer::Answer& answer : server_.TakeAnswers()) answers_.push_back(answer);
      if (answers_.empty()) return false;
      EXPECT_TRUE(std::holds_alternative<T>(answers_.front().body));
      if (const T* body = std::get_if<T>(&answers_.front().body)) heard = *body;
      answers_.erase(answers_.begin());
      return true;
    }));
    return heard.value_or(T());
  }
  void Forward1(uint64_t request) {
    Say(Halt{.request = 1, .database = "a.db", .wait_ms = 1000});
    const uint64_t lock = Hear<Halted>().lock;
    ASSERT_NE(lock, 0);
    std::vector<std::byte> payload(8, std::byte{7});
    const uint64_t digest = Digest(payload);
    Say(Forward{.request = request,
                .lock = lock,
                .database = "a.db",
                .file = {5, 5, 44, 55, payload.size()},
                .digest = digest},
        payload);
  }

  FakeTarget target_;
  HaltServer server_{{.max_hold = milliseconds(60'000), .on_answer = [] {}}, &target_};
  std::vector<HaltServer::Answer> answers_;
};

TEST_F(HaltServerTest, AnswersAtOnceWhatWaitsForNobody) {
  target_.said.durable_within_ms = 0;
  Forward1(2);
  EXPECT_EQ(Hear<Forwarded>(), (Forwarded{2, Outcome::kAccepted, 8, "", 0}));
  EXPECT_EQ(target_.said.alive, 0);
}

TEST_F(HaltServerTest, SaysThatATransactionWaitsAndThenThatItIsAccepted) {
  Forward1(2);
  EXPECT_EQ(Hear<Forwarded>(), (Forwarded{2, Outcome::kWaits, 8, "", 0}));
  EXPECT_EQ(Hear<Forwarded>(), (Forwarded{2, Outcome::kWaits, 8, "", 0})) << "every second";
  target_.said.durable_within_ms = 800;
  server_.Stored();
  EXPECT_EQ(Hear<Forwarded>(), (Forwarded{2, Outcome::kAccepted, 8, "", 800}));
  EXPECT_EQ(target_.said.alive, 0);
  EXPECT_EQ(server_.counters().accepted, 1);
}

// A primary past its lease does not keep anybody waiting.
TEST_F(HaltServerTest, SaysNothingPastTheLease) {
  target_.said.waits = false;
  Forward1(2);
  EXPECT_TRUE(Eventually([&] { return target_.said.alive == 1; }));
  const auto began = SystemClock().Boot();
  EXPECT_TRUE(Eventually([&] { return SystemClock().Boot() - began > milliseconds(1500); }));
  EXPECT_TRUE(server_.TakeAnswers().empty());
  target_.said.durable_within_ms = 0;
  EXPECT_EQ(Hear<Forwarded>().outcome, Outcome::kAccepted);
}

TEST_F(HaltServerTest, AnOutcomeThatIsAskedForWaitsLikewise) {
  Forward1(2);
  EXPECT_TRUE(Eventually([&] { return target_.said.alive == 1; }));
  Say(AskOutcome{.request = 2, .database = "a.db", .end = {5, 55}});  // it is being waited for
  Say(AskOutcome{.request = 3, .database = "a.db", .end = {5, 55}});  // instead of the former
  Say(AskOutcome{.request = 4, .database = "b.db", .end = {6, 66}});
  Forwarded heard = Hear<Forwarded>();
  while (heard.outcome == Outcome::kWaits) heard = Hear<Forwarded>();
  EXPECT_EQ(heard, (Forwarded{4, Outcome::kRefused, 0, "it is not in the chain", 0}));
  EXPECT_EQ(target_.said.alive, 1);
  target_.said.durable_within_ms = 0;
  heard = Hear<Forwarded>();
  while (heard.outcome == Outcome::kWaits) heard = Hear<Forwarded>();
  EXPECT_EQ(heard, (Forwarded{3, Outcome::kAccepted, 0, "", 0}));
}

TEST_F(HaltServerTest, ASessionThatEndsIsNotAnswered) {
  Forward1(2);
  EXPECT_TRUE(Eventually([&] { return target_.said.alive == 1; }));
  server_.EndSession("s1");
  EXPECT_TRUE(Eventually([&] { return target_.said.alive == 0; }));
  target_.said.durable_within_ms = 0;
  Say(AskOutcome{.request = 1, .database = "a.db", .end = {5, 55}}, {}, "s2");
  EXPECT_TRUE(Eventually([&] { return server_.counters().accepted == 1; }));
  Forwarded heard = Hear<Forwarded>();
  while (heard.outcome == Outcome::kWaits) heard = Hear<Forwarded>();
  EXPECT_EQ(heard, (Forwarded{1, Outcome::kAccepted, 0, "", 0}));
}

}  // namespace
}  // namespace litefs::replication
