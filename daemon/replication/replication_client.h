// ReplicationClient: the replica's end of replication.  One thread owns the SUB and the DEALER
// socket, keeps a session with the primary, and feeds a Follower.
//
//   down ──► connecting ──(handshake)──► greeting ──(Welcome)──► online
//    ▲                                       │ Refused, deadline    │ disconnected, silence,
//    refused └────────────── after a while ──────────┴──────────────────────┘
//
// Each session has sockets of its own, so that nothing of an earlier one can arrive in it.  Where
// the primary connects to us there is one ROUTER for all time, `connecting` is waiting for a Call,
// and a session is with the routing id that it came from: who else calls meanwhile is refused.

#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "common/mutex.h"
#include "daemon/replication/chain.h"
#include "daemon/replication/context.h"
#include "daemon/replication/follower.h"
#include "daemon/replication/follower_status.h"
#include "daemon/replication/message.h"
#include "daemon/replication/wakeup.h"
#include "daemon/replication/zmq_socket.h"

namespace litefs::replication {

class ReplicationClient {
 public:
  struct Options {
    std::string pub_endpoint;          // unused without subscribe
    std::string pull_endpoint;         // or:
    std::string accept_endpoint = {};  // where we wait for the primary to connect ("tcp://*:port")
    std::string cluster_id;            // empty: adopt the primary's
    std::string node_id;
    bool subscribe = true;   // false: everything by the pull socket
    Security security = {};  // with the key of pull_endpoint and pub_endpoint
    // Called on the client's thread when a cluster id was adopted.
    std::function<void(const std::string& cluster_id)> on_cluster_adopted = {};
    uint64_t epoch = 0;  // the last that this node knows: an earlier primary is not followed
    // Called on the client's thread when a primary of a later epoch is followed.
    std::function<void(uint64_t epoch)> on_epoch = {};
    // Called there when a session begins, with its primary's epoch, and the nodes by which its
    // files come, ourselves included (Welcome::path).
    std::function<void(const std::string& cluster_id, uint64_t epoch, const std::string& path)>
        on_session = {};
    // A primary that is silent for this long is connected to anew.
    std::chrono::milliseconds silence_deadline{5000};
    // After this long without a beacon by PUB, new files are asked for by the pull socket.
    std::chrono::milliseconds pub_deadline{3000};
    // Between a refusal and the next attempt.
    std::chrono::milliseconds refused_delay{5000};
    const Clock* clock = &SystemClock();  // for the lag
    // Called on the client's thread with what the primary says of writes on this node: Halted,
    // RecallHalt, Forwarded.
    std::function<void(Body body)> on_forwarding = {};
    // Likewise when a session has begun, or ended: what was submitted in it is not answered any
    // more.
    std::function<void(bool online, bool durable)> on_online = {};
  };

  // sink must outlive the client.
  ReplicationClient(Options options, ChainSink* sink);
  ~ReplicationClient();  // Stop()
  ReplicationClient(const ReplicationClient&) = delete;
  ReplicationClient& operator=(const ReplicationClient&) = delete;

  // Begins to follow; once.  The primary need not be there.  kInvalidArgument: a bad option.
  absl::Status Start();
  // Joins the thread, after the sink's call in progress.  No effect when stopped.
  void Stop() EXCLUDES(mu_);

  // Sends this to the primary, in the session that there is; without one it is dropped.  Any
  // thread. The sink's States() have changed by another way than this client's.  Any thread.
  void Changed() EXCLUDES(mu_);
  void Submit(Body body, std::vector<std::byte> payload = {}) EXCLUDES(mu_);

  // Any thread, any time.
  ClientStatus Status() const { return status_.Snapshot(); }
  const FollowerStatus& counters() const { return status_; }
  // Of those who connect to accept_endpoint.  Any thread, after Start.
  Refusals::Summary refusals() const { return context_->refusals().Get(); }
  LagTable& lag() { return status_.lag; }
  // The endpoint that is waited at, with the port chosen for "*".  After Start.
  const std::string& accept_endpoint() const { return accept_endpoint_; }

 private:
  using Time = std::chrono::nanoseconds;  // Clock::Boot
  enum class State { kDown, kConnecting, kGreeting, kOnline };

  void Run();
  void Turn(Time now);
  absl::Status Connect();
  bool accepts() const { return !options_.accept_endpoint.empty(); }
  absl::Status Accept();
  bool IsFromPrimary(std::vector<Frame>* frames);
  void OnCall(const std::string& peer, const Envelope& envelope, const Call& call);
  void StartGreeting();
  absl::StatusOr<std::string> PathFrom(const std::string& path) const;
  void RefuseCall(const std::string& peer, RefusalCode code, const std::string& text);
  void Disconnect(const std::string& why, std::chrono::milliseconds delay);
  void CheckDeadlines(Time now);
  Time NextDeadline() const;

  void ReadEvents();
  bool ReadPullSocket();
  bool ReadSubSocket();
  void Dispatch(Message& message, std::span<const std::byte> payload);
  void OnWelcome(const Envelope& envelope, const Welcome& welcome);
  void OnRefused(const Refused& refused);
  void OnPublished(const std::vector<Frame>& frames);
  void OnBeacon(const Beacon& beacon);
  bool IsOfThisSession(const Envelope& envelope) const;

  void SendAll(Time now);
  bool SendOne(Time now);
  bool Confirm(const Ack& ack);
  bool Send(const Body& body, std::span<const std::byte> payload = {});
  bool SendSubmitted() EXCLUDES(mu_);
  void SetOnline(bool online) EXCLUDES(mu_);
  void SetPush(bool push);

  const Options options_;
  FollowerStatus status_;
  Wakeup wakeup_;

  // The thread's own, once it runs.
  std::unique_ptr<Context> context_;
  ZmqSocket pull_;
  ZmqSocket events_;  // of pull_, unless we accept
  std::string accept_endpoint_;
  std::string peer_;       // routing id of whom we are in session with, if we accept
  std::string caller_id_;  // and its node id
  uint64_t caller_epoch_ = 0;
  ZmqSocket sub_;
  ChainSink* const sink_;
  Follower follower_;
  State state_ = State::kDown;
  std::string cluster_id_;
  Envelope session_;            // from Welcome
  bool durable_ = false;        // likewise
  uint64_t highest_epoch_ = 0;  // a primary of an earlier one is not followed
  Time connect_at_{};           // in kDown
  int attempts_ = 0;            // since the last session
  Time heard_{};                // of the primary, by either socket
  Time heard_pub_{};
  Time pinged_{};
  int first_pings_ = 0;  // still to be sent without waiting for a beacon
  bool subscribed_ = false;
  bool push_ = true;  // what the primary has been told, or is to be
  bool hello_pending_ = false;
  bool mode_pending_ = false;
  bool ping_pending_ = false;
  bool send_blocked_ = false;    // something could not be sent; wait for room
  uint64_t consumed_bytes_ = 0;  // of the credit, since Hello
  uint64_t granted_bytes_ = 0;

  Mutex mu_;
  bool stopping_ GUARDED_BY(mu_) = false;
  bool online_ GUARDED_BY(mu_) = false;
  bool changed_ GUARDED_BY(mu_) = false;
  struct Submitted {
    Body body;
    std::vector<std::byte> payload;
  };
  std::deque<Submitted> submitted_ GUARDED_BY(mu_);
  std::thread thread_;
};

}  // namespace litefs::replication
