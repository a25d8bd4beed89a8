// PeerSockets: how a server reaches its replicas: a ROUTER that they connect to, and, for each
// replica that is to be called, a connection that is made from here.  Either way a peer has a key,
// and its messages look the same.
//
// A replica that is called listens with a ROUTER (zmq_socket.h, kAccept); each connection to it has
// a DEALER of its own, which begins with a Call:
//
//   down ──► connecting ──(handshake)──► called ──(Hello)──► in session
//    ▲                                     │ Refused, silence    │ disconnected, session ended
//    └────────────── after a while ────────┴─────────────────────┘
//
// For the server's thread, but for Status.

#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/mutex.h"
#include "daemon/replication/message.h"
#include "daemon/replication/zmq_socket.h"

namespace litefs::replication {

// A replica that is called from here.
struct DialStatus {
  std::string endpoint;
  bool in_session = false;
  std::string last_error;  // why there is none, if that is known
};

class PeerSockets {
 public:
  using Time = std::chrono::nanoseconds;  // Clock::Boot

  // Binds listen, unless it is empty, and will call the replicas at dial.
  static absl::StatusOr<std::unique_ptr<PeerSockets>> Open(Context& context,
                                                           const std::string& listen,
                                                           const std::vector<std::string>& dial);

  // Connects, calls and gives up, as time has come.  Nothing is called while call is null.
  // Keys whose connection has ended are added to gone.
  void Turn(Time now, const Envelope& envelope, const Call* call, std::vector<std::string>* gone);
  // When to call Turn next, if nothing comes before.
  Time NextDeadline() const;
  void AddPollItems(std::vector<zmq::pollitem_t>* items);

  // As ZmqSocket's; the first frame is the peer's key.
  absl::Status Receive(std::vector<Frame>* frames);
  absl::Status Send(std::span<Frame> frames);

  // As ZmqSocket's, of who connected to listen.
  void Blame(const Frame& key) {
    if (!IsDialled(Text(key))) listener_.Blame();
  }

  // The peer with this key has said Hello.
  void SessionBegan(std::string_view key);
  // The session with it has ended, or it has refused one: a called one is called again later.
  void SessionEnded(std::string_view key, const std::string& why, bool refused);
  static bool IsDialled(std::string_view key) { return key.starts_with(kKeyPrefix); }

  // What Bind gave for listen; empty without.
  std::string endpoint() const;
  std::vector<DialStatus> Status() const EXCLUDES(mu_);
  void Close();

 private:
  // The keys of those who connect to a ROUTER begin with a 0 byte.
  static constexpr std::string_view kKeyPrefix = "dial:";

  struct Dialled {
    enum class State { kDown, kConnecting, kCalled, kInSession };
    std::string endpoint;
    State state = State::kDown;
    std::string key;  // new for each connection
    ZmqSocket socket;
    ZmqSocket events;
    bool call_pending = false;  // kCalled: not yet sent
    Time deadline{};            // kDown: to connect; kCalled: to give up, or to try to send again
    int attempts = 0;
  };

  explicit PeerSockets(Context* context) : context_(context) {}
  absl::Status Connect(Dialled& dialled);
  void Disconnect(Dialled& dialled, const std::string& why, bool refused, Time now);
  void ReadEvents(Dialled& dialled, Time now, const Envelope& envelope, const Call& call,
                  std::vector<std::string>* gone);
  Dialled* Find(std::string_view key);
  void SetStatus(const Dialled& dialled, const std::string* error) EXCLUDES(mu_);

  Context* const context_;
  bool listens_ = false;
  ZmqSocket listener_;
  std::vector<std::unique_ptr<Dialled>> dialled_;
  size_t next_ = 0;  // whose turn it is to be read
  uint64_t connections_ = 0;

  mutable Mutex mu_;
  std::vector<DialStatus> status_ GUARDED_BY(mu_);  // as dialled_
};

}  // namespace litefs::replication
