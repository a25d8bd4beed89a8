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
};

// Orders the making of a payload before its end on ZeroMQ's thread, by our own means: libzmq does
// so too, but a ThreadSanitizer that does not see inside it would not know.
std::atomic<uint64_t> payloads_in_flight{0};

void Release(void* /*data*/, void* hint) {
  payloads_in_flight.fetch_sub(1, std::memory_order_acq_rel);
  const std::unique_ptr<Payload> payload(static_cast<Payload*>(hint));
  payload->queued->fetch_sub(payload->size_bytes, std::memory_order_acq_rel);
}

}  // namespace

absl::StatusOr<Frame> ReadCountedFrame(const ChainFile& file, uint64_t offset, size_t size_bytes,
                                       const QueuedBytes& queued) {
  auto payload = std::make_unique<Payload>(
      Payload{std::make_unique_for_overwrite<std::byte[]>(size_bytes), size_bytes, queued});
  RETURN_IF_ERROR(ReadExactAt(file.fd.get(), std::span(payload->data.get(), size_bytes), offset,
                              "an LTX file"));
  queued->fetch_add(size_bytes, std::memory_order_acq_rel);
  std::byte* const data = payload->data.get();
  Payload* const hint = payload.release();
  payloads_in_flight.fetch_add(1, std::memory_order_acq_rel);
  // NOLINTNEXTLINE(clang-analyzer-cplusplus.NewDeleteLeaks): ZeroMQ ends it with Release.
  return Frame(data, size_bytes, Release, hint);
}

}  // namespace litefs::replication
