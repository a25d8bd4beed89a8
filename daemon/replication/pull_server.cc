#include "daemon/replication/pull_server.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "common/clock.h"
#include "common/log.h"
#include "common/status_macros.h"

namespace litefs::replication {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

constexpr int kMaxRequestsATurn = 256;
constexpr int kMaxSendsATurn = 8;  // per peer, so that all have their turn
constexpr int kMaxSnapshotsInARow = 3;
constexpr std::chrono::seconds kForgetPeerAfter{60};
constexpr milliseconds kRetryBlockedPeer{50};

FileIdentity IdentityOf(const ChainFile& file) {
  return {file.min_txid, file.max_txid, file.pre_apply, file.post_apply, file.size_bytes};
}

ltx::Position After(const ChainFile& file) { return {file.max_txid, file.post_apply}; }

// The replica has a content that belongs to no chain.
bool HasForeignContent(const ltx::Position& position) {
  return position.txid == 0 && position != ltx::Position();
}

// Why a peer is dropped that is a new one at once.
constexpr std::string_view kNewSession = "a new session";

uint64_t NextChunkBytes(const PullStream& stream) {
  return std::min<uint64_t>(kChunkBytes, stream.file->size_bytes - stream.offset);
}

std::string TextOf(const absl::Status& status) { return std::string(status.message()); }

}  // namespace

PullServer::PullServer(std::unique_ptr<PeerSockets> sockets, Identity identity, Parts parts)
    : sockets_(std::move(sockets)), identity_(std::move(identity)), parts_(parts) {}

void PullServer::Renew(Identity identity) {
  while (!peers_.empty()) {
    const std::string key = peers_.begin()->first;
    Refuse(key, RefusalCode::kNoSession, 0, "this node follows another one now");
    DropPeer(key, "this node follows another one now");
  }
  identity_ = std::move(identity);
}

void PullServer::Dial(nanoseconds now) {
  const Call call{identity_.welcome.node_id};
  std::vector<std::string> gone;
  sockets_->Turn(now, identity_.envelope, identity_.ready ? &call : nullptr, &gone);
  for (const std::string& key : gone) DropPeer(key, "disconnected");
}

// ---- Requests
// ------------------------------------------------------------------------------------

bool PullServer::ReadRequests() {
  std::vector<Frame> frames;  // routing id, header
  for (int i = 0; i < kMaxRequestsATurn; ++i) {
    const absl::Status status = sockets_->Receive(&frames);
    if (absl::IsUnavailable(status)) return false;
    if (status.ok()) {
      HandleFrames(frames);
    } else if (absl::IsInvalidArgument(status) && !frames.empty()) {
      ++counters_.malformed;
      sockets_->Blame(frames[0]);
      const std::string key(Text(frames[0]));
      DropPeer(key, TextOf(status));
      Refuse(key, RefusalCode::kMalformed, 0, TextOf(status));
    } else {
      LogError("replication", fmt::format("receive error=\"{}\"", TextOf(status)));
      return false;
    }
  }
  return true;
}

void PullServer::HandleFrames(std::vector<Frame>& frames) {
  const std::string key(Text(frames[0]));
  absl::StatusOr<Message> message = DecodeRequest(frames);
  if (!message.ok()) {
    ++counters_.malformed;
    sockets_->Blame(frames[0]);
    DropPeer(key, TextOf(message.status()));
    const bool version = absl::IsUnimplemented(message.status());
    return Refuse(key, version ? RefusalCode::kWrongVersion : RefusalCode::kMalformed, 0,
                  TextOf(message.status()));
  }
  if (const auto* refused = std::get_if<Refused>(&message->body)) {
    DropPeer(key, refused->text);
    return sockets_->SessionEnded(key, refused->text, refused->code != RefusalCode::kNoSession);
  }
  if (!identity_.ready) {
    return Refuse(key, RefusalCode::kNotReady, 0,
                  "this replica has not reached a primary itself since its start");
  }
  const Envelope& from = message->envelope;
  const Hello* hello = std::get_if<Hello>(&message->body);
  const bool adopts = hello != nullptr && from.cluster_id.empty();
  const Envelope& here = identity_.envelope;
  if (from.cluster_id != here.cluster_id && !adopts) {
    return Refuse(
        key, RefusalCode::kWrongCluster, 0,
        fmt::format("this is cluster \"{}\", not \"{}\"", here.cluster_id, from.cluster_id));
  }
  if (from.epoch > here.epoch) {
    return Refuse(
        key, RefusalCode::kStaleEpoch, 0,
        fmt::format("this primary's epoch is {}, a later one is {}", here.epoch, from.epoch));
  }
  if (hello != nullptr) return OnHello(key, *hello);
  Peer* peer = SessionOf(key, from);
  if (peer == nullptr) return Refuse(key, RefusalCode::kNoSession, 0, "say hello first");
  peer->seen = SystemClock().Boot();
  parts_.peers->Seen(key);
  Handle(*peer, message->body,
         frames.size() == 3 ? Bytes(frames[2]) : std::span<const std::byte>());
}

PullServer::Peer* PullServer::SessionOf(const std::string& key, const Envelope& envelope) {
  const auto it = peers_.find(key);
  if (it == peers_.end() || envelope.instance != identity_.envelope.instance) return nullptr;
  return &it->second;
}

void PullServer::Handle(Peer& peer, const Body& body, std::span<const std::byte> payload) {
  if (const auto* pull = std::get_if<Pull>(&body)) return OnPull(peer, *pull);
  if (const auto* ack = std::get_if<Ack>(&body)) return OnAck(peer, *ack);
  if (const auto* mode = std::get_if<Mode>(&body)) return OnMode(peer, *mode);
  if (const auto* credit = std::get_if<Credit>(&body)) return peer.Grant(*credit);
  if (const auto* request = std::get_if<PositionsRequest>(&body)) {
    peer.positions = *request;  // answered when there is credit; a later one replaces it
    return;
  }
  if (const auto* sums = std::get_if<Sums>(&body)) return OnSums(peer, *sums);
  if (const auto* ping = std::get_if<Ping>(&body)) return OnPing(peer, *ping);
  if (HandleForwarding(peer, body, payload)) return;
  // A message that only a primary sends.
  ++counters_.malformed;
  const std::string key = peer.key;
  DropPeer(key, "a primary's message");
  Refuse(key, RefusalCode::kMalformed, 0, "only a primary sends this");
}

void PullServer::OnHello(const std::string& key, const Hello& hello) {
  DropPeer(key, kNewSession);
  if (peers_.size() >= kMaxPeers) {
    return Refuse(key, RefusalCode::kTooMany, 0, fmt::format("{} replicas already", kMaxPeers));
  }
  Peer& peer = peers_.try_emplace(key, key, hello, SystemClock().Boot()).first->second;
  push_peers_ += peer.push ? 1 : 0;
  joined_ = true;
  parts_.peers->Join(key, hello.node_id);
  LogInfo("replication", fmt::format("replica joined node={}", hello.node_id));
  sockets_->SessionBegan(key);
  Welcome welcome = identity_.welcome;
  if (PeerSockets::IsDialled(key)) welcome.publishes = false;  // one connection is all there is
  SendTo(peer, welcome);
  DropGonePeers();
}

// Answered at once if it can be, since the time that passes counts.
void PullServer::OnPing(Peer& peer, const Ping& ping) {
  const std::optional<int64_t> now_us = parts_.time->Us();
  peer.pong = Pong{.sent_us = ping.sent_us,
                   .received_us = static_cast<uint64_t>(now_us.value_or(0)),
                   .answered_us = 0};
  if (peer.HasCredit()) SendPong(peer);
}

void PullServer::OnPull(Peer& peer, const Pull& pull) {
  if (const Stream* old = peer.FindDatabase(pull.database)) peer.Close(old->id);
  if (parts_.tips->Find(pull.database) == nullptr) {
    return Refuse(peer.key, RefusalCode::kUnknownDatabase, pull.stream,
                  fmt::format("no database \"{}\"", pull.database));
  }
  if (peer.Find(pull.stream) != nullptr) {
    return Refuse(peer.key, RefusalCode::kMalformed, pull.stream, "stream id in use");
  }
  if (MakeRoomForStream(peer, pull)) peer.Open(pull);
}

// An idle stream is only a convenience and gives way; its replica pulls again when it must.
bool PullServer::MakeRoomForStream(Peer& peer, const Pull& pull) {
  if (!peer.full()) return true;
  const std::string text = fmt::format("{} streams already", kMaxStreamsPerPeer);
  const Stream* idle = peer.FindIdle();
  if (idle == nullptr) {
    Refuse(peer.key, RefusalCode::kTooMany, pull.stream, text);
    return false;
  }
  RefuseStream(peer, idle->id, RefusalCode::kTooMany, text);
  return true;
}

void PullServer::OnAck(Peer& peer, const Ack& ack) {
  if (parts_.tips->Find(ack.database) == nullptr) return;  // or strangers' names would pile up
  parts_.peers->Acknowledged(peer.key, ack.database, ack.position);
  Stream* const stream = peer.FindDatabase(ack.database);
  if (stream != nullptr && stream->state == Stream::State::kIdle) stream->position = ack.position;
}

void PullServer::OnMode(Peer& peer, const Mode& mode) {
  if (peer.push == mode.push) return;
  peer.push = mode.push;
  if (!mode.push) {
    --push_peers_;
    return;
  }
  ++push_peers_;
  beacon_wanted_ = true;
  for (auto& [id, stream] : peer.streams()) {
    if (stream.state != Stream::State::kIdle) continue;
    const TipTable::Tip* tip = parts_.tips->Find(stream.database);
    if (tip != nullptr && tip->position != stream.position) peer.SetReady(stream);
  }
}

// ---- Events of the primary
// -----------------------------------------------------------------------

void PullServer::TipChanged(const std::string& database) {
  for (auto& [key, peer] : peers_) {
    if (!peer.push) continue;
    Stream* const stream = peer.FindDatabase(database);
    if (stream != nullptr && stream->state == Stream::State::kIdle) peer.SetReady(*stream);
  }
}

void PullServer::Forget(const std::string& database) {
  parts_.peers->ForgetDatabase(database);
  for (auto& [key, peer] : peers_) {
    const Stream* const stream = peer.FindDatabase(database);
    if (stream == nullptr) continue;
    RefuseStream(peer, stream->id, RefusalCode::kUnknownDatabase, "the database was dropped");
  }
}

void PullServer::SnapshotReady(const SnapshotWorker::Result& result) {
  for (auto& [key, peer] : peers_) {
    Stream* const found = peer.FindDatabase(result.database);
    if (found == nullptr) continue;
    Stream& stream = *found;
    if (stream.state != Stream::State::kSnapshot || stream.sums != result.base) continue;
    stream.sums.reset();
    if (result.file.ok()) {
      counters_.deltas += result.base != nullptr ? 1 : 0;
      stream.file = *result.file;
      stream.is_snapshot = true;
      stream.offset = 0;
      peer.SetReady(stream);
      continue;
    }
    if (result.base != nullptr && absl::IsFailedPrecondition(result.file.status())) {
      MakeSnapshot(peer, stream);
      continue;
    }
    const bool unknown = absl::IsNotFound(result.file.status());
    RefuseStream(peer, stream.id,
                 unknown ? RefusalCode::kUnknownDatabase : RefusalCode::kUnavailable,
                 TextOf(result.file.status()));
  }
}

void PullServer::Send(const Beacon& beacon) {
  for (auto& [key, peer] : peers_) {
    // Without credit the replica is busy receiving; the next beacon says the same.
    if (peer.push && peer.HasCredit()) SendTo(peer, beacon);
  }
  DropGonePeers();
}

// ---- Sending
// -------------------------------------------------------------------------------------

bool PullServer::Pump() {
  bool more = false;
  for (auto& [key, peer] : peers_) more = PumpPeer(peer) || more;
  DropGonePeers();
  return more;
}

bool PullServer::PumpPeer(Peer& peer) {
  for (int i = 0; i < kMaxSendsATurn; ++i) {
    if (peer.gone || !peer.HasCredit()) return false;
    if (peer.blocked_until > SystemClock().Boot()) return false;
    if (peer.pong) {
      if (!SendPong(peer)) return false;
    } else if (peer.positions) {
      if (!SendPositions(peer)) return false;
    } else if (!peer.ready.empty() && peer.sending.size() < kMaxOpenFiles) {
      if (!StartNextStream(peer)) return false;
    } else if (FindSendable(peer)) {
      if (!SendChunk(peer)) return false;
    } else {
      return false;
    }
  }
  return true;
}

bool PullServer::StartNextStream(Peer& peer) {
  const uint64_t id = peer.ready.front();
  peer.ready.pop_front();
  Stream* const stream = peer.Find(id);
  if (stream == nullptr || stream->state != Stream::State::kReady) return true;
  if (OpenNextFile(peer, *stream)) return true;
  peer.ready.push_front(id);
  return false;
}

// Gives a ready stream its next file, or ends its readiness.  Returns false if the peer cannot be
// sent to now; then nothing has changed.  May close the stream.
bool PullServer::OpenNextFile(Peer& peer, Stream& stream) {
  if (stream.file == nullptr && !OpenPartial(stream)) {
    absl::StatusOr<ChainFile> file = absl::OutOfRangeError("content of no chain");
    if (!HasForeignContent(stream.position)) {
      file = parts_.source->FileAfter(stream.database, stream.position);
    }
    if (absl::IsNotFound(file.status())) return SendCurrent(peer, stream);
    if (absl::IsOutOfRange(file.status())) {
      return NeedSnapshot(peer, stream);
    } else if (!file.ok()) {
      RefuseStream(peer, stream.id, RefusalCode::kUnavailable, TextOf(file.status()));
      return true;
    } else {
      const bool resumes = IdentityOf(*file) == stream.partial.partial;
      stream.offset = resumes ? stream.partial.partial_offset : 0;
      stream.file = std::make_shared<const ChainFile>(*std::move(file));
      stream.is_snapshot = false;
      stream.snapshots_in_a_row = 0;
      stream.sums_tried = false;
    }
  }
  if (stream.file == nullptr) return true;
  stream.partial = Pull();
  counters_.resumed += stream.offset != 0 ? 1 : 0;
  counters_.snapshots += stream.is_snapshot ? 1 : 0;
  peer.SetSending(stream);
  return true;
}

// Continues an interrupted snapshot, if it is still there: a new one would begin from nothing.
bool PullServer::OpenPartial(Stream& stream) {
  if (stream.partial.partial.min_txid != 1) return false;
  SharedFile kept = parts_.snapshots->Kept(stream.database, stream.partial.partial_offset);
  if (kept == nullptr || IdentityOf(*kept) != stream.partial.partial) return false;
  stream.file = std::move(kept);
  stream.is_snapshot = true;
  stream.offset = stream.partial.partial_offset;
  return true;
}

// The chain does not reach to where the replica is.  What it has may be close all the same: then
// the pages that differ will do.  False: as OpenNextFile.
bool PullServer::NeedSnapshot(Peer& peer, Stream& stream) {
  const bool has_content = stream.position != ltx::Position();
  if (has_content && !stream.sums_tried && *sums_held_ < kMaxSumsHeld) {
    if (!AskForSums(peer, stream)) return false;
    stream.sums_tried = true;
    return true;
  }
  MakeSnapshot(peer, stream);
  return true;
}

// May close the stream.
void PullServer::MakeSnapshot(Peer& peer, Stream& stream) {
  stream.sums.reset();
  if (++stream.snapshots_in_a_row > kMaxSnapshotsInARow) {
    return RefuseStream(peer, stream.id, RefusalCode::kUnavailable,
                        "the chain does not continue from its own snapshot");
  }
  // One that was made for another replica will do if the chain goes on from it.
  if (SharedFile kept = parts_.snapshots->Kept(stream.database, 0); kept != nullptr) {
    const absl::StatusOr<ChainFile> next = parts_.source->FileAfter(stream.database, After(*kept));
    if (next.ok() || absl::IsNotFound(next.status())) {
      stream.file = std::move(kept);
      stream.is_snapshot = true;
      stream.offset = 0;
      return peer.SetReady(stream);
    }
  }
  stream.state = Stream::State::kSnapshot;
  parts_.snapshots->Request(stream.database);
}

// Asks for the next part of what the replica has.
bool PullServer::AskForSums(Peer& peer, Stream& stream) {
  auto sums = stream.sums != nullptr ? stream.sums : std::make_shared<HeldSums>(sums_held_);
  if (!SendTo(peer, sums->NextRequest(stream.id, stream.database))) return false;
  stream.sums = std::move(sums);
  stream.state = Stream::State::kSums;
  return true;
}

void PullServer::OnSums(Peer& peer, const Sums& sums) {
  Stream* const stream = peer.Find(sums.stream);
  if (stream == nullptr || stream->state != Stream::State::kSums) return;
  switch (stream->sums->Take(sums)) {
    case HeldSums::Part::kMore:
      return;
    case HeldSums::Part::kAsk:
      if (AskForSums(peer, *stream)) return;
      return RefuseStream(peer, stream->id, RefusalCode::kUnavailable, "try again");
    case HeldSums::Part::kComplete:
      stream->state = Stream::State::kSnapshot;
      return parts_.snapshots->Request(stream->database, stream->sums);
    case HeldSums::Part::kNothing:
      return MakeSnapshot(peer, *stream);
    case HeldSums::Part::kMalformed:
      return RefuseStream(peer, stream->id, RefusalCode::kMalformed, "page checksums out of order");
  }
}

bool PullServer::SendCurrent(Peer& peer, Stream& stream) {
  if (parts_.tips->Find(stream.database) == nullptr) {
    RefuseStream(peer, stream.id, RefusalCode::kUnknownDatabase, "the database was dropped");
    return true;
  }
  if (stream.owes_current) {
    if (!SendTo(peer, Current{stream.id, stream.database, stream.position})) return false;
    stream.owes_current = false;
  }
  stream.state = Stream::State::kIdle;
  stream.partial = Pull();
  stream.snapshots_in_a_row = 0;
  stream.sums_tried = false;
  return true;
}

// Puts a stream in front whose next chunk is there.  False: none; for those of growing files the
// SnapshotWorker's wake-up comes.
bool PullServer::FindSendable(Peer& peer) {
  for (size_t left = peer.sending.size(); left > 0; --left) {
    const uint64_t id = peer.sending.front();
    Stream* const stream = peer.Find(id);
    const bool failed = stream != nullptr && stream->file->failed();
    if (stream != nullptr && !failed) {
      if (stream->file->ready_bytes() >= stream->offset + NextChunkBytes(*stream)) return true;
      peer.sending.push_back(id);
    }
    peer.sending.pop_front();
    if (failed) BeginSnapshotAnew(peer, *stream);
  }
  return false;
}

// The database went on while its snapshot was made.  May close the stream.
void PullServer::BeginSnapshotAnew(Peer& peer, Stream& stream) {
  stream.file.reset();
  stream.offset = 0;
  --stream.snapshots_in_a_row;  // this one did not count
  MakeSnapshot(peer, stream);
}

// Sends one chunk of the stream in front.  REQUIRES: FindSendable.
bool PullServer::SendChunk(Peer& peer) {
  const uint64_t id = peer.sending.front();
  Stream& stream = *peer.Find(id);
  const uint64_t size = NextChunkBytes(stream);
  absl::StatusOr<Frame> payload =
      ReadCountedFrame(*stream.file, stream.offset, size, peer.queued_bytes);
  if (!payload.ok()) {
    peer.sending.pop_front();
    RefuseStream(peer, id, RefusalCode::kUnavailable, TextOf(payload.status()));
    return true;
  }
  const Chunk chunk{.stream = id,
                    .database = stream.database,
                    .snapshot = stream.is_snapshot,
                    .file = IdentityOf(*stream.file),
                    .offset = stream.offset,
                    .digest = Digest(Bytes(*payload)),
                    .committed_ms = stream.file->committed_ms,
                    .end_bytes = stream.file->end_bytes};
  if (!SendTo(peer, chunk, *std::move(payload))) return false;
  ++counters_.chunks;
  peer.sending.pop_front();
  stream.offset += size;
  if (stream.is_snapshot) parts_.snapshots->NoteRead(stream.file, stream.offset);
  if (stream.offset < stream.file->size_bytes) {
    peer.sending.push_back(id);
    return true;
  }
  stream.position = After(*stream.file);
  stream.file.reset();
  peer.SetReady(stream);
  return true;
}

bool PullServer::SendPositions(Peer& peer) {
  Positions positions;
  positions.request = peer.positions->request;
  positions.sequence = parts_.tips->sequence();
  positions.complete = parts_.source->Complete();
  positions.databases =
      parts_.tips->Page(peer.positions->after, kMaxListedDatabases, &positions.last);
  if (!SendTo(peer, positions)) return false;
  peer.positions.reset();
  return true;
}

bool PullServer::SendPong(Peer& peer) {
  Pong pong = *peer.pong;
  const std::optional<int64_t> now_us = parts_.time->Us();
  if (!now_us || pong.received_us == 0) pong.received_us = 0;
  pong.answered_us = static_cast<uint64_t>(now_us.value_or(0));
  if (!SendTo(peer, pong)) return false;
  peer.pong.reset();
  return true;
}

// Sends and charges.  False: not sent; the peer is blocked for a moment, or gone.
bool PullServer::SendTo(Peer& peer, const Body& body, Frame payload) {
  const std::string header = Encode(identity_.envelope, body);
  const size_t payload_bytes = payload.size();
  Frame frames[] = {MakeFrame(peer.key), MakeFrame(header), std::move(payload)};
  const absl::Status status = sockets_->Send(std::span(frames, payload_bytes == 0 ? 2 : 3));
  if (status.ok()) {
    peer.Charge(header.size(), payload_bytes);
    return true;
  }
  if (absl::IsUnavailable(status)) {
    peer.blocked_until = SystemClock().Boot() + kRetryBlockedPeer;
  } else {
    peer.gone = true;
  }
  return false;
}

// To anybody, in a session or not.  Costs a peer its credit too, so that it cannot collect them.
void PullServer::Refuse(const std::string& key, RefusalCode code, uint64_t stream,
                        std::string text) {
  ++counters_.refused;
  text.resize(std::min(text.size(), kMaxRefusalTextBytes));
  const Refused refused{code, stream, std::move(text)};
  const auto it = peers_.find(key);
  if (it != peers_.end()) {
    SendTo(it->second, refused);
    return;
  }
  Frame frames[] = {MakeFrame(key), MakeFrame(Encode(identity_.envelope, refused))};
  sockets_->Send(frames).IgnoreError();
}

// ---- Book-keeping
// --------------------------------------------------------------------------------

void PullServer::RefuseStream(Peer& peer, uint64_t id, RefusalCode code, std::string text) {
  peer.Close(id);
  Refuse(peer.key, code, id, std::move(text));
}

void PullServer::DropPeer(const std::string& key, std::string_view why) {
  const auto it = peers_.find(key);
  if (it == peers_.end()) return;
  LogInfo("replication", fmt::format("replica left node={} why=\"{}\"", it->second.node_id, why));
  push_peers_ -= it->second.push ? 1 : 0;
  parts_.peers->Leave(key);
  const std::string ended = it->first;  // key may be a part of the peer
  if (parts_.halts != nullptr) parts_.halts->EndSession(ended);
  peers_.erase(it);
  if (why != kNewSession) sockets_->SessionEnded(ended, std::string(why), /*refused=*/false);
}

void PullServer::DropGonePeers() {
  std::vector<std::string> gone;
  for (const auto& [key, peer] : peers_) {
    if (peer.gone) gone.push_back(key);
  }
  for (const std::string& key : gone) DropPeer(key, "disconnected");
}

nanoseconds PullServer::Expire(nanoseconds now) {
  nanoseconds next = nanoseconds::max();
  std::vector<std::string> silent;
  for (const auto& [key, peer] : peers_) {
    if (peer.seen + kForgetPeerAfter <= now) {
      silent.push_back(key);
      continue;
    }
    next = std::min(next, peer.seen + kForgetPeerAfter);
    if (peer.blocked_until > now) next = std::min(next, peer.blocked_until);
  }
  for (const std::string& key : silent) DropPeer(key, "silent");
  return next;
}

}  // namespace litefs::replication
