#include "daemon/replication/replication_client.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_split.h"
#include "common/check.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/status_macros.h"

namespace litefs::replication {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

constexpr int kMaxMessagesATurn = 64;
constexpr milliseconds kReconnectFirst{20};
constexpr milliseconds kReconnectMost{2000};
constexpr milliseconds kPingSpacing{500};
// At the beginning of a session, so that the clocks' difference is known at once.
constexpr int kFirstPings = 4;

// Credit is topped up in steps of this much, so that it is rarely what the primary waits for.
constexpr uint64_t kCreditStepBytes = kWindowBytes / 4;

nanoseconds Now() { return SystemClock().Boot(); }

milliseconds ReconnectDelay(int attempts) {
  return std::min(kReconnectMost, kReconnectFirst * (1 << std::min(attempts, 10)));
}

}  // namespace

ReplicationClient::ReplicationClient(Options options, ChainSink* sink)
    : options_(std::move(options)),
      status_(options_.clock),
      sink_(sink),
      follower_(sink, &status_),
      cluster_id_(options_.cluster_id),
      highest_epoch_(options_.epoch) {}

ReplicationClient::~ReplicationClient() { Stop(); }

absl::Status ReplicationClient::Start() {
  CHECK(!thread_.joinable());
  if (cluster_id_.size() > kMaxClusterIdBytes || options_.node_id.size() > kMaxNodeIdBytes) {
    return absl::InvalidArgumentError("start replication: cluster id or node id is too long");
  }
  ASSIGN_OR_RETURN(context_, Context::Open(options_.security));
  RETURN_IF_ERROR(Connect());  // here, so that a bad endpoint is an error of Start
  thread_ = std::thread([this] { Run(); });
  return absl::OkStatus();
}

void ReplicationClient::Stop() {
  if (!thread_.joinable()) return;
  {
    MutexLock lock(mu_);
    stopping_ = true;
  }
  wakeup_.Signal();
  thread_.join();
}

void ReplicationClient::Changed() {
  MutexLock lock(mu_);
  changed_ = true;
  wakeup_.Signal();
}

void ReplicationClient::Submit(Body body, std::vector<std::byte> payload) {
  MutexLock lock(mu_);
  if (!online_) return;
  submitted_.push_back({std::move(body), std::move(payload)});
  wakeup_.Signal();
}

// ---- The thread
// ----------------------------------------------------------------------------------

void ReplicationClient::Run() {
  for (;;) {
    const Time now = Now();
    const Time next = NextDeadline();
    const milliseconds timeout =
        next == Time::max() ? milliseconds(-1)
                            : std::chrono::ceil<milliseconds>(std::max(next - now, Time(0)));
    std::vector<zmq::pollitem_t> items = {{nullptr, wakeup_.fd(), ZMQ_POLLIN, 0}};
    if (state_ != State::kDown) {
      const short room = send_blocked_ ? ZMQ_POLLOUT : 0;
      items.push_back({pull_.handle(), 0, static_cast<short>(ZMQ_POLLIN | room), 0});
      if (!accepts()) items.push_back({events_.handle(), 0, ZMQ_POLLIN, 0});
    }
    if (subscribed_) items.push_back({sub_.handle(), 0, ZMQ_POLLIN, 0});
    const absl::StatusOr<int> ready = Poll(items, timeout);
    if (!ready.ok()) {
      LogError("replication",
               fmt::format("client stops: {}", std::string(ready.status().message())));
      break;
    }
    wakeup_.Clear();
    bool changed = false;
    {
      MutexLock lock(mu_);
      if (stopping_) break;
      changed = std::exchange(changed_, false);
    }
    if (changed && state_ == State::kOnline) follower_.LookAtSink(Now());
    Turn(Now());
  }
  Disconnect("", milliseconds(0));
}

void ReplicationClient::Turn(Time now) {
  if (state_ == State::kDown) {
    if (now < connect_at_) return;
    status_.SetUpstreamIsReplica(false);
    const absl::Status connected = Connect();
    if (!connected.ok()) Disconnect(std::string(connected.message()), options_.refused_delay);
    return;
  }
  ReadEvents();
  // Pulled files come first: what is published meanwhile mostly follows them.
  bool more = state_ != State::kDown && ReadPullSocket();
  if (state_ != State::kDown && subscribed_) more = ReadSubSocket() || more;
  // Silence is only what is left when everything that has come is read.
  if (!more && state_ != State::kDown) CheckDeadlines(Now());
  if (state_ != State::kDown) SendAll(Now());
}

absl::Status ReplicationClient::Connect() {
  if (accepts()) return Accept();
  ASSIGN_OR_RETURN(pull_, ZmqSocket::Open(*context_, ZmqSocket::Kind::kPull));
  ASSIGN_OR_RETURN(events_, pull_.Monitor(*context_));
  RETURN_IF_ERROR(pull_.Connect(options_.pull_endpoint));
  state_ = State::kConnecting;
  heard_ = Now();
  return absl::OkStatus();
}

// Waits for a call, on the socket that there is from the first time on.
absl::Status ReplicationClient::Accept() {
  if (accept_endpoint_.empty()) {
    ASSIGN_OR_RETURN(pull_, ZmqSocket::Open(*context_, ZmqSocket::Kind::kAccept));
    RETURN_IF_ERROR(pull_.Bind(options_.accept_endpoint));
    accept_endpoint_ = pull_.BoundEndpoint();
  }
  state_ = State::kConnecting;
  return absl::OkStatus();
}

// Ends the session, if there is one, and the sockets; connects again after delay.
void ReplicationClient::Disconnect(const std::string& why, milliseconds delay) {
  if (!why.empty()) {
    LogInfo("replication", fmt::format("left the primary why=\"{}\"", why));
    status_.SetError(why);
  }
  sub_.Close();
  if (accepts()) {  // the caller is to call again
    if (!peer_.empty()) RefuseCall(peer_, RefusalCode::kNoSession, why);
    peer_.clear();
  } else {
    pull_.Close();
    events_.Close();
  }
  subscribed_ = false;
  hello_pending_ = mode_pending_ = ping_pending_ = send_blocked_ = false;
  state_ = State::kDown;
  SetOnline(false);
  status_.SetConnected(false);
  connect_at_ = Now() + delay;
}

void ReplicationClient::CheckDeadlines(Time now) {
  if (state_ == State::kConnecting) return;  // ZeroMQ tries, with its own back-off
  if (now >= heard_ + options_.silence_deadline) {
    return Disconnect("the primary is silent", ReconnectDelay(attempts_++));
  }
  if (state_ == State::kOnline && !push_ && now >= heard_pub_ + options_.pub_deadline) {
    SetPush(true);
  }
}

ReplicationClient::Time ReplicationClient::NextDeadline() const {
  switch (state_) {
    case State::kDown:
      return connect_at_;
    case State::kConnecting:
      return Time::max();
    case State::kGreeting:
      return heard_ + options_.silence_deadline;
    case State::kOnline:
      break;
  }
  Time next = heard_ + Time(options_.silence_deadline);
  if (!send_blocked_) next = std::min(next, follower_.NextDeadline());
  if (!push_) next = std::min(next, heard_pub_ + Time(options_.pub_deadline));
  return next;
}

// ---- Receiving
// -----------------------------------------------------------------------------------

void ReplicationClient::StartGreeting() {
  state_ = State::kGreeting;
  heard_ = Now();
  hello_pending_ = true;
  push_ = true;
  consumed_bytes_ = 0;
  granted_bytes_ = kWindowBytes;
}

// Takes the routing id off a message, if we accept.  False: it is nobody's that we are in session
// with, and has been dealt with.
bool ReplicationClient::IsFromPrimary(std::vector<Frame>* frames) {
  if (!accepts()) return true;
  const std::string from(Text(frames->front()));
  frames->erase(frames->begin());
  const bool in_session = from == peer_ && state_ != State::kConnecting;
  const absl::StatusOr<Message> message =
      frames->empty() ? absl::InvalidArgumentError("") : Decode(Text(frames->front()));
  const Call* const call = message.ok() ? std::get_if<Call>(&message->body) : nullptr;
  if (call != nullptr) {
    OnCall(from, message->envelope, *call);
  } else if (!in_session) {
    ++status_.discarded;
    const bool version = absl::IsUnimplemented(message.status());
    RefuseCall(from, version ? RefusalCode::kWrongVersion : RefusalCode::kNoSession,
               message.ok() ? "call first" : std::string(message.status().message()));
  }
  return call == nullptr && in_session;
}

// The first who calls is followed.  Others are told, but for one who must be the same, or its
// successor, back before we noticed that the connection had ended.
void ReplicationClient::OnCall(const std::string& from, const Envelope& envelope,
                               const Call& call) {
  if (!cluster_id_.empty() && envelope.cluster_id != cluster_id_) {
    return RefuseCall(
        from, RefusalCode::kWrongCluster,
        fmt::format("this is cluster \"{}\", not \"{}\"", cluster_id_, envelope.cluster_id));
  }
  if (envelope.epoch < highest_epoch_) {
    return RefuseCall(
        from, RefusalCode::kStaleEpoch,
        fmt::format("epoch {} is over, there has been {}", envelope.epoch, highest_epoch_));
  }
  const bool replaces = call.node_id == caller_id_ || envelope.epoch > caller_epoch_;
  if (state_ != State::kConnecting && !replaces) {
    LogWarn("replication",
            fmt::format("refused a call of node={}: following node={}", call.node_id, caller_id_));
    return RefuseCall(from, RefusalCode::kTooMany,
                      fmt::format("this replica follows node {}", caller_id_));
  }
  if (state_ != State::kConnecting) {
    if (from == peer_) peer_.clear();  // it knows
    Disconnect("the primary has called anew", milliseconds(0));
  }
  peer_ = from;
  caller_id_ = call.node_id;
  caller_epoch_ = envelope.epoch;
  StartGreeting();
}

void ReplicationClient::RefuseCall(const std::string& peer, RefusalCode code,
                                   const std::string& text) {
  const Envelope envelope{cluster_id_, highest_epoch_, 0};
  const Refused refused{code, 0, text.substr(0, kMaxRefusalTextBytes)};
  Frame frames[] = {MakeFrame(peer), MakeFrame(Encode(envelope, refused))};
  pull_.Send(frames).IgnoreError();  // who is gone need not be told
}

void ReplicationClient::ReadEvents() {
  while (!accepts() && state_ != State::kDown) {
    std::string why;
    const std::optional<ZmqSocket::Event> event = events_.ReadEvent(&why);
    if (!event) return;
    if (*event == ZmqSocket::Event::kRefused) return Disconnect(why, options_.refused_delay);
    if (*event == ZmqSocket::Event::kConnected && state_ == State::kConnecting) {
      StartGreeting();
    } else if (*event == ZmqSocket::Event::kDisconnected && state_ != State::kConnecting) {
      Disconnect("the connection was lost", ReconnectDelay(attempts_++));
    }
  }
}

// Reads a bounded number of messages.  Returns whether there may be more.
bool ReplicationClient::ReadPullSocket() {
  std::vector<Frame> frames;  // header, payload
  for (int i = 0; i < kMaxMessagesATurn; ++i) {
    const absl::Status status = pull_.Receive(&frames);
    if (absl::IsUnavailable(status)) return false;
    if (!frames.empty() && !IsFromPrimary(&frames)) continue;
    size_t payload_bytes = 0;
    absl::StatusOr<Message> message =
        absl::InvalidArgumentError("malformed message: wrong number of frames");
    if (status.ok() && !frames.empty() && frames.size() <= 2) {
      payload_bytes = frames.size() > 1 ? frames[1].size() : 0;
      message = Decode(Text(frames[0]));
      consumed_bytes_ += CreditCost(frames[0].size(), payload_bytes);
    }
    if (!message.ok()) {
      ++status_.corrupt;
      Disconnect(std::string(message.status().message()), options_.refused_delay);
      return false;
    }
    heard_ = Now();
    Dispatch(*message, payload_bytes == 0 ? std::span<const std::byte>() : Bytes(frames[1]));
    if (state_ == State::kDown) return false;
    // Credit flows back while a turn is still busy, or the primary would stall between turns.
    if (consumed_bytes_ + kWindowBytes >= granted_bytes_ + kCreditStepBytes) SendAll(Now());
    if (state_ == State::kDown) return false;
  }
  return true;
}

void ReplicationClient::Dispatch(Message& message, std::span<const std::byte> payload) {
  if (const auto* refused = std::get_if<Refused>(&message.body)) return OnRefused(*refused);
  if (const auto* welcome = std::get_if<Welcome>(&message.body)) {
    return OnWelcome(message.envelope, *welcome);
  }
  if (state_ != State::kOnline || !IsOfThisSession(message.envelope)) {
    ++status_.discarded;
    return;
  }
  const Time now = Now();
  if (const auto* chunk = std::get_if<Chunk>(&message.body)) {
    follower_.On(*chunk, payload, now);
  } else if (const auto* current = std::get_if<Current>(&message.body)) {
    follower_.On(*current, now);
  } else if (const auto* positions = std::get_if<Positions>(&message.body)) {
    follower_.On(*positions, now);
  } else if (const auto* sums = std::get_if<SumsRequest>(&message.body)) {
    follower_.On(*sums, now);
  } else if (const auto* pong = std::get_if<Pong>(&message.body)) {
    status_.lag.Add(*pong);
  } else if (const auto* beacon = std::get_if<Beacon>(&message.body)) {
    OnBeacon(*beacon);
  } else if (std::holds_alternative<Halted>(message.body) ||
             std::holds_alternative<RecallHalt>(message.body) ||
             std::holds_alternative<Forwarded>(message.body)) {
    if (options_.on_forwarding) options_.on_forwarding(std::move(message.body));
  } else {
    ++status_.corrupt;  // a replica's message
  }
}

void ReplicationClient::OnWelcome(const Envelope& envelope, const Welcome& welcome) {
  if (state_ != State::kGreeting) return;
  if (!cluster_id_.empty() && envelope.cluster_id != cluster_id_) {
    return Disconnect(fmt::format("the primary is of cluster \"{}\", not \"{}\"",
                                  envelope.cluster_id, cluster_id_),
                      options_.refused_delay);
  }
  if (envelope.epoch < highest_epoch_) {
    return Disconnect(
        fmt::format("the primary's epoch is {}, a later one is {}", envelope.epoch, highest_epoch_),
        options_.refused_delay);
  }
  const absl::StatusOr<std::string> path = PathFrom(welcome.path);
  if (!path.ok()) return Disconnect(std::string(path.status().message()), options_.refused_delay);
  if (cluster_id_.empty()) {
    cluster_id_ = envelope.cluster_id;
    if (options_.on_cluster_adopted) options_.on_cluster_adopted(cluster_id_);
  }
  session_ = envelope;
  durable_ = welcome.durable;
  if (envelope.epoch > highest_epoch_ && options_.on_epoch) options_.on_epoch(envelope.epoch);
  highest_epoch_ = envelope.epoch;
  state_ = State::kOnline;
  attempts_ = 0;
  ++status_.sessions;
  status_.SetSession(welcome.node_id, cluster_id_, envelope.epoch, *path);
  LogInfo("replication",
          fmt::format("following node={} epoch={}", welcome.node_id, envelope.epoch));
  // Subscribe first, then ask: what is published from now on is not lost between the two.
  if (options_.subscribe && welcome.publishes) {
    absl::StatusOr<ZmqSocket> sub = ZmqSocket::Open(*context_, ZmqSocket::Kind::kSubscribe);
    absl::Status status = sub.status();
    if (status.ok()) status = sub->Subscribe(Topic(cluster_id_));
    if (status.ok()) status = sub->Connect(options_.pub_endpoint);
    if (status.ok()) {
      sub_ = *std::move(sub);
      subscribed_ = true;
    } else {
      // The pull socket alone is complete.
      LogWarn("replication", fmt::format("no PUB: {}", std::string(status.message())));
    }
  }
  first_pings_ = kFirstPings;
  follower_.set_push(true);
  follower_.SessionStarted();
  if (options_.on_session) options_.on_session(cluster_id_, envelope.epoch, *path);
  SetOnline(true);
}

// The path with ourselves at its end.  kFailedPrecondition: we are in it already.
absl::StatusOr<std::string> ReplicationClient::PathFrom(const std::string& path) const {
  size_t nodes = 0;
  for (const std::string& node :
       std::vector<std::string>(absl::StrSplit(path, ' ', absl::SkipEmpty()))) {
    ++nodes;
    if (node == options_.node_id) {
      return absl::FailedPreconditionError(fmt::format(
          "a loop: what this node follows comes from this node ({} {})", path, options_.node_id));
    }
  }
  if (nodes >= kMaxPathNodes) {
    return absl::FailedPreconditionError(fmt::format(
        "{} nodes between here and the primary, at most {} are allowed", nodes, kMaxPathNodes - 1));
  }
  return path.empty() ? options_.node_id : path + " " + options_.node_id;
}

void ReplicationClient::OnRefused(const Refused& refused) {
  if (refused.stream != 0) {
    if (state_ == State::kOnline) follower_.On(refused, Now());
    return;
  }
  status_.SetUpstreamIsReplica(refused.code == RefusalCode::kNotReady);
  const bool again = (refused.code == RefusalCode::kNoSession && state_ == State::kOnline) ||
                     refused.code == RefusalCode::kNotReady;
  Disconnect("refused: " + refused.text,
             again ? ReconnectDelay(attempts_++) : options_.refused_delay);
}

bool ReplicationClient::ReadSubSocket() {
  std::vector<Frame> frames;  // topic, header, payload
  for (int i = 0; i < kMaxMessagesATurn; ++i) {
    const absl::Status status = sub_.Receive(&frames);
    if (absl::IsUnavailable(status)) return false;
    if (status.ok()) {
      OnPublished(frames);
    } else {
      ++status_.corrupt;
    }
  }
  return true;
}

// Nothing published is trusted for more than a hint: what is malformed is counted and left out.
void ReplicationClient::OnPublished(const std::vector<Frame>& frames) {
  if (frames.size() < 2 || frames.size() > 3) {
    ++status_.corrupt;
    return;
  }
  const absl::StatusOr<Message> message = Decode(Text(frames[1]));
  if (!message.ok()) {
    ++status_.corrupt;
    return;
  }
  if (!IsOfThisSession(message->envelope)) {
    ++status_.discarded;
    return;
  }
  heard_ = heard_pub_ = Now();
  if (push_) SetPush(false);  // PUB works
  if (const auto* beacon = std::get_if<Beacon>(&message->body)) return OnBeacon(*beacon);
  if (const auto* transaction = std::get_if<Transaction>(&message->body)) {
    const std::span<const std::byte> payload =
        frames.size() > 2 ? Bytes(frames[2]) : std::span<const std::byte>();
    return follower_.On(*transaction, payload, Now());
  }
  ++status_.corrupt;
}

void ReplicationClient::OnBeacon(const Beacon& beacon) {
  const Time now = Now();
  if (now >= pinged_ + kPingSpacing) ping_pending_ = true;
  follower_.On(beacon, now);
}

bool ReplicationClient::IsOfThisSession(const Envelope& envelope) const {
  return state_ == State::kOnline && envelope == session_;
}

// ---- Sending
// -------------------------------------------------------------------------------------

void ReplicationClient::SetPush(bool push) {
  push_ = push;
  mode_pending_ = true;
  follower_.set_push(push);
  status_.SetPubHealthy(!push);
  // Give the primary the time to answer by the other way.
  if (push) heard_ = std::max(heard_, Now() - Time(options_.silence_deadline) / 2);
}

void ReplicationClient::SendAll(Time now) {
  while (state_ != State::kDown && SendOne(now)) {
  }
}

// Sends what is most urgent.  Returns false if there is nothing, or no room for it.
bool ReplicationClient::SendOne(Time now) {
  send_blocked_ = false;
  if (hello_pending_) {
    hello_pending_ = !Send(Hello{options_.node_id, kWindowBytes, true});
    return !hello_pending_;
  }
  if (state_ != State::kOnline) return false;
  if (!pull_.HasRoom()) {
    send_blocked_ = true;
    return false;
  }
  if (consumed_bytes_ + kWindowBytes >= granted_bytes_ + kCreditStepBytes) {
    granted_bytes_ = consumed_bytes_ + kWindowBytes;
    return Send(Credit{granted_bytes_});
  }
  if (SendSubmitted()) return true;
  if (state_ != State::kOnline) return false;
  if (std::exchange(mode_pending_, false)) return Send(Mode{push_});
  if (auto request = follower_.NextPositionsRequest(now)) return Send(*request);
  if (auto pull = follower_.NextPull(now)) return Send(*pull);
  if (auto ack = follower_.NextAck()) return Confirm(*ack);
  if (auto sums = follower_.NextSums()) return Send(*sums);
  if (std::exchange(ping_pending_, false) || first_pings_ > 0) {
    first_pings_ = std::max(first_pings_ - 1, 0);
    pinged_ = now;
    const auto boot = options_.clock->Boot();
    return Send(Ping{static_cast<uint64_t>(
        std::chrono::duration_cast<std::chrono::microseconds>(boot).count())});
  }
  return false;
}

bool ReplicationClient::Confirm(const Ack& ack) {
  if (durable_) {
    if (const absl::Status status = sink_->Sync(ack.database); !status.ok()) {
      LogError("replication", fmt::format("db={} cannot be confirmed: {}", ack.database,
                                          std::string(status.message())));
      status_.SetError(std::string(status.message()));
      return true;
    }
  }
  return Send(ack);
}

// False: nothing is to be sent.
bool ReplicationClient::SendSubmitted() {
  Submitted next;
  {
    MutexLock lock(mu_);
    if (submitted_.empty()) return false;
    next = std::move(submitted_.front());
    submitted_.pop_front();
  }
  return Send(next.body, next.payload);
}

// What an earlier session was to be told does not count in the next.
void ReplicationClient::SetOnline(bool online) {
  {
    MutexLock lock(mu_);
    if (online_ == online) return;
    online_ = online;
    submitted_.clear();
  }
  if (options_.on_online) options_.on_online(online, durable_);
}

bool ReplicationClient::Send(const Body& body, std::span<const std::byte> payload) {
  const bool hello = std::holds_alternative<Hello>(body);
  Envelope envelope{cluster_id_, highest_epoch_, hello ? 0 : session_.instance};
  Frame frames[] = {MakeFrame(peer_), MakeFrame(Encode(envelope, body)),
                    Frame(payload.data(), payload.size())};
  const absl::Status status =
      pull_.Send(std::span(frames, payload.empty() ? 2 : 3).subspan(accepts() ? 0 : 1));
  if (status.ok()) return true;
  if (hello && absl::IsUnavailable(status)) {
    send_blocked_ = true;  // the connection is not quite there yet
    return false;
  }
  // There was room: the connection went away under us.
  Disconnect("could not send to the primary", ReconnectDelay(attempts_++));
  return false;
}

}  // namespace litefs::replication
