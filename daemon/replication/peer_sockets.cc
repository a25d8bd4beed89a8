#include "daemon/replication/peer_sockets.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "common/clock.h"
#include "common/log.h"
#include "common/status_macros.h"

namespace litefs::replication {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kRedialFirst{50};
constexpr milliseconds kRedialMost{2000};
constexpr milliseconds kRedialRefused{5000};
// A replica answers a call at once, unless it is busy with a large file.
constexpr milliseconds kAnswerDeadline{30000};
// The handshake is done a moment before the connection takes messages.
constexpr milliseconds kSendRetry{2};

}  // namespace

absl::StatusOr<std::unique_ptr<PeerSockets>> PeerSockets::Open(
    Context& context, const std::string& listen, const std::vector<std::string>& dial) {
  std::unique_ptr<PeerSockets> sockets(new PeerSockets(&context));
  if (!listen.empty()) {
    ASSIGN_OR_RETURN(sockets->listener_, ZmqSocket::Open(context, ZmqSocket::Kind::kServe));
    RETURN_IF_ERROR(sockets->listener_.Bind(listen));
    sockets->listens_ = true;
  }
  MutexLock lock(sockets->mu_);
  for (const std::string& endpoint : dial) {
    sockets->dialled_.push_back(std::make_unique<Dialled>());
    sockets->dialled_.back()->endpoint = endpoint;
    sockets->status_.push_back({.endpoint = endpoint, .last_error = "not reached yet"});
    // Tried once here, so that a bad endpoint is an error of the start.
    RETURN_IF_ERROR(sockets->Connect(*sockets->dialled_.back()));
  }
  return sockets;
}

absl::Status PeerSockets::Connect(Dialled& dialled) {
  ASSIGN_OR_RETURN(dialled.socket, ZmqSocket::Open(*context_, ZmqSocket::Kind::kDial));
  ASSIGN_OR_RETURN(dialled.events, dialled.socket.Monitor(*context_));
  RETURN_IF_ERROR(dialled.socket.Connect(dialled.endpoint));
  dialled.key = fmt::format("{}{}", kKeyPrefix, ++connections_);
  dialled.state = Dialled::State::kConnecting;
  dialled.deadline = Time::max();
  return absl::OkStatus();
}

void PeerSockets::Disconnect(Dialled& dialled, const std::string& why, bool refused, Time now) {
  dialled.socket.Close();
  dialled.events.Close();
  dialled.state = Dialled::State::kDown;
  const milliseconds delay =
      refused ? kRedialRefused
              : std::min(kRedialMost, kRedialFirst * (1 << std::min(dialled.attempts, 10)));
  ++dialled.attempts;
  dialled.deadline = now + delay;
  bool is_new = true;
  {
    MutexLock lock(mu_);
    for (const DialStatus& status : status_) {
      if (status.endpoint == dialled.endpoint) is_new = status.last_error != why;
    }
  }
  if (is_new) {  // not at each of a thousand attempts
    LogInfo("replication", fmt::format("dial={} why=\"{}\"", dialled.endpoint, why));
  }
  SetStatus(dialled, &why);
}

void PeerSockets::SetStatus(const Dialled& dialled, const std::string* error) {
  MutexLock lock(mu_);
  for (DialStatus& status : status_) {
    if (status.endpoint != dialled.endpoint) continue;
    status.in_session = dialled.state == Dialled::State::kInSession;
    if (status.in_session) status.last_error.clear();
    if (error != nullptr) status.last_error = *error;
  }
}

void PeerSockets::Turn(Time now, const Envelope& envelope, const Call* call,
                       std::vector<std::string>* gone) {
  if (call == nullptr) return;
  for (const auto& dialled : dialled_) {
    if (dialled->state == Dialled::State::kDown) {
      if (now < dialled->deadline) continue;
      if (const absl::Status status = Connect(*dialled); !status.ok()) {
        Disconnect(*dialled, std::string(status.message()), /*refused=*/true, now);
      }
      continue;
    }
    ReadEvents(*dialled, now, envelope, *call, gone);
    if (dialled->state == Dialled::State::kCalled && !dialled->call_pending &&
        now >= dialled->deadline) {
      Disconnect(*dialled, "it does not answer", /*refused=*/false, now);
    }
  }
}

void PeerSockets::ReadEvents(Dialled& dialled, Time now, const Envelope& envelope, const Call& call,
                             std::vector<std::string>* gone) {
  while (dialled.state != Dialled::State::kDown) {
    std::string why;
    const std::optional<ZmqSocket::Event> event = dialled.events.ReadEvent(&why);
    if (!event) break;
    if (*event == ZmqSocket::Event::kRefused) {
      Disconnect(dialled, why, /*refused=*/true, now);
    } else if (*event == ZmqSocket::Event::kDisconnected &&
               dialled.state != Dialled::State::kConnecting) {
      gone->push_back(dialled.key);
      Disconnect(dialled, "the connection was lost", /*refused=*/false, now);
    } else if (*event == ZmqSocket::Event::kConnected &&
               dialled.state == Dialled::State::kConnecting) {
      dialled.state = Dialled::State::kCalled;
      dialled.call_pending = true;
    }
  }
  if (dialled.state != Dialled::State::kCalled || !dialled.call_pending) return;
  Frame frames[] = {MakeFrame(Encode(envelope, call))};
  dialled.call_pending = !dialled.socket.Send(frames).ok();
  dialled.deadline = now + (dialled.call_pending ? kSendRetry : kAnswerDeadline);
}

PeerSockets::Time PeerSockets::NextDeadline() const {
  Time next = Time::max();
  for (const auto& dialled : dialled_) {
    const bool waits =
        dialled->state == Dialled::State::kDown || dialled->state == Dialled::State::kCalled;
    if (waits) next = std::min(next, dialled->deadline);
  }
  return next;
}

void PeerSockets::AddPollItems(std::vector<zmq::pollitem_t>* items) {
  if (listens_) items->push_back({listener_.handle(), 0, ZMQ_POLLIN, 0});
  for (const auto& dialled : dialled_) {
    if (dialled->state == Dialled::State::kDown) continue;
    items->push_back({dialled->socket.handle(), 0, ZMQ_POLLIN, 0});
    items->push_back({dialled->events.handle(), 0, ZMQ_POLLIN, 0});
  }
}

absl::Status PeerSockets::Receive(std::vector<Frame>* frames) {
  const size_t count = dialled_.size() + 1;
  for (size_t i = 0; i < count; ++i) {
    const size_t at = next_++ % count;
    if (at == dialled_.size()) {
      if (!listens_) continue;
      const absl::Status status = listener_.Receive(frames);
      if (!absl::IsUnavailable(status)) return status;
      continue;
    }
    Dialled& dialled = *dialled_[at];
    if (dialled.state == Dialled::State::kDown) continue;
    const absl::Status status = dialled.socket.Receive(frames);
    if (absl::IsUnavailable(status)) continue;
    frames->insert(frames->begin(), MakeFrame(dialled.key));
    return status;
  }
  return absl::UnavailableError("");
}

absl::Status PeerSockets::Send(std::span<Frame> frames) {
  const std::string_view key = Text(frames[0]);
  if (!IsDialled(key)) {
    return listens_ ? listener_.Send(frames) : absl::NotFoundError("");
  }
  Dialled* const dialled = Find(key);
  return dialled == nullptr ? absl::NotFoundError("") : dialled->socket.Send(frames.subspan(1));
}

PeerSockets::Dialled* PeerSockets::Find(std::string_view key) {
  for (const auto& dialled : dialled_) {
    if (dialled->key == key && dialled->state != Dialled::State::kDown) return dialled.get();
  }
  return nullptr;
}

void PeerSockets::SessionBegan(std::string_view key) {
  Dialled* const dialled = Find(key);
  if (dialled == nullptr) return;
  dialled->state = Dialled::State::kInSession;
  dialled->attempts = 0;
  SetStatus(*dialled, nullptr);
}

void PeerSockets::SessionEnded(std::string_view key, const std::string& why, bool refused) {
  Dialled* const dialled = Find(key);
  if (dialled != nullptr) Disconnect(*dialled, why, refused, SystemClock().Boot());
}

std::string PeerSockets::endpoint() const { return listens_ ? listener_.BoundEndpoint() : ""; }

std::vector<DialStatus> PeerSockets::Status() const {
  MutexLock lock(mu_);
  return status_;
}

void PeerSockets::Close() {
  listener_.Close();
  listens_ = false;
  for (const auto& dialled : dialled_) {
    dialled->socket.Close();
    dialled->events.Close();
  }
  dialled_.clear();
}

}  // namespace litefs::replication
