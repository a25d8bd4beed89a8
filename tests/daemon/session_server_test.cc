// SessionServer with a client that speaks the shim's protocol: answers that are given later.

#include "daemon/session/session_server.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <future>
#include <thread>

#include "common/clock.h"
#include "ipc/client.h"
#include "ipc/codec.h"
#include "ipc/control_connection.h"
#include "tests/support/replica_support.h"

namespace litefs::session {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kSoon{20'000};  // never reached but by a failure

// What an app's shim says.
class Client {
 public:
  explicit Client(const std::string& directory) : fd_(ipc::ConnectTo(directory)) {
    Send(ipc::Hello{.pid = 1, .name = "app.db", .program = "test"});
    std::array<char, 1024> buffer;
    EXPECT_GT(ipc::ReceiveMessage(fd_.get(), buffer, Until(kSoon), nullptr), 0);
  }
  // A commit of whatever the file has become.
  void Commit(uint64_t id) {
    Send(ipc::Commit{.id = id, .flags = ipc::kFlagUnknown, .ranges = {}});
  }
  void Drain(uint64_t id) { Send(ipc::Drain{.id = id, .reason = ipc::DrainReason::kRestart}); }
  void Sync(uint64_t id, uint64_t waited_ms) { Send(ipc::Sync{.id = id, .waited_ms = waited_ms}); }
  void Done() { Send(ipc::Done{}); }
  // "ID ERRNO", or "none" if there is none yet.
  std::string Reply(milliseconds within = kSoon) {
    std::array<char, 256> buffer;
    const int n = ipc::ReceiveMessage(fd_.get(), buffer, Until(within), nullptr);
    ipc::Reply reply;
    if (n <= 0 || !ipc::Decode({buffer.data(), static_cast<size_t>(n)}, &reply)) return "none";
    return std::to_string(reply.id) + " " + std::to_string(reply.error);
  }
  void Close() { fd_.reset(); }

 private:
  static int64_t Until(milliseconds within) {
    return ipc::MonotonicNow() + std::chrono::nanoseconds(within).count() + 1;
  }
  template <typename Message>
  void Send(const Message& message) {
    std::array<char, 1024> buffer;
    const size_t size = ipc::Encode(message, buffer);
    EXPECT_EQ(ipc::SendMessage(fd_.get(), {buffer.data(), size}, Until(kSoon)), 0);
  }
  UniqueFd fd_;
};

class SessionServerTest : public ::testing::Test {
 protected:
  SessionServerTest() : writer_(home_.path() + "/app.db") {
    writer_.Run("CREATE TABLE t(x); INSERT INTO t VALUES(1)");
    auto directory = store::NodeDirectory::Open({.database_directory = home_.path(),
                                                 .node_id = "",
                                                 .cluster_id = "",
                                                 .make_cluster_id = true});
    EXPECT_TRUE(directory.ok()) << directory.status();
    directory_ = *std::move(directory);
    status_ = *StatusFile::Open(directory_->status_path());
    status_->status().lease_deadline_ns.store(ipc::kNoDeadline);
    store_ =
        *store::Store::Open({.node = directory_.get(), .clock = &SystemClock(), .on_commit = {}});
    SessionServer::Options options = {
        .socket_path = directory_->socket_path(),
        .database_directory = elsewhere_.path(),  // nobody else captures what writer_ does
        .status = status_.get(),
        .store = store_.get(),
        .on_control = [](const std::string&, const ControlRespond& respond) { respond({}); },
        .gate = [this](store::Store::Entry& entry, const GateRequest& request,
                       const Defer& defer) { return AtGate(entry, request, defer); }};
    server_ = *SessionServer::Open(std::move(options));
    thread_ = std::thread([this] { EXPECT_TRUE(server_->Run().ok()); });
  }
  ~SessionServerTest() override { End(); }

  void End() {
    if (!thread_.joinable()) return;
    server_->Stop();
    thread_.join();
    server_.reset();
  }

  uint32_t AtGate(const store::Store::Entry& entry, const GateRequest& request,
                  const Defer& defer) {
    EXPECT_EQ(entry.database->name(), "app.db");
    if (request.type == ipc::MessageType::kSync) {
      return request.captured ? static_cast<uint32_t>(request.waited.count()) : EBUSY;
    }
    if (!defers_) return refuses_;
    Respond respond = defer(
        {.limit = limit_, .late_error = ENOSPC, .on_end = [this](std::optional<uint32_t> error) {
           ++ends_;
           ended_.set_value(error);
         }});
    defers_ = false;
    deferred_.set_value({request.type, std::move(respond)});
    return 0;
  }

  // The server has gone through its loop once more.
  void AwaitTurn() {
    auto reply = ControlRequest(home_.path(), "{}", kSoon);
    EXPECT_TRUE(reply.ok()) << reply.status();
  }
  Respond AwaitDeferred(ipc::MessageType request) {
    auto future = deferred_.get_future();
    EXPECT_EQ(future.wait_for(kSoon), std::future_status::ready);
    const auto [type, respond] = future.get();
    EXPECT_EQ(type, request);
    return respond;
  }
  std::optional<uint32_t> AwaitEnd() {
    auto future = ended_.get_future();
    EXPECT_EQ(future.wait_for(kSoon), std::future_status::ready);
    return future.get();
  }
  ltx::TxId txid() { return store_->Find("app.db")->database->position().txid; }
  void Change() { writer_.Run("INSERT INTO t SELECT count(*) FROM t"); }

  test::TemporaryDirectory home_, elsewhere_;
  test::SourceDatabase writer_;
  std::unique_ptr<store::NodeDirectory> directory_;
  std::unique_ptr<StatusFile> status_;
  std::unique_ptr<store::Store> store_;
  milliseconds limit_ = kSoon;
  std::atomic<bool> defers_ = true;
  std::atomic<uint32_t> refuses_ = 0;
  std::promise<std::pair<ipc::MessageType, Respond>> deferred_;
  std::promise<std::optional<uint32_t>> ended_;
  std::atomic<int> ends_ = 0;
  std::unique_ptr<SessionServer> server_;
  std::thread thread_;
};

TEST_F(SessionServerTest, CommitIsAnsweredWhenToldSo) {
  Client client(home_.path());
  ASSERT_EQ(txid(), 1);
  Change();
  client.Commit(7);
  const Respond respond = AwaitDeferred(ipc::MessageType::kCommit);
  AwaitTurn();
  EXPECT_EQ(client.Reply(milliseconds(0)), "none");
  respond(0);
  respond(EIO);  // the first call counts
  EXPECT_EQ(client.Reply(), "7 0");
  EXPECT_EQ(AwaitEnd(), 0);
  client.Done();
  client.Drain(8);
  EXPECT_EQ(client.Reply(), "8 0");
  EXPECT_EQ(txid(), 2);
  EXPECT_EQ(ends_, 1);
}

TEST_F(SessionServerTest, DrainIsAnsweredWhenToldSo) {
  Client client(home_.path());
  client.Drain(3);
  const Respond respond = AwaitDeferred(ipc::MessageType::kDrain);
  AwaitTurn();
  EXPECT_EQ(client.Reply(milliseconds(0)), "none");
  respond(EAGAIN);
  EXPECT_EQ(client.Reply(), "3 " + std::to_string(EAGAIN));
}

TEST_F(SessionServerTest, FurtherMessagesWaitForTheAnswer) {
  Client client(home_.path());
  Change();
  client.Commit(1);
  const Respond respond = AwaitDeferred(ipc::MessageType::kCommit);
  client.Done();
  client.Drain(2);
  AwaitTurn();
  EXPECT_EQ(txid(), 1);
  EXPECT_EQ(client.Reply(milliseconds(0)), "none");
  respond(0);
  EXPECT_EQ(client.Reply(), "1 0");
  EXPECT_EQ(client.Reply(), "2 0");
  EXPECT_EQ(txid(), 2);
}

// The app rolls back; what it leaves is compared, as after any commit that failed.
TEST_F(SessionServerTest, RefusedCommitIsNotPrepared) {
  Client client(home_.path());
  Change();
  client.Commit(1);
  const Respond respond = AwaitDeferred(ipc::MessageType::kCommit);
  db::PrimaryDatabase& database = *store_->Find("app.db")->primary;
  EXPECT_TRUE(database.HasPreparedChange());
  EXPECT_TRUE(database.pending_session().has_value());
  respond(EIO);
  EXPECT_EQ(client.Reply(), "1 " + std::to_string(EIO));
  EXPECT_FALSE(database.HasPreparedChange());
  EXPECT_FALSE(database.pending_session().has_value());
}

TEST_F(SessionServerTest, LimitAnswersByItself) {
  limit_ = milliseconds(50);
  Client client(home_.path());
  Change();
  client.Commit(1);
  const Respond respond = AwaitDeferred(ipc::MessageType::kCommit);
  EXPECT_EQ(client.Reply(), "1 " + std::to_string(ENOSPC));
  EXPECT_EQ(AwaitEnd(), ENOSPC);
  respond(0);
  AwaitTurn();
  AwaitTurn();
  EXPECT_EQ(client.Reply(milliseconds(0)), "none");
  EXPECT_EQ(ends_, 1);
}

TEST_F(SessionServerTest, SessionEndsWhileItWaits) {
  Client client(home_.path());
  Change();
  client.Commit(1);
  const Respond respond = AwaitDeferred(ipc::MessageType::kCommit);
  client.Close();
  EXPECT_EQ(AwaitEnd(), std::nullopt);
  respond(0);
  Client other(home_.path());
  Change();
  other.Commit(2);
  EXPECT_EQ(other.Reply(), "2 0");
  other.Done();
  other.Drain(3);
  EXPECT_EQ(other.Reply(), "3 0");
  EXPECT_GE(txid(), 2);  // what the first has left may be a transaction of its own
}

TEST_F(SessionServerTest, ServerEndsWhileASessionWaits) {
  Client client(home_.path());
  Change();
  client.Commit(1);
  const Respond respond = AwaitDeferred(ipc::MessageType::kCommit);
  End();
  EXPECT_EQ(AwaitEnd(), std::nullopt);
  EXPECT_EQ(client.Reply(), "none");
  respond(0);
  EXPECT_EQ(ends_, 1);
}

// The gate may refuse at once, and is asked about what is committed with what the shim says of it.
TEST_F(SessionServerTest, GateAnswersAtOnce) {
  defers_ = false;
  refuses_ = EPERM;
  Client client(home_.path());
  Change();
  client.Commit(1);
  EXPECT_EQ(client.Reply(), "1 " + std::to_string(EPERM));
  EXPECT_FALSE(store_->Find("app.db")->primary->pending_session().has_value());
  refuses_ = 0;
  Change();
  client.Commit(2);
  EXPECT_EQ(client.Reply(), "2 0");
  client.Done();
  client.Sync(3, 77);
  EXPECT_EQ(client.Reply(), "3 77");
}

// A node that is about to hand over lets those commit that have begun.
TEST_F(SessionServerTest, DrainOfTheNodeTakesAnswersIn) {
  Client client(home_.path());
  Change();
  client.Commit(1);
  const Respond respond = AwaitDeferred(ipc::MessageType::kCommit);
  std::promise<bool> drained;
  server_->Post([&] { drained.set_value(server_->Drain(kSoon)); });
  respond(0);
  EXPECT_EQ(client.Reply(), "1 0");
  client.Done();
  EXPECT_TRUE(drained.get_future().get());
  EXPECT_EQ(txid(), 2);
}

}  // namespace
}  // namespace litefs::session
