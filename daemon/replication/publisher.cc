#include "daemon/replication/publisher.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "common/log.h"
#include "common/status_macros.h"

namespace litefs::replication {
namespace {

// The bound on queued_bytes_.  A file may take a part of what is left, so that small transactions
// still find room when large ones have filled most of it.
constexpr uint64_t kMaxQueuedBytes = 64 << 20;
constexpr uint64_t kShareOfRoom = 32;
constexpr int kMaxSubscriptionsATurn = 256;

}  // namespace

Publisher::Publisher(ZmqSocket socket, Envelope envelope)
    : socket_(std::move(socket)),
      envelope_(std::move(envelope)),
      topic_(Topic(envelope_.cluster_id)),
      queued_bytes_(std::make_shared<std::atomic<uint64_t>>(0)) {}

absl::StatusOr<std::unique_ptr<Publisher>> Publisher::Open(Context& context,
                                                           const std::string& endpoint,
                                                           const Envelope& envelope) {
  ASSIGN_OR_RETURN(ZmqSocket socket, ZmqSocket::Open(context, ZmqSocket::Kind::kPublish));
  RETURN_IF_ERROR(socket.Bind(endpoint));
  return std::unique_ptr<Publisher>(new Publisher(std::move(socket), envelope));
}

Frame Publisher::ReadPayload(const ChainFile& file) {
  const uint64_t queued = queued_bytes_->load(std::memory_order_acquire);
  const uint64_t room = kMaxQueuedBytes - std::min(queued, kMaxQueuedBytes);
  if (file.size_bytes > kMaxInlineBytes || file.size_bytes > room / kShareOfRoom) return Frame();
  absl::StatusOr<Frame> frame = ReadCountedFrame(file, 0, file.size_bytes, queued_bytes_);
  if (frame.ok()) return *std::move(frame);
  LogWarn("publish", fmt::format("error=\"{}\"", std::string(frame.status().message())));
  return Frame();
}

void Publisher::Publish(const std::string& database, const ChainFile& file, uint64_t sequence) {
  if (subscribers_ <= 0) return;
  Transaction transaction{
      .sequence = sequence,
      .database = database,
      .file = {file.min_txid, file.max_txid, file.pre_apply, file.post_apply, file.size_bytes},
      .committed_ms = file.committed_ms,
      .end_bytes = file.end_bytes};
  Frame payload = ReadPayload(file);
  transaction.has_payload = payload.size() != 0;
  if (transaction.has_payload) {
    transaction.digest = Digest(Bytes(payload));
  } else {
    ++announced_only_;
  }
  Frame frames[] = {MakeFrame(topic_), MakeFrame(Encode(envelope_, transaction)),
                    std::move(payload)};
  // A subscriber whose queue is full does not get it; nothing is reported, and nothing waits.
  socket_.Send(std::span(frames, transaction.has_payload ? 3 : 2)).IgnoreError();
}

// Nobody has subscribed to another cluster's topic: nobody has been told of it.
void Publisher::Renew(const Envelope& envelope) {
  envelope_ = envelope;
  if (const std::string topic = Topic(envelope.cluster_id); topic != topic_) {
    topic_ = topic;
    subscribers_ = 0;
  }
}

void Publisher::Send(const Beacon& beacon) {
  if (subscribers_ <= 0) return;
  Frame frames[] = {MakeFrame(topic_), MakeFrame(Encode(envelope_, beacon))};
  socket_.Send(frames).IgnoreError();
}

bool Publisher::ReadSubscriptions() {
  bool came = false;
  std::vector<Frame> frames;  // one frame: 1 or 0, then the topic
  for (int i = 0; i < kMaxSubscriptionsATurn; ++i) {
    const absl::Status status = socket_.Receive(&frames);
    if (absl::IsUnavailable(status)) break;
    if (!status.ok() || frames.size() != 1) continue;
    const std::string_view text = Text(frames[0]);
    // Other clusters' topics, and anything else that strangers send, are not ours to count.
    if (text.size() != 1 + kTopicBytes || text.substr(1) != topic_) continue;
    subscribers_ += text[0] == 1 ? 1 : -1;
    came = came || text[0] == 1;
  }
  subscribers_ = std::max<int64_t>(subscribers_, 0);
  return came;
}

}  // namespace litefs::replication
