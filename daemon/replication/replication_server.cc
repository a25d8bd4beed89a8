#include "daemon/replication/replication_server.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <random>
#include <set>
#include <utility>

#include "common/clock.h"
#include "common/log.h"
#include "common/status_macros.h"

namespace litefs::replication {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

// A change is followed by a beacon after this, by another after twice that, and so on until the
// interval of idle times is reached: what was lost is noticed soon, also if beacons are lost.
constexpr milliseconds kFirstBeacon{25};
constexpr milliseconds kRetryAfter{1000};
constexpr int kMaxFilesATurn = 64;
constexpr ltx::TxId kUnknownTxId = std::numeric_limits<ltx::TxId>::max();

uint64_t RandomInstance() {
  std::random_device device;
  return (uint64_t{device()} << 32 | device()) | 1;  // never 0
}

}  // namespace

ReplicationServer::ReplicationServer(Options options, ChainSource* source)
    : options_(std::move(options)), source_(source), time_(options_.clock, options_.upstream) {}

ReplicationServer::~ReplicationServer() { Stop(); }

absl::Status ReplicationServer::Validate() const {
  const bool must_know = options_.upstream == nullptr;
  if ((must_know && options_.cluster_id.empty()) ||
      options_.cluster_id.size() > kMaxClusterIdBytes) {
    return absl::InvalidArgumentError("start replication: cluster id is empty or too long");
  }
  if (options_.node_id.size() > kMaxNodeIdBytes) {
    return absl::InvalidArgumentError("start replication: node id is too long");
  }
  return absl::OkStatus();
}

absl::Status ReplicationServer::Start() {
  CHECK(!thread_.joinable());
  RETURN_IF_ERROR(Validate());
  envelope_ = {options_.cluster_id, options_.epoch, RandomInstance()};
  if (options_.upstream == nullptr) path_ = options_.node_id;
  proxy_ = options_.proxy;
  ASSIGN_OR_RETURN(context_, Context::Open(options_.security));
  if (options_.publish && !options_.pull_endpoint.empty()) {
    ASSIGN_OR_RETURN(publisher_, Publisher::Open(*context_, options_.pub_endpoint, envelope_));
    pub_endpoint_ = publisher_->endpoint();
  }
  snapshots_ = std::make_unique<SnapshotWorker>(source_, &wakeup_);
  if (options_.forward_target != nullptr) {
    halts_ =
        std::make_unique<HaltServer>(HaltServer::Options{.max_hold = options_.max_halt,
                                                         .on_answer = [this] { wakeup_.Signal(); }},
                                     options_.forward_target);
  }
  ASSIGN_OR_RETURN(auto sockets,
                   PeerSockets::Open(*context_, options_.pull_endpoint, options_.dial));
  pull_server_ = std::make_unique<PullServer>(
      std::move(sockets), IdentityNow(),
      PullServer::Parts{source_, snapshots_.get(), &tips_, &peers_, &time_, halts_.get()});
  pull_endpoint_ = pull_server_->endpoint();
  if (options_.on_stored != nullptr) {
    peers_.set_on_acknowledged([this](const std::string& database) {
      options_.on_stored(database, peers_.Stored(database));
      if (halts_ != nullptr) halts_->Stored();
    });
  }
  if (halts_ != nullptr) halts_->Start();
  thread_ = std::thread([this] { Run(); });
  return absl::OkStatus();
}

PullServer::Identity ReplicationServer::IdentityNow() const {
  return {.envelope = envelope_,
          .welcome = {options_.node_id, publisher_ != nullptr, path_, options_.durable, proxy_},
          .ready = !path_.empty()};
}

void ReplicationServer::Renew(const std::string& cluster_id, uint64_t epoch,
                              const std::string& path, const std::string& proxy) {
  MutexLock lock(mu_);
  renewal_ = Renewal{cluster_id, epoch, path, proxy};
  wakeup_.Signal();
}

void ReplicationServer::TakeRenewal() {
  std::optional<Renewal> renewal;
  {
    MutexLock lock(mu_);
    renewal.swap(renewal_);
  }
  if (!renewal) return;
  if (renewal->cluster_id == envelope_.cluster_id && renewal->epoch == envelope_.epoch &&
      renewal->path == path_ && renewal->proxy == proxy_) {
    return;
  }
  envelope_ = {renewal->cluster_id, renewal->epoch, RandomInstance()};
  path_ = renewal->path;
  proxy_ = renewal->proxy;
  LogInfo("replication", fmt::format("serving replicas path=\"{}\"", path_));
  if (publisher_ != nullptr) publisher_->Renew(envelope_);
  pull_server_->Renew(IdentityNow());
}

void ReplicationServer::Stop() {
  if (!thread_.joinable()) return;
  {
    MutexLock lock(mu_);
    stopping_ = true;
  }
  wakeup_.Signal();
  thread_.join();
  if (halts_ != nullptr) halts_->Stop();
  snapshots_.reset();
}

void ReplicationServer::Committed(const std::string& database, ltx::TxId /*min_txid*/,
                                  ltx::TxId max_txid) {
  MutexLock lock(mu_);
  if (!listening_) return;
  const bool was_clean = dirty_.empty();
  ltx::TxId& at_least = dirty_[database];
  at_least = std::max(at_least, max_txid);
  if (was_clean) wakeup_.Signal();
}

void ReplicationServer::Changed(const std::string& database) {
  Committed(database, 0, kUnknownTxId);
}

// ---- The thread
// ----------------------------------------------------------------------------------

void ReplicationServer::Run() {
  std::vector<zmq::pollitem_t> items;
  bool more = false;
  for (;;) {
    items = {{nullptr, wakeup_.fd(), ZMQ_POLLIN, 0}};
    if (publisher_ != nullptr) items.push_back({publisher_->handle(), 0, ZMQ_POLLIN, 0});
    pull_server_->sockets().AddPollItems(&items);
    const Time now = SystemClock().Boot();
    const Time wait = more ? Time(0) : NextWakeup(now);
    // Rounded up: a timer that fires early would fire again at once.
    const milliseconds timeout = wait == Time::max()
                                     ? milliseconds(-1)
                                     : std::chrono::ceil<milliseconds>(std::max(wait, Time(0)));
    const absl::StatusOr<int> ready = Poll(items, timeout);
    if (!ready.ok()) {
      LogError("replication",
               fmt::format("server stops: {}", std::string(ready.status().message())));
      break;
    }
    wakeup_.Clear();
    {
      MutexLock lock(mu_);
      if (stopping_) break;
    }
    more = Turn(std::any_of(items.begin() + 1, items.end(),
                            [](const zmq::pollitem_t& item) { return item.revents != 0; }));
  }
  // Closes the sockets on the thread that used them.
  pull_server_->Close();
  if (publisher_ != nullptr) publisher_->Close();
}

// One round of work of bounded size.  Returns whether there is more to do at once.
bool ReplicationServer::Turn(bool requests_waiting) {
  if (requests_waiting) StartListening();
  TakeRenewal();
  pull_server_->Dial(SystemClock().Boot());
  if (publisher_ != nullptr && publisher_->ReadSubscriptions()) beacon_due_ = true;
  bool more = pull_server_->ReadRequests();
  if (pull_server_->TakeBeaconWanted()) beacon_due_ = true;
  // A session begins with the truth, also where a notice of ours was missed.
  if (pull_server_->TakeJoined()) ReloadTips();
  for (const SnapshotWorker::Result& result : snapshots_->TakeResults()) {
    pull_server_->SnapshotReady(result);
  }
  if (halts_ != nullptr) pull_server_->Send(halts_->TakeAnswers());
  const uint64_t now_ms = static_cast<uint64_t>(options_.clock->WallMs());
  if (TakeDirty()) more = PublishDirty() || more;
  if (pending_.empty()) as_of_ms_ = now_ms;
  more = pull_server_->Pump() || more;
  SendBeacon(SystemClock().Boot());
  if (!pull_server_->has_peers() && (publisher_ == nullptr || !publisher_->has_subscribers())) {
    StopListening();
  }
  return more;
}

void ReplicationServer::StartListening() {
  if (listening_here_) return;
  listening_here_ = true;
  {
    MutexLock lock(mu_);
    listening_ = true;
  }
  ReloadTips();  // after the flag: a commit is seen here, or noted as dirty, or both
}

void ReplicationServer::StopListening() {
  if (!listening_here_) return;
  listening_here_ = false;
  pending_.clear();
  changed_.clear();
  MutexLock lock(mu_);
  listening_ = false;
  dirty_.clear();
}

void ReplicationServer::ReloadTips() {
  std::set<std::string> gone;
  for (const auto& [name, tip] : tips_.tips()) gone.insert(name);
  for (const ChainTip& tip : source_->States()) {
    gone.erase(tip.name);
    SetTip(tip);
  }
  for (const std::string& name : gone) ForgetTip(name);
}

// ---- Commits
// -------------------------------------------------------------------------------------

// Moves what is dirty to pending_.  Returns whether there is something to do now.
bool ReplicationServer::TakeDirty() {
  Dirty dirty;
  {
    MutexLock lock(mu_);
    dirty.swap(dirty_);
  }
  if (dirty.empty()) return !pending_.empty() && SystemClock().Boot() >= retry_at_;
  for (const auto& [name, at_least] : dirty) {
    ltx::TxId& pending = pending_[name];
    pending = std::max(pending, at_least);
  }
  return true;
}

// Follows the chains of the pending databases to their tips, a bounded number of files at a time.
// Returns whether some are left that did not fail.
bool ReplicationServer::PublishDirty() {
  int files = 0;
  bool failed = false;
  bool more = false;
  for (auto it = pending_.begin(); it != pending_.end();) {
    Progress progress = Progress::kMore;
    bool moved = false;
    // Each has its share, so that one busy database does not hold up the others.
    for (int i = 0; i < 8 && files < kMaxFilesATurn && progress == Progress::kMore; ++i) {
      progress = PublishNext(it->first, it->second);
      files += progress == Progress::kMore ? 1 : 0;
      moved = true;
    }
    if (moved) pull_server_->TipChanged(it->first);
    failed = failed || progress == Progress::kFailed;
    more = more || progress == Progress::kMore;
    it = progress == Progress::kTip ? pending_.erase(it) : std::next(it);
  }
  retry_at_ = more ? Time(0) : failed ? SystemClock().Boot() + kRetryAfter : Time::max();
  return more;
}

ReplicationServer::Progress ReplicationServer::PublishNext(const std::string& database,
                                                           ltx::TxId at_least) {
  const TipTable::Tip* tip = tips_.Find(database);
  const ltx::Position from = tip == nullptr ? ltx::Position{} : tip->position;
  const absl::StatusOr<ChainFile> file = source_->FileAfter(database, from);
  if (file.ok()) {
    SetTip({database, {file->max_txid, file->post_apply}, file->committed_ms, file->end_bytes});
    if (publisher_ != nullptr) publisher_->Publish(database, *file, tips_.sequence());
    return Progress::kMore;
  }
  if (absl::IsNotFound(file.status()) && tip != nullptr && from.txid >= at_least) {
    return Progress::kTip;
  }
  if (absl::IsNotFound(file.status()) || absl::IsOutOfRange(file.status())) {
    Resynchronise(database);
    return Progress::kTip;
  }
  LogWarn("replication",
          fmt::format("db={} error=\"{}\"", database, std::string(file.status().message())));
  return Progress::kFailed;
}

void ReplicationServer::SetTip(const ChainTip& news) {
  const TipTable::Tip* tip = tips_.Find(news.name);
  if (tip != nullptr && tip->position == news.position) return;
  tips_.Learn(news, tips_.sequence() + 1);
  beacon_due_ = true;
  // What does not fit is found through the beacon's digest.
  if (changed_.size() < kMaxListedDatabases) changed_.try_emplace(news.name, news.committed_ms);
}

// The chain does not lead on from where we were: asks where it is now.
void ReplicationServer::Resynchronise(const std::string& database) {
  for (const ChainTip& tip : source_->States()) {
    if (tip.name == database) return SetTip(tip);
  }
  ForgetTip(database);
}

void ReplicationServer::ForgetTip(const std::string& database) {
  if (tips_.Find(database) == nullptr) return;
  tips_.Forget(database);
  tips_.AdvanceSequence(tips_.sequence() + 1);
  pull_server_->Forget(database);
  changed_.erase(database);
  beacon_due_ = true;
}

// ---- Beacons
// -------------------------------------------------------------------------------------

// As of when tips_ has all that the primary had.
uint64_t ReplicationServer::AsOfMs() const {
  if (options_.upstream == nullptr) return as_of_ms_;
  std::vector<DatabaseState> here;
  for (const auto& [name, tip] : tips_.tips()) here.push_back({name, tip.position});
  return options_.upstream->AsOfMs(here);
}

void ReplicationServer::SendBeacon(Time now) {
  if (now < NextBeacon()) return;
  const bool published = publisher_ != nullptr && publisher_->has_subscribers();
  if (!published && !pull_server_->has_push_peers()) return;
  Beacon beacon{.sequence = tips_.sequence(),
                .database_count = tips_.tips().size(),
                .state_digest = tips_.digest(),
                .as_of_ms = AsOfMs(),
                .complete = source_->Complete(),
                .changed = {}};
  for (const auto& [name, committed_ms] : changed_) {
    if (const TipTable::Tip* tip = tips_.Find(name)) {
      beacon.changed.push_back({name, tip->position, committed_ms, tip->end_bytes});
    }
  }
  if (published) publisher_->Send(beacon);
  pull_server_->Send(beacon);
  changed_.clear();
  beacon_spacing_ = beacon_due_ ? kFirstBeacon : beacon_spacing_ * 2;
  beacon_spacing_ = std::min(beacon_spacing_, options_.beacon_interval);
  beacon_due_ = false;
  last_beacon_ = now;
}

ReplicationServer::Time ReplicationServer::NextBeacon() const {
  return last_beacon_ + Time(beacon_due_ ? kFirstBeacon : beacon_spacing_);
}

// How long nothing is to be done unless something happens; max(): for ever.
ReplicationServer::Time ReplicationServer::NextWakeup(Time now) {
  const Time expiry = std::min(
      {pull_server_->Expire(now), snapshots_->Expire(now), pull_server_->sockets().NextDeadline()});
  Time next = std::min(expiry, pending_.empty() ? Time::max() : retry_at_);
  const bool published = publisher_ != nullptr && publisher_->has_subscribers();
  if (published || pull_server_->has_push_peers()) {
    next = std::min(next, NextBeacon());
  }
  return next == Time::max() ? next : next - now;
}

}  // namespace litefs::replication
