#include "daemon/replication/halt_server.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <variant>

#include "common/clock.h"
#include "common/log.h"
#include "common/posix_io.h"
#include "common/status_macros.h"

namespace litefs::replication {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

// A replica says that its lock is in use three times in this.
constexpr milliseconds kTtl{3000};
// For local apps, which look for their lock every 10 ms at least.
constexpr milliseconds kLocalTurn{25};
// While a lock is held: how often it is looked whether a local app waits for it.
constexpr milliseconds kLookAtApps{10};
// While a transaction waits for replicas: how often its own is told so, and time is looked at.
constexpr milliseconds kTellEvery{1000};
constexpr milliseconds kLookAtWaits{20};
// Between two tries for a database that a local app writes: from the first, doubling to the second.
constexpr milliseconds kFirstRetry{1};
constexpr milliseconds kLastRetry{8};
// What has come and is not dealt with; replicas keep to kForwardWindow.
constexpr uint64_t kMaxQueuedBytes = 32 << 20;
constexpr size_t kMaxQueuedRequests = 16384;

nanoseconds Now() { return SystemClock().Boot(); }

}  // namespace

HaltServer::HaltServer(Options options, ForwardTarget* target)
    : options_(std::move(options)),
      target_(target),
      table_({.ttl = kTtl, .max_hold = options_.max_hold, .local_turn = kLocalTurn}) {}

void HaltServer::Start() {
  thread_ = std::thread([this] { Run(); });
}

void HaltServer::Stop() {
  {
    MutexLock lock(mu_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

// ---- From other threads
// ----------------------------------------------------------------------------------

void HaltServer::Handle(Request request) {
  MutexLock lock(mu_);
  const bool full = queued_bytes_ + request.payload.size() > kMaxQueuedBytes ||
                    requests_.size() >= kMaxQueuedRequests;
  if (full && !request.over) return;  // of a peer that keeps to no window: it is never answered
  queued_bytes_ += request.payload.size();
  requests_.push_back(std::move(request));
  changed_.NotifyAll();
}

std::vector<HaltServer::Answer> HaltServer::TakeAnswers() {
  MutexLock lock(mu_);
  return std::exchange(answers_, {});
}

void HaltServer::Stored() {
  MutexLock lock(mu_);
  stored_ = true;
  changed_.NotifyAll();
}

void HaltServer::Close(bool closed) {
  MutexLock lock(mu_);
  closed_ = closed;
  changed_.NotifyAll();
}

std::vector<HaltStatus> HaltServer::Status() const {
  const Time now = Now();
  MutexLock lock(mu_);
  std::vector<HaltStatus> shown = shown_;
  for (size_t i = 0; i < shown.size(); ++i) {
    shown[i].held_ms = std::chrono::duration_cast<milliseconds>(now - shown_since_[i]).count();
  }
  return shown;
}

HaltServer::Counters HaltServer::counters() const {
  MutexLock lock(mu_);
  return counters_;
}

// ---- The thread
// ----------------------------------------------------------------------------------

void HaltServer::Run() {
  while (Wait()) {
    TakeRequests();
    Turn(Now());
    Show();
  }
  for (const auto& [database, held] : held_) target_->EndHalt(database);
  held_.clear();
  accepted_.clear();
}

// False: it is to end.
bool HaltServer::Wait() {
  Time next = std::min(table_.NextDeadline(), retry_at_);
  if (!held_.empty()) next = std::min(next, Now() + Time(kLookAtApps));
  if (!accepted_.empty()) next = std::min(next, Now() + Time(kLookAtWaits));
  const Time left = next == Time::max() ? Time(0) : std::max(next - Now(), Time(0));
  const auto deadline = std::chrono::steady_clock::now() + left;
  MutexLock lock(mu_);
  while (!stopping_ && requests_.empty() && closed_ == closed_here_ && !stored_) {
    if (next == Time::max()) {
      changed_.Wait(mu_);
    } else if (!changed_.WaitUntil(mu_, deadline)) {
      break;
    }
  }
  closed_here_ = closed_;
  stored_ = false;
  return !stopping_;
}

void HaltServer::TakeRequests() {
  std::deque<Request> requests;
  {
    MutexLock lock(mu_);
    requests.swap(requests_);
    queued_bytes_ = 0;
  }
  for (const Request& request : requests) {
    if (request.over) {
      Drop(request.session);
    } else {
      Dispatch(request);
    }
  }
}

void HaltServer::Dispatch(const Request& request) {
  nodes_[request.session] = request.node_id;
  if (const auto* halt = std::get_if<Halt>(&request.body)) {
    On(request, *halt);
  } else if (const auto* keep = std::get_if<KeepHalt>(&request.body)) {
    On(request, *keep);
  } else if (const auto* end = std::get_if<EndHalt>(&request.body)) {
    On(request, *end);
  } else if (const auto* forward = std::get_if<Forward>(&request.body)) {
    On(request, *forward);
  } else if (const auto* ask = std::get_if<AskOutcome>(&request.body)) {
    On(request, *ask);
  }
}

void HaltServer::Turn(Time now) {
  for (const HaltTable::Asker& asker : table_.Tired(now)) {
    Send(asker.session, Halted{.request = asker.request, .text = "others hold the lock"});
  }
  for (const std::string& database : table_.Expired(now)) {
    LogWarn("forward", fmt::format("db={} node={} the halt lock has run out", database,
                                   held_[database].node_id));
    {
      MutexLock lock(mu_);
      ++counters_.expired;
    }
    EndLock(database, "it has run out");
  }
  std::erase_if(accepted_, [&](Accepted& accepted) { return TryAcknowledge(accepted, now); });
  if (now >= retry_at_) retry_at_ = Time::max();
  for (const std::string& database : table_.Databases()) {
    Grant(database, now);
    Recall(database);
  }
}

void HaltServer::Grant(const std::string& database, Time now) {
  const HaltTable::Asker* const next = table_.Next(database, now);
  if (next == nullptr || closed_here_ || (retry_at_ != Time::max() && now < retry_at_)) return;
  const absl::StatusOr<ltx::Position> position = target_->Halt(database);
  if (absl::IsUnavailable(position.status())) {
    retry_pause_ = std::clamp<Time>(2 * retry_pause_, kFirstRetry, kLastRetry);
    retry_at_ = now + retry_pause_;
    return;
  }
  retry_pause_ = {};
  const HaltTable::Asker asker = *next;
  if (!position.ok()) {
    table_.Dismiss(database);
    return Send(asker.session,
                Halted{.request = asker.request, .text = std::string(position.status().message())});
  }
  const HaltTable::Lock& lock = table_.Grant(database, Now());
  held_[database] = {.node_id = nodes_[asker.session], .since = now, .incoming = {}};
  {
    MutexLock guard(mu_);
    ++counters_.granted;
  }
  Send(asker.session, Halted{.request = asker.request,
                             .lock = lock.id,
                             .from = *position,
                             .ttl_ms = static_cast<uint64_t>(milliseconds(kTtl).count()),
                             .text = ""});
}

// Once for each lock.
void HaltServer::Recall(const std::string& database) {
  HaltTable::Lock* const lock = table_.Held(database);
  if (lock == nullptr || lock->recalled) return;
  if (!closed_here_ && !table_.HasWaiting(database) && !target_->IsWanted(database)) return;
  lock->recalled = true;
  Send(lock->session, RecallHalt{.lock = lock->id, .over = false, .why = "others wait for it"});
}

void HaltServer::EndLock(const std::string& database, const std::string& why) {
  HaltTable::Lock* const lock = table_.Held(database);
  if (lock == nullptr) return;
  if (!why.empty()) Send(lock->session, RecallHalt{.lock = lock->id, .over = true, .why = why});
  const bool wanted = target_->IsWanted(database);
  target_->EndHalt(database);
  held_.erase(database);
  table_.End(database, Now(), wanted);
}

void HaltServer::Drop(const std::string& session) {
  for (const std::string& database : table_.EndSession(session)) EndLock(database, "");
  nodes_.erase(session);
  std::erase_if(accepted_, [&](const Accepted& accepted) { return accepted.session == session; });
}

// A node has one session at a time: what it had in an earlier one is over.
void HaltServer::EndOtherSessions(const Request& request) {
  std::vector<std::string> others;
  for (const auto& [session, node] : nodes_) {
    if (node == request.node_id && session != request.session) others.push_back(session);
  }
  for (const std::string& session : others) Drop(session);
}

// ---- Requests
// ----------------------------------------------------------------------------------

void HaltServer::On(const Request& request, const Halt& halt) {
  EndOtherSessions(request);
  const Time until = Now() + milliseconds(std::min<uint64_t>(halt.wait_ms, 60'000));
  if (!table_.Ask(halt.database, {request.session, halt.request, until})) {
    Send(request.session, Halted{.request = halt.request, .text = "too many wait for the lock"});
  }
}

void HaltServer::On(const Request& request, const KeepHalt& keep) {
  const std::string database = table_.DatabaseOf(keep.kept);
  if (HaltTable::Lock* const lock = table_.Find(database, keep.kept, request.session)) {
    return table_.Keep(lock, Now());
  }
  Send(request.session, RecallHalt{.lock = keep.kept, .over = true, .why = "it is not held"});
}

void HaltServer::On(const Request& request, const EndHalt& end) {
  table_.Cancel(request.session, end.request);
  const std::string database = table_.DatabaseOf(end.lock);
  if (table_.Find(database, end.lock, request.session) != nullptr) EndLock(database, "");
}

void HaltServer::On(const Request& request, const Forward& forward) {
  const auto refuse = [&](std::string why) {
    {
      MutexLock lock(mu_);
      ++counters_.refused;
    }
    LogWarn("forward", fmt::format("db={} node={} refused a transaction: {}", forward.database,
                                   request.node_id, why));
    why.resize(std::min(why.size(), kMaxRefusalTextBytes));
    Send(request.session,
         Forwarded{
             .request = forward.request, .outcome = Outcome::kRefused, .text = std::move(why)});
  };
  HaltTable::Lock* const lock = table_.Find(forward.database, forward.lock, request.session);
  if (lock == nullptr) return refuse("the halt lock has ended");
  table_.Keep(lock, Now());
  Incoming& incoming = held_[forward.database].incoming;
  if (const absl::Status status = Take(forward, request.payload, &incoming); !status.ok()) {
    incoming = {};
    return refuse(std::string(status.message()));
  }
  if (incoming.received_bytes < forward.file.size_bytes) {
    return Send(request.session, Forwarded{.request = forward.request,
                                           .outcome = Outcome::kMore,
                                           .received_bytes = incoming.received_bytes,
                                           .text = ""});
  }
  Incoming whole = std::exchange(incoming, {});
  const absl::StatusOr<ltx::Position> end =
      target_->Accept(forward.database, std::move(whole.spool), forward.sync);
  if (absl::IsDeadlineExceeded(end.status())) {  // the replica asks what became of it
    LogWarn("forward",
            fmt::format("db={} node={} a transaction is not answered: {}", forward.database,
                        request.node_id, std::string(end.status().message())));
    return EndLock(forward.database, "what became of its transaction is not known yet");
  }
  if (!end.ok()) {
    refuse(std::string(end.status().message()));
    return EndLock(forward.database, "its transaction was refused");
  }
  table_.Used(lock, Now());
  {
    MutexLock guard(mu_);
    ++counters_.accepted;
  }
  Acknowledge(request, forward.database, *end,
              {.request = forward.request, .received_bytes = whole.received_bytes, .text = ""});
}

absl::Status HaltServer::Take(const Forward& forward, const std::vector<std::byte>& payload,
                              Incoming* incoming) {
  if (payload.empty() || payload.size() > forward.file.size_bytes - forward.offset ||
      Digest(payload) != forward.digest) {
    return absl::DataLossError("a piece does not match its digest or size");
  }
  if (forward.offset == 0) {
    *incoming = {.request = forward.request, .file = forward.file, .spool = {}};
    ASSIGN_OR_RETURN(incoming->spool, target_->SpoolFile());
  }
  if (incoming->request != forward.request || incoming->file != forward.file ||
      incoming->received_bytes != forward.offset) {
    return absl::InvalidArgumentError("a piece does not continue its transaction");
  }
  RETURN_IF_ERROR(WriteAt(incoming->spool.get(), payload, forward.offset, "a transaction"));
  incoming->received_bytes += payload.size();
  return absl::OkStatus();
}

void HaltServer::On(const Request& request, const AskOutcome& ask) {
  EndOtherSessions(request);
  const absl::StatusOr<bool> reached = target_->HasReached(ask.database, ask.end);
  if (!reached.ok()) return;  // it is asked again
  if (*reached) return Acknowledge(request, ask.database, ask.end, {.request = ask.request});
  Send(request.session,
       Forwarded{
           .request = ask.request, .outcome = Outcome::kRefused, .text = "it is not in the chain"});
}

// With synchronous commit it may have to wait.  A replica that asks again need not: it is told.
void HaltServer::Acknowledge(const Request& request, const std::string& database,
                             const ltx::Position& end, Forwarded answer) {
  const auto before = std::find_if(accepted_.begin(), accepted_.end(), [&](const Accepted& other) {
    return other.session == request.session && other.database == database;
  });
  if (before != accepted_.end() && before->answer.request == answer.request) return;
  if (before != accepted_.end()) accepted_.erase(before);
  Accepted accepted{.session = request.session,
                    .database = database,
                    .answer = std::move(answer),
                    .confirmation = target_->Confirm(database, end, request.node_id),
                    .told = Now()};
  if (!TryAcknowledge(accepted, Now())) accepted_.push_back(std::move(accepted));
}

bool HaltServer::TryAcknowledge(Accepted& accepted, Time now) {
  const std::optional<milliseconds> durable_within = accepted.confirmation->Look();
  if (durable_within) {
    accepted.answer.outcome = Outcome::kAccepted;
    accepted.answer.durable_within_ms = static_cast<uint64_t>(durable_within->count());
    Send(accepted.session, accepted.answer);
    return true;
  }
  if (now - accepted.told >= kTellEvery && accepted.confirmation->WaitsForReplicas()) {
    accepted.told = now;
    accepted.answer.outcome = Outcome::kWaits;
    Send(accepted.session, accepted.answer);
  }
  return false;
}

// ---- Answers
// ----------------------------------------------------------------------------------

void HaltServer::Send(const std::string& session, Body body) {
  {
    MutexLock lock(mu_);
    answers_.push_back({session, std::move(body)});
  }
  options_.on_answer();
}

void HaltServer::Show() {
  MutexLock lock(mu_);
  shown_.clear();
  shown_since_.clear();
  for (const auto& [database, held] : held_) {
    shown_.push_back({.database = database, .node_id = held.node_id});
    shown_since_.push_back(held.since);
  }
}

}  // namespace litefs::replication
