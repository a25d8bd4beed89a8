// What an app's session on a replica's database says, taken apart and passed on (replica_writes.h).

#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "daemon/session/replica_writes.h"

namespace litefs::session {

struct ReplicaEvent {
  ReplicaWrites* writes = nullptr;  // null: writes are not forwarded
  uint64_t session = 0;
  store::Store::Entry* entry = nullptr;
  // The answer to the session's request of this number.
  std::function<ReplicaWrites::Answer(uint64_t request)> answer_to;
};

// False ends the session: the message was not understood, or says what has no place on a replica.
bool HandleReplicaEvent(const ReplicaEvent& event, uint32_t type, std::string_view message);

}  // namespace litefs::session
