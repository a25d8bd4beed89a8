// The codec of replication messages: whatever is accepted is within its limits and survives a
// round trip.

#include <cstddef>
#include <cstdint>

#include "common/check.h"
#include "daemon/replication/message.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace litefs::replication;
  const std::string_view header(reinterpret_cast<const char*>(data), size);
  const absl::StatusOr<Message> message = Decode(header);
  if (!message.ok()) return 0;
  const std::string again = Encode(message->envelope, message->body);
  CHECK(again.size() <= kMaxHeaderBytes);
  const absl::StatusOr<Message> copy = Decode(again);
  CHECK(copy.ok());
  CHECK(copy->envelope == message->envelope && copy->body == message->body);
  return 0;
}
