// Whatever arrives on a ZeroMQ socket as one frame: its parts lie within it, and what they join to
// is the frame again; the header's codec follows.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "common/check.h"
#include "daemon/replication/message.h"
#include "daemon/replication/zmq_socket.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace litefs::replication;
  const Frame frame(data, size);
  std::vector<Frame> parts;
  if (!SplitParts(frame, &parts)) return 0;
  for (const Frame& part : parts) {
    (void)Decode({static_cast<const char*>(part.data()), part.size()}, kMaxRequestBytes);
  }
  const Frame again = JoinParts(parts);
  CHECK(again.size() == size && std::memcmp(again.data(), data, size) == 0);
  return 0;
}
