// PullServer: the primary's ROUTER side.  Serves each replica's streams ("this database from this
// position on") out of the chain, or with a snapshot where the chain does not reach, as far as that
// replica's credit allows.  A replica that does not read stops its own streams and nothing else;
// what is held for it is its credit's worth of chunks, at most kMaxOpenFiles files and a bounded
// number of small records.
//
// A stream:
//            Pull                    FileAfter: a file             credit
//   (none) ───────► ready ──────────────────────────► sending ◄──────────► (a chunk)
//                    ▲ │ └─ kOutOfRange ─► sums ─► snapshot ─►│ (or for a growing file)
//      TipChanged    │ └─ kNotFound: Current ─► idle      │ last chunk
//      (push only)   └────────────────────────────┴───────┘
//
// For the server's thread.

#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/replication/chain.h"
#include "daemon/replication/halt_server.h"
#include "daemon/replication/message.h"
#include "daemon/replication/peer_directory.h"
#include "daemon/replication/peer_sockets.h"
#include "daemon/replication/pull_session.h"
#include "daemon/replication/snapshot_worker.h"
#include "daemon/replication/tip_table.h"
#include "daemon/replication/wall_time.h"
#include "daemon/replication/zmq_socket.h"

namespace litefs::replication {

inline constexpr size_t kMaxPeers = 256;

class PullServer {
 public:
  // What it works with; all outlive it.
  struct Parts {
    ChainSource* source;
    SnapshotWorker* snapshots;
    const TipTable* tips;
    PeerDirectory* peers;
    const WallTime* time;
    HaltServer* halts;  // null: no replica writes here
  };
  // What the server is; see ReplicationServer::Renew.
  struct Identity {
    Envelope envelope;
    Welcome welcome;
    bool ready = true;  // else everybody is refused
  };
  struct Counters {
    std::atomic<uint64_t> malformed{0};  // messages that were not understood
    std::atomic<uint64_t> refused{0};    // refusals sent, for whatever reason
    std::atomic<uint64_t> chunks{0};
    std::atomic<uint64_t> snapshots{0};  // snapshot transfers begun, resumed ones included
    std::atomic<uint64_t> resumed{0};    // transfers continued in their middle
    std::atomic<uint64_t> deltas{0};     // transfers of differences begun
  };

  PullServer(std::unique_ptr<PeerSockets> sockets, Identity identity, Parts parts);

  // Ends every session: what comes after is another instance.
  void Renew(Identity identity);
  // Connects to replicas and calls them, as time has come.
  void Dial(std::chrono::nanoseconds now);
  // Handles requests that have come, a bounded number.  Returns whether there may be more.
  bool ReadRequests();
  // The database has a new tip.
  void TipChanged(const std::string& database);
  // The database is gone.
  void Forget(const std::string& database);
  void SnapshotReady(const SnapshotWorker::Result& result);
  // To those in session that they are for.
  void Send(const std::vector<HaltServer::Answer>& answers);
  // To the replicas that want pushes.
  void Send(const Beacon& beacon);
  // Sends what credit allows, a bounded amount.  Returns whether there is more to send now.
  bool Pump();
  // Drops replicas that have been silent for long.  Returns when to call it or Pump again.
  std::chrono::nanoseconds Expire(std::chrono::nanoseconds now);

  bool has_peers() const { return !peers_.empty(); }
  bool has_push_peers() const { return push_peers_ > 0; }
  // Whether a session has begun since the last call.
  bool TakeJoined() { return std::exchange(joined_, false); }
  // Whether a replica has begun to want pushes since the last call: it is owed a beacon.
  bool TakeBeaconWanted() { return std::exchange(beacon_wanted_, false); }

  void Close() { sockets_->Close(); }  // ends the use of it
  PeerSockets& sockets() { return *sockets_; }
  std::string endpoint() const { return sockets_->endpoint(); }
  const Counters& counters() const { return counters_; }  // any thread

 private:
  using Peer = PullSession;
  using Stream = PullStream;

  void HandleFrames(std::vector<Frame>& frames);
  Peer* SessionOf(const std::string& key, const Envelope& envelope);
  static absl::StatusOr<Message> DecodeRequest(const std::vector<Frame>& frames);
  void Handle(Peer& peer, const Body& body, std::span<const std::byte> payload);
  bool HandleForwarding(Peer& peer, const Body& body, std::span<const std::byte> payload);
  void OnHello(const std::string& key, const Hello& hello);
  void OnPing(Peer& peer, const Ping& ping);
  void OnPull(Peer& peer, const Pull& pull);
  void OnAck(Peer& peer, const Ack& ack);
  void OnMode(Peer& peer, const Mode& mode);

  bool PumpPeer(Peer& peer);
  bool StartNextStream(Peer& peer);
  bool OpenNextFile(Peer& peer, Stream& stream);
  bool OpenPartial(Stream& stream);
  bool NeedSnapshot(Peer& peer, Stream& stream);
  void MakeSnapshot(Peer& peer, Stream& stream);
  bool AskForSums(Peer& peer, Stream& stream);
  void OnSums(Peer& peer, const Sums& sums);
  bool SendCurrent(Peer& peer, Stream& stream);
  bool FindSendable(Peer& peer);
  void BeginSnapshotAnew(Peer& peer, Stream& stream);
  bool SendChunk(Peer& peer);
  bool SendPositions(Peer& peer);
  bool SendPong(Peer& peer);

  bool SendTo(Peer& peer, const Body& body, Frame payload = Frame());
  void Refuse(const std::string& key, RefusalCode code, uint64_t stream, std::string text);
  void RefuseStream(Peer& peer, uint64_t id, RefusalCode code, std::string text);
  bool MakeRoomForStream(Peer& peer, const Pull& pull);
  void DropPeer(const std::string& key, std::string_view why);
  void DropGonePeers();

  const std::unique_ptr<PeerSockets> sockets_;
  Identity identity_;
  const Parts parts_;
  std::map<std::string, Peer> peers_;
  size_t push_peers_ = 0;
  const std::shared_ptr<std::atomic<uint64_t>> sums_held_ =
      std::make_shared<std::atomic<uint64_t>>(0);  // pages, over all replicas
  bool joined_ = false;
  bool beacon_wanted_ = false;
  Counters counters_;
};

}  // namespace litefs::replication
