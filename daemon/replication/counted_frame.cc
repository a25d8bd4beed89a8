#include "daemon/replication/counted_frame.h"

#include <span>

#include "common/posix_io.h"
#include "common/status_macros.h"

namespace litefs::replication {
namespace {

// Shared by all the queues it is in; ends on ZeroMQ's thread.
struct Payload {
  std::unique_ptr<std::byte[]> data;
  size_t size_bytes;
  QueuedBytes queued;

  ~Payload() { queued->fetch_sub(size_bytes, std::memory_order_acq_rel); }
};

}  // namespace

absl::StatusOr<Frame> ReadCountedFrame(const ChainFile& file, uint64_t offset, size_t size_bytes,
                                       const QueuedBytes& queued) {
  auto data = std::make_unique_for_overwrite<std::byte[]>(size_bytes);
  const std::span<std::byte> bytes(data.get(), size_bytes);
  RETURN_IF_ERROR(ReadExactAt(file.fd.get(), bytes, offset, "an LTX file"));
  queued->fetch_add(size_bytes, std::memory_order_acq_rel);
  return MakeFrameOver(bytes,
                       std::unique_ptr<Payload>(new Payload{std::move(data), size_bytes, queued}));
}

}  // namespace litefs::replication
