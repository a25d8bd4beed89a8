// What a PullServer does for replicas whose apps write (docs/FORWARDING.md).

#include <string>
#include <variant>
#include <vector>

#include "daemon/replication/halt_server.h"
#include "daemon/replication/pull_server.h"

namespace litefs::replication {

// Only a Forward has a payload.
absl::StatusOr<Message> PullServer::DecodeRequest(const std::vector<Frame>& frames) {
  const absl::Status wrong =
      absl::InvalidArgumentError("malformed message: wrong number of frames");
  if (frames.size() < 2 || frames.size() > 3) return wrong;
  absl::StatusOr<Message> message = Decode(Text(frames[1]), kMaxRequestBytes);
  const bool forward = message.ok() && std::holds_alternative<Forward>(message->body);
  if (message.ok() && (frames.size() == 3) != forward) return wrong;
  if (forward && frames[2].size() > kForwardChunkBytes) return wrong;
  return message;
}

// False: it is about something else.
bool PullServer::HandleForwarding(Peer& peer, const Body& body,
                                  std::span<const std::byte> payload) {
  const bool asks = std::holds_alternative<Halt>(body);
  const bool ends = std::holds_alternative<KeepHalt>(body) || std::holds_alternative<EndHalt>(body);
  const bool transaction =
      std::holds_alternative<Forward>(body) || std::holds_alternative<AskOutcome>(body);
  if (!asks && !ends && !transaction) return false;
  if (parts_.halts != nullptr) {
    parts_.halts->Handle({.session = peer.key,
                          .node_id = peer.node_id,
                          .body = body,
                          .payload = {payload.begin(), payload.end()}});
  } else if (asks) {
    SendTo(peer, Halted{.request = std::get<Halt>(body).request,
                        .text = "the node that is followed is no primary that takes writes"});
  }
  return true;
}

void PullServer::Send(const std::vector<HaltServer::Answer>& answers) {
  for (const HaltServer::Answer& answer : answers) {
    const auto it = peers_.find(answer.session);
    if (it != peers_.end()) SendTo(it->second, answer.body);
  }
  DropGonePeers();
}

}  // namespace litefs::replication
