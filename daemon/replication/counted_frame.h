// A payload frame whose bytes are counted for as long as ZeroMQ holds them, so that what sits in
// queues for slow peers is known and can be bounded.

#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "daemon/replication/chain.h"
#include "daemon/replication/zmq_socket.h"

namespace litefs::replication {

// Bytes in ZeroMQ's hands.  Any thread.
using QueuedBytes = std::shared_ptr<std::atomic<uint64_t>>;

// Reads size_bytes of file at offset into a frame, which adds to queued until its last copy is
// sent or dropped.
absl::StatusOr<Frame> ReadCountedFrame(const ChainFile& file, uint64_t offset, size_t size_bytes,
                                       const QueuedBytes& queued);

}  // namespace litefs::replication
