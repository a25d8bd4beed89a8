#include "daemon/replication/follower.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "common/log.h"

namespace litefs::replication {
namespace {

using std::chrono::milliseconds;

// Between two listings of the primary's databases.
constexpr milliseconds kPositionsSpacing{100};
// An answer that has not come by then is asked for again.
constexpr milliseconds kPositionsTimeout{5000};
constexpr milliseconds kRetryFirst{50};
constexpr milliseconds kRetryMost{30000};
constexpr size_t kMaxHeldFiles = 1024;

milliseconds RetryDelay(int failures) {
  return std::min(kRetryMost, kRetryFirst * (1 << std::min(failures - 1, 10)));
}

// The chain goes on from position with a file of these transactions and this pre-apply checksum.
// A first file has no checksum before it.
bool Follows(const FileIdentity& file, const ltx::Position& position) {
  if (position.txid == 0) return file.min_txid == 1;
  return file.min_txid == position.txid + 1 && file.pre_apply == position.checksum;
}

}  // namespace

void Follower::SessionStarted() {
  tips_.Clear();
  streams_.clear();
  wanted_.clear();
  held_.clear();
  held_bytes_ = 0;
  pulls_ = 0;
  unacknowledged_.clear();
  sums_answers_.clear();
  std::map<std::string, Database> old = std::move(databases_);
  databases_.clear();
  for (const DatabaseState& state : sink_->States()) {
    databases_[state.name].stored = state.position;
    unacknowledged_.insert(state.name);
  }
  for (auto& [name, database] : old) {
    Database& fresh = databases_[name];
    fresh.transfer = std::move(database.transfer);
    fresh.failures = database.failures;
    fresh.not_before = database.not_before;
  }
  positions_wanted_ = true;
  positions_asked_ = false;
  positions_not_before_ = Time(0);
  positions_after_.clear();
  listed_all_ = false;
  status_->lag.SessionStarted();
}

void Follower::LookAtSink(Time now) {
  for (const DatabaseState& state : sink_->States()) {
    Database& database = DatabaseOf(state.name);
    if (database.stored == state.position || database.pulling) continue;
    database.stored = state.position;
    unacknowledged_.insert(state.name);
    // What was forwarded is the primary's before it says so.
    const TipTable::Tip* const tip = tips_.Find(state.name);
    const bool is_later = tip != nullptr && state.position.txid > tip->position.txid;
    if (is_later) tips_.Learn({state.name, state.position, 0, 0}, tips_.sequence());
    Compare(state.name, now);
  }
}

// ---- What the primary has
// ------------------------------------------------------------------------

void Follower::On(const Positions& positions, Time now) {
  if (!positions_asked_ || positions.request != positions_request_) {
    ++status_->discarded;
    return;
  }
  if (positions_after_.empty()) {
    positions_seen_.clear();
    positions_sequence_ = positions.sequence;
  }
  for (const ChainTip& tip : positions.databases) {
    positions_seen_.insert(tip.name);
    Learn(tip, positions.sequence, now);
  }
  positions_asked_ = false;
  if (!positions.last) {
    if (positions.databases.empty()) return;  // no page at all
    positions_after_ = positions.databases.back().name;
    positions_wanted_ = true;
    positions_not_before_ = now;
    return;
  }
  positions_after_.clear();
  positions_not_before_ = now + kPositionsSpacing;
  tips_.AdvanceSequence(positions.sequence);
  listed_all_ = positions.complete;
  if (listed_all_) DropMissing(positions_sequence_);
  positions_seen_.clear();
  CheckComplete();
}

// Tells our own replicas whether all that the primary has is here.
void Follower::CheckComplete() {
  const bool all_here = std::all_of(tips_.tips().begin(), tips_.tips().end(), [&](const auto& tip) {
    const auto it = databases_.find(tip.first);
    return it != databases_.end() && it->second.stored.txid != 0;
  });
  status_->lag.SetComplete(listed_all_ && all_here);
}

// Drops what a whole listing, begun at this sequence, did not name.
void Follower::DropMissing(uint64_t sequence) {
  for (auto it = databases_.begin(); it != databases_.end();) {
    const std::string name = it->first;
    Database& database = it->second;
    const TipTable::Tip* tip = tips_.Find(name);
    const bool is_newer = tip != nullptr && tip->sequence > sequence;
    if (positions_seen_.contains(name) || is_newer) {
      ++it;
      continue;
    }
    LogInfo("replication", fmt::format("db={} dropped on the primary", name));
    const absl::Status dropped = database.stored.txid == 0 ? absl::OkStatus() : sink_->Drop(name);
    if (!dropped.ok()) status_->SetError(std::string(dropped.message()));
    transferring_.erase(name);
    CloseStream(database);
    tips_.Forget(name);
    unacknowledged_.erase(name);
    status_->lag.Forget(name);
    it = databases_.erase(it);
  }
}

void Follower::On(const Beacon& beacon, Time now) {
  const bool is_latest = beacon.sequence >= tips_.sequence();
  for (const ChainTip& tip : beacon.changed) Learn(tip, beacon.sequence, now);
  tips_.AdvanceSequence(beacon.sequence);
  const bool same =
      beacon.database_count == tips_.tips().size() && beacon.state_digest == tips_.digest();
  if (same) status_->lag.SetAsOf(beacon.as_of_ms);
  if (is_latest && (!same || (beacon.complete && !listed_all_))) WantPositions(now);
}

void Follower::Learn(const ChainTip& tip, uint64_t sequence, Time now) {
  const bool is_new = tips_.Find(tip.name) == nullptr;
  if (tips_.Learn(tip, sequence)) status_->lag.Learn(tip);
  if (is_new && DatabaseOf(tip.name).stored.txid == 0) status_->lag.SetComplete(false);
  Compare(tip.name, now);
}

bool Follower::IsBehind(const std::string& name, const Database& database) const {
  const TipTable::Tip* tip = tips_.Find(name);
  return tip != nullptr && tip->position != database.stored;
}

void Follower::Compare(const std::string& name, Time now) {
  Database& database = DatabaseOf(name);
  if (!IsBehind(name, database)) {
    database.suspected = false;
    return;
  }
  // With sums asked for, the primary works on what differs.
  if (database.pulling || database.queued || database.sums) return;
  // The primary pushes this one: the file is on its way, unless it still is at the next look.
  if (push_ && database.stream != 0 && !std::exchange(database.suspected, true)) return;
  Want(name, now);
}

void Follower::Want(const std::string& name, Time now) {
  Database& database = DatabaseOf(name);
  if (database.queued || database.pulling) return;
  database.queued = true;
  database.not_before = std::max(database.not_before, now);
  wanted_.push_back(name);
}

void Follower::WantPositions(Time now) {
  if (positions_wanted_ || positions_asked_) return;
  positions_wanted_ = true;
  positions_not_before_ = std::max(positions_not_before_, now);
}

// ---- Files
// ---------------------------------------------------------------------------------------

void Follower::On(const Transaction& transaction, std::span<const std::byte> payload, Time now) {
  const std::string& name = transaction.database;
  const FileIdentity& file = transaction.file;
  const bool intact = !transaction.has_payload ||
                      (payload.size() == file.size_bytes && Digest(payload) == transaction.digest);
  if (!intact) ++status_->corrupt;
  tips_.Learn(
      {name, {file.max_txid, file.post_apply}, transaction.committed_ms, transaction.end_bytes},
      transaction.sequence);
  status_->lag.Learn(name, file, transaction.committed_ms, transaction.end_bytes);
  Database& database = DatabaseOf(name);
  if (transaction.has_payload && intact && Follows(file, database.stored) && !database.pulling) {
    // Unless it waits for a retry: then this would fail as the last one did.
    if (!database.queued || now >= database.not_before) {
      const absl::StatusOr<ltx::Position> result = sink_->ReceiveBytes(name, payload);
      status_->received_by_pub += result.ok() ? 1 : 0;
      Deliver(name, result, now);
    }
  } else if (database.pulling && transaction.has_payload && intact) {
    Hold(transaction, payload);
  } else if (file.max_txid <= database.stored.txid) {
    ++status_->discarded;
  } else {
    Want(name, now);
  }
}

void Follower::On(const Chunk& chunk, std::span<const std::byte> payload, Time now) {
  const auto it = streams_.find(chunk.stream);
  if (it == streams_.end() || it->second != chunk.database) {
    ++status_->discarded;  // of a stream that was given up
    return;
  }
  const std::string name = chunk.database;
  Database& database = DatabaseOf(name);
  database.suspected = false;
  if (payload.empty() || payload.size() > chunk.file.size_bytes - chunk.offset ||
      Digest(payload) != chunk.digest) {
    ++status_->corrupt;
    return Fail(name, now, "a chunk does not match its digest or size");
  }
  // A snapshot is made now, and dated so; the tips tell of what it brings.
  if (!chunk.snapshot) {
    status_->lag.Learn(name, chunk.file, chunk.committed_ms, chunk.end_bytes);
  }
  if (chunk.offset == 0) {
    database.sums.reset();
    if (transferring_.size() >= kMaxTransfers && !transferring_.contains(name)) {
      return Fail(name, now, "too many files at once");
    }
    transferring_.insert(name);
    absl::StatusOr<Transfer> transfer = Transfer::Begin(name, chunk.file, sink_);
    if (!transfer.ok()) return Fail(name, now, std::string(transfer.status().message()));
    database.transfer = *std::move(transfer);
  }
  if (!database.transfer || !database.transfer->IsNext(chunk)) {
    ++status_->corrupt;
    return Fail(name, now, "a chunk does not continue its file");
  }
  const absl::Status appended = database.transfer->Append(payload);
  if (!appended.ok()) {
    status_->corrupt += absl::IsDataLoss(appended) ? 1 : 0;
    database.transfer.reset();
    transferring_.erase(name);
    return Fail(name, now, std::string(appended.message()));
  }
  if (!database.transfer->complete()) return;
  const Transfer transfer = *std::exchange(database.transfer, std::nullopt);
  transferring_.erase(name);
  const ltx::Position after{chunk.file.max_txid, chunk.file.post_apply};
  // It tells of a new tip too; the next beacon brings the sequence number.
  const TipTable::Tip* tip = tips_.Find(name);
  if (tip != nullptr && after.txid > tip->position.txid) {
    tips_.Learn({name, after, chunk.committed_ms, chunk.end_bytes}, tips_.sequence());
  }
  // Came by PUB before: a push that was on its way when PUB took over.
  if (!chunk.snapshot && after.txid <= database.stored.txid) {
    ++status_->discarded;
    return;
  }
  Deliver(name, transfer.Deliver(name, sink_), now);
}

void Follower::On(const Current& current, Time now) {
  const auto it = streams_.find(current.stream);
  if (it == streams_.end() || it->second != current.database) {
    ++status_->discarded;
    return;
  }
  const std::string name = current.database;
  Database& database = DatabaseOf(name);
  if (database.pulling) --pulls_;
  database.pulling = false;
  database.transfer.reset();
  transferring_.erase(name);
  if (database.stored != current.position) {
    return Fail(name, now, "the stream ended at a position that is not ours");
  }
  ApplyHeld(name, now);
  Compare(name, now);
}

void Follower::On(const Refused& refused, Time now) {
  const auto it = streams_.find(refused.stream);
  if (it == streams_.end()) return;
  const std::string name = it->second;
  Database& database = DatabaseOf(name);
  if (refused.code == RefusalCode::kTooMany && !database.pulling) {
    return CloseStream(database);  // an idle one gave way to others
  }
  if (refused.code == RefusalCode::kUnknownDatabase) {
    CloseStream(database);
    return WantPositions(now);
  }
  Fail(name, now, refused.text);
}

void Follower::On(const SumsRequest& request, Time now) {
  const auto it = streams_.find(request.stream);
  if (it == streams_.end() || it->second != request.database) {
    ++status_->discarded;
    return;
  }
  const std::string name = request.database;
  Database& database = DatabaseOf(name);
  if (!database.sums) {
    absl::StatusOr<PageSums> sums = sink_->Sums(name, kMaxSumsHeld);
    if (!sums.ok()) return Fail(name, now, std::string(sums.status().message()));
    database.sums = *std::move(sums);
  }
  sums_answers_.push_back({.database = name,
                           .stream = request.stream,
                           .next_page = request.first_page,
                           .end_page = request.first_page + request.pages});
}

std::optional<Sums> Follower::NextSums() {
  while (!sums_answers_.empty()) {
    SumsAnswer& answer = sums_answers_.front();
    const auto it = databases_.find(answer.database);
    if (it == databases_.end() || it->second.stream != answer.stream || !it->second.sums) {
      sums_answers_.pop_front();
      continue;
    }
    const std::vector<ltx::Checksum>& pages = it->second.sums->pages;
    const uint64_t end = std::min<uint64_t>(answer.end_page, pages.size() + 1);
    Sums sums{.stream = answer.stream,
              .page_bytes = it->second.sums->page_bytes,
              .size_pages = pages.size(),
              .first_page = std::min<uint64_t>(answer.next_page, pages.size() + 1),
              .sums = {}};
    const uint64_t next = std::min(end, sums.first_page + kSumsInMessage);
    if (sums.first_page < next) {
      sums.sums.assign(pages.begin() + static_cast<ptrdiff_t>(sums.first_page - 1),
                       pages.begin() + static_cast<ptrdiff_t>(next - 1));
    }
    answer.next_page = next;
    if (next >= end) sums_answers_.pop_front();
    return sums;
  }
  return std::nullopt;
}

// Takes note of what the sink made of a file.
void Follower::Deliver(const std::string& name, const absl::StatusOr<ltx::Position>& result,
                       Time now) {
  Database& database = DatabaseOf(name);
  if (result.ok()) {
    ++status_->received;
    const bool is_first = database.stored.txid == 0;
    database.stored = *result;
    database.failures = 0;
    database.not_before = Time(0);
    database.suspected = false;
    unacknowledged_.insert(name);
    if (is_first) CheckComplete();
    if (!database.pulling) ApplyHeld(name, now);
    return;
  }
  if (absl::IsDataLoss(result.status())) ++status_->corrupt;
  if (absl::IsFailedPrecondition(result.status())) {
    for (const DatabaseState& state : sink_->States()) {
      if (state.name == name) database.stored = state.position;
    }
  }
  Fail(name, now, std::string(result.status().message()));
}

// Gives up the stream and pulls again, later each time.
void Follower::Fail(const std::string& name, Time now, const std::string& why) {
  Database& database = DatabaseOf(name);
  ++database.failures;
  const milliseconds delay = RetryDelay(database.failures);
  LogWarn("replication", fmt::format("db={} retry_ms={} error=\"{}\"", name, delay.count(), why));
  status_->SetError(fmt::format("{}: {}", name, why));
  CloseStream(database);
  database.not_before = now + delay;
  Want(name, now);
}

void Follower::CloseStream(Database& database) {
  if (database.pulling) --pulls_;
  database.pulling = false;
  streams_.erase(database.stream);
  database.stream = 0;
  database.sums.reset();
}

void Follower::Hold(const Transaction& transaction, std::span<const std::byte> payload) {
  if (held_.size() == kMaxHeldFiles || held_bytes_ + payload.size() > kMaxHeldBytes) {
    ++status_->discarded;
    return;
  }
  held_bytes_ += payload.size();
  held_.push_back({transaction, {payload.begin(), payload.end()}});
}

// Takes the published files that came during a pull and are not yet old.
void Follower::ApplyHeld(const std::string& name, Time now) {
  std::deque<Held> mine;
  for (auto it = held_.begin(); it != held_.end();) {
    if (it->transaction.database != name) {
      ++it;
      continue;
    }
    held_bytes_ -= it->payload.size();
    mine.push_back(std::move(*it));
    it = held_.erase(it);
  }
  for (const Held& held : mine) {
    if (Follows(held.transaction.file, DatabaseOf(name).stored)) {
      On(held.transaction, held.payload, now);
    } else {
      ++status_->discarded;
    }
  }
}

// ---- What to send
// --------------------------------------------------------------------------------

std::optional<PositionsRequest> Follower::NextPositionsRequest(Time now) {
  if (positions_asked_ && now >= positions_not_before_) {
    positions_asked_ = false;  // no answer: from the start
    positions_wanted_ = true;
    positions_after_.clear();
  }
  if (!positions_wanted_ || now < positions_not_before_) return std::nullopt;
  positions_wanted_ = false;
  positions_asked_ = true;
  positions_not_before_ = now + kPositionsTimeout;
  return PositionsRequest{++positions_request_, positions_after_};
}

std::optional<Pull> Follower::NextPull(Time now) {
  if (pulls_ >= kMaxPulls) return std::nullopt;
  for (size_t i = wanted_.size(); i > 0; --i) {
    const std::string name = std::move(wanted_.front());
    wanted_.pop_front();
    const auto it = databases_.find(name);
    if (it == databases_.end() || !it->second.queued) continue;
    Database& database = it->second;
    if (now < database.not_before) {
      wanted_.push_back(name);
      continue;
    }
    database.queued = false;
    if (!IsBehind(name, database)) continue;
    CloseStream(database);
    database.stream = ++last_stream_;
    database.pulling = true;
    database.suspected = false;
    streams_[database.stream] = name;
    ++pulls_;
    ++status_->pulls;
    Pull pull{.stream = database.stream, .database = name, .from = database.stored, .partial = {}};
    if (database.transfer && database.failures == 0) {
      pull.partial = database.transfer->file();
      pull.partial_offset = database.transfer->received_bytes();
    }
    return pull;
  }
  return std::nullopt;
}

std::optional<Ack> Follower::NextAck() {
  if (unacknowledged_.empty()) return std::nullopt;
  const std::string name = std::move(unacknowledged_.extract(unacknowledged_.begin()).value());
  return Ack{name, DatabaseOf(name).stored};
}

Follower::Time Follower::NextDeadline() const {
  Time next = Time::max();
  if (positions_wanted_ || positions_asked_) next = positions_not_before_;
  if (pulls_ >= kMaxPulls) return next;
  for (const std::string& name : wanted_) {
    const auto it = databases_.find(name);
    if (it != databases_.end()) next = std::min(next, it->second.not_before);
  }
  return next;
}

}  // namespace litefs::replication
