#include "daemon/node_forward.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "common/clock.h"
#include "common/hex.h"
#include "common/log.h"
#include "common/posix_io.h"

namespace litefs {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

constexpr milliseconds kTick{10};
// A lock that nobody needs is kept for so long, for the next transaction of a burst, and for an app
// that was told to try again: SQLite's busy handler sleeps up to 100 ms.
constexpr milliseconds kLinger{120};
// A loan ends now and then though it is in use, for the log to be checkpointed.
constexpr milliseconds kLongLoan{1000};
// A user who does not say that he has let go of the lock has lost it otherwise, if it is free.
constexpr milliseconds kSilentUser{1000};
constexpr milliseconds kKeepEvery{1000};
// For the lock, and for the database to catch up.
constexpr milliseconds kMaxWait{5000};
constexpr milliseconds kApproachLimit{5000};
constexpr milliseconds kAskEvery{500};
// For the primary's word on a transaction, also in a later session; from its last word.
constexpr milliseconds kOutcomeLimit{20'000};
// An app that waits for the outcome hears so often that its daemon is there.
constexpr milliseconds kTurn{1000};

nanoseconds Now() { return SystemClock().Boot(); }

}  // namespace

NodeForward::~NodeForward() { *alive_ = false; }

void NodeForward::Post(std::function<void()> task) {
  parts_.server->Post([alive = alive_, task = std::move(task)] {
    if (*alive) task();
  });
}

NodeForward::Loan& NodeForward::LoanOf(store::Store::Entry* entry) {
  Loan& loan = loans_[entry->database->name()];
  loan.entry = entry;
  return loan;
}

NodeForward::Loan* NodeForward::FindByRequest(uint64_t request) {
  for (auto& [name, loan] : loans_) {
    if (loan.state == State::kAsking && loan.request == request) return &loan;
    if (loan.push && loan.push->request == request) return &loan;
  }
  return nullptr;
}

// ---- The lock
// ----------------------------------------------------------------------------------

void NodeForward::Lock(SessionId session, store::Store::Entry* entry, Answer answer) {
  Loan& loan = LoanOf(entry);
  const bool lent = loan.state == State::kLent;
  if (lent && loan.lock != 0 && (!loan.recalled || !loan.used)) {
    loan.users.insert(session);
    return answer(0);
  }
  if (lent && !loan.users.empty()) return answer(EAGAIN);
  loan.waiting.push_back({session, std::move(answer), Now()});
  if (loan.state == State::kIdle) Ask(loan);
  if (loan.state == State::kApproaching) TryLend(loan);
  if (lent) Return(loan);  // and asks anew
  StartTicking();
}

void NodeForward::Ask(Loan& loan) {
  loan.state = State::kAsking;
  loan.since = Now();
  loan.request = 0;
  if (!online_) return;
  loan.request = ++last_request_;
  parts_.submit(replication::Halt{.request = loan.request,
                                  .database = NameOf(loan),
                                  .wait_ms = static_cast<uint64_t>(kMaxWait.count())},
                {});
}

void NodeForward::On(const replication::Halted& halted) {
  Loan* const loan = FindByRequest(halted.request);
  if (loan == nullptr || loan->state != State::kAsking) {
    if (halted.lock != 0) parts_.submit(replication::EndHalt{.lock = halted.lock}, {});
    return;
  }
  loan->request = 0;
  if (halted.lock == 0) {
    LogInfo("forward", fmt::format("db={} no halt lock: {}", NameOf(*loan), halted.text));
    loan->state = State::kIdle;
    return AnswerAll(*loan, EAGAIN);
  }
  ++counters_.locks;
  loan->state = State::kApproaching;
  loan->since = loan->kept = Now();
  loan->lock = halted.lock;
  loan->from = halted.from;
  loan->recalled = loan->used = false;
  loan->known = true;
  TryLend(*loan);
}

// In a rollback mode those who wait hold SHARED, which keeps missing transactions from being
// applied: they are told to try again.
void NodeForward::TryLend(Loan& loan) {
  approaching_ = true;
  const absl::Status status = loan.entry->replica->Lend(loan.from);
  if (status.ok()) {
    loan.state = State::kLent;
    loan.since = loan.lent_since = Now();
    for (const Waiter& waiter : loan.waiting) loan.users.insert(waiter.session);
    return AnswerAll(loan, 0);
  }
  if (!absl::IsUnavailable(status)) {
    LogWarn("forward", fmt::format("db={} cannot be lent: {}", NameOf(loan), status.ToString()));
    return GiveUp(loan);
  }
  if (!loan.entry->replica->Info().wal) AnswerAll(loan, EAGAIN);
}

void NodeForward::GiveUp(Loan& loan) {
  if (loan.lock != 0) parts_.submit(replication::EndHalt{.lock = loan.lock}, {});
  loan.lock = 0;
  loan.state = State::kIdle;
  AnswerAll(loan, EAGAIN);
}

void NodeForward::AnswerAll(Loan& loan, int error) {
  for (Waiter& waiter : std::exchange(loan.waiting, {})) waiter.answer(error);
}

void NodeForward::Unlock(SessionId session, store::Store::Entry* entry) {
  Loan& loan = LoanOf(entry);
  loan.ranges.erase(session);
  if (loan.users.erase(session) == 0) return;
  loan.since = Now();
  const bool long_enough = loan.since - loan.lent_since > kLongLoan;
  const bool over =
      (loan.recalled && loan.used) || loan.lock == 0 || long_enough || entry->replica->LoanIsOver();
  if (loan.state == State::kLent && loan.users.empty() && over) Return(loan);
}

void NodeForward::Return(Loan& loan) {
  const absl::Status status = loan.entry->replica->TakeBack(loan.known);
  if (absl::IsUnavailable(status)) {
    if (loan.users.empty()) loan.state = State::kReturning;
    return StartTicking();
  }
  if (!status.ok()) {
    LogWarn("forward", fmt::format("db={} after a loan: {}", NameOf(loan), status.ToString()));
  }
  if (loan.lock != 0) parts_.submit(replication::EndHalt{.lock = loan.lock}, {});
  loan.lock = 0;
  loan.known = true;
  loan.users.clear();
  loan.ranges.clear();
  loan.state = State::kIdle;
  parts_.on_returned();
  if (!loan.waiting.empty()) Ask(loan);
}

void NodeForward::On(const replication::RecallHalt& recall) {
  for (auto& [name, loan] : loans_) {
    if (loan.lock != recall.lock || recall.lock == 0) continue;
    loan.recalled = true;
    if (recall.over) {
      LogInfo("forward", fmt::format("db={} the halt lock has ended: {}", name, recall.why));
      loan.lock = 0;
      if (loan.state == State::kApproaching) GiveUp(loan);
      if (loan.push) AskOutcome(loan);  // nothing is accepted under it any more
    }
    const bool free = loan.state == State::kLent && loan.users.empty() && !loan.push;
    if (free && (loan.used || loan.lock == 0)) Return(loan);
  }
}

// ---- Transactions
// ----------------------------------------------------------------------------------

void NodeForward::AddDirty(SessionId session, store::Store::Entry* entry, uint64_t offset,
                           uint64_t length) {
  LoanOf(entry).ranges[session].Add(offset, length);
}

void NodeForward::AddEverything(SessionId session, store::Store::Entry* entry) {
  LoanOf(entry).ranges[session].AddEverything();
}

bool NodeForward::MayCommit(const Loan& loan, SessionId session) const {
  return loan.state == State::kLent && loan.users.contains(session) && !loan.push;
}

// True: the app has been here with this transaction.
bool NodeForward::AskedAgain(Loan& loan, SessionId session, Answer& answer) {
  if (loan.verdict && loan.verdict->session == session) {
    answer(std::exchange(loan.verdict, std::nullopt)->error);
    return true;
  }
  if (!loan.push || loan.push->session != session || !loan.push->asks_again) return false;
  loan.push->answer = std::move(answer);
  loan.push->answered = Now();
  return true;
}

void NodeForward::Commit(SessionId session, store::Store::Entry* entry, CommitOptions options,
                         Answer answer) {
  Loan& loan = LoanOf(entry);
  if (AskedAgain(loan, session, answer)) return;
  if (!MayCommit(loan, session)) {
    LogWarn("forward", fmt::format("db={} refused a commit: its lock was lost", NameOf(loan)));
    return answer(EIO);
  }
  Begin(
      loan, session,
      entry->replica->PrepareForward(loan.ranges[session], options.sync, parts_.primary_time_ms()),
      options, std::move(answer));
}

void NodeForward::CommitWal(SessionId session, store::Store::Entry* entry,
                            const db::ReplicaDatabase::CommitFrame& last, CommitOptions options,
                            Answer answer) {
  Loan& loan = LoanOf(entry);
  if (AskedAgain(loan, session, answer)) return;
  if (!MayCommit(loan, session)) {
    LogWarn("forward", fmt::format("db={} refused a commit: its lock was lost", NameOf(loan)));
    return answer(EIO);
  }
  Begin(loan, session,
        entry->replica->PrepareForwardWal(last, options.sync, parts_.primary_time_ms()), options,
        std::move(answer));
}

void NodeForward::Begin(Loan& loan, SessionId session,
                        absl::StatusOr<std::optional<db::ReplicaDatabase::Pending>> prepared,
                        CommitOptions options, Answer answer) {
  // Whoever finds that its snapshot is too old lets go of the lock and comes again: no use yet.
  loan.used = true;
  absl::StatusOr<UniqueFd> fd = UniqueFd();
  if (prepared.ok() && prepared->has_value()) fd = OpenFile((*prepared)->path, O_RDONLY);
  if (!prepared.ok() || !fd.ok()) {
    const absl::Status& why = prepared.ok() ? fd.status() : prepared.status();
    loan.known = false;
    ++counters_.refused;
    LogWarn("forward", fmt::format("db={} refused a commit: {}", NameOf(loan), why.ToString()));
    return answer(absl::IsResourceExhausted(why) ? ENOSPC : EIO);
  }
  if (!prepared->has_value()) return answer(0);  // a rollback
  const db::LtxFileRef& file = (*prepared)->file;
  loan.push.emplace(
      Push{.request = ++last_request_,
           .session = session,
           .fd = *std::move(fd),
           .file = {file.min_txid, file.max_txid, file.pre_apply, file.post_apply, file.size_bytes},
           .sync = options.sync,
           .asks_again = options.asks_again,
           .answer = std::move(answer),
           .answered = Now(),
           .deadline = Now() + kOutcomeLimit,
           .since = Now()});
  if (loan.lock == 0) return Refuse(loan, "the halt lock has ended");
  if (file.size_bytes > replication::kMaxForwardBytes) return Refuse(loan, "it is too large");
  SendPieces(loan);
}

void NodeForward::SendPieces(Loan& loan) {
  Push& push = *loan.push;
  constexpr uint64_t kWindowBytes = replication::kForwardWindow * replication::kForwardChunkBytes;
  while (push.sent_bytes < push.file.size_bytes &&
         push.sent_bytes - push.received_bytes < kWindowBytes) {
    std::vector<std::byte> piece(std::min<uint64_t>(replication::kForwardChunkBytes,
                                                    push.file.size_bytes - push.sent_bytes));
    const absl::Status read = ReadExactAt(push.fd.get(), piece, push.sent_bytes, "a transaction");
    if (!read.ok()) return Refuse(loan, read.ToString());
    replication::Forward forward{.request = push.request,
                                 .lock = loan.lock,
                                 .database = NameOf(loan),
                                 .file = push.file,
                                 .sync = push.sync,
                                 .offset = push.sent_bytes,
                                 .digest = replication::Digest(piece)};
    push.sent_bytes += piece.size();
    parts_.submit(std::move(forward), std::move(piece));
  }
}

void NodeForward::Refuse(Loan& loan, const std::string& why) {
  ++counters_.refused;
  LogWarn("forward", fmt::format("db={} txid={} was not accepted: {}", NameOf(loan),
                                 Hex16(loan.push->file.max_txid), why));
  loan.entry->replica->FinishForward(EIO);
  EndPush(loan, EIO);
}

void NodeForward::EndPush(Loan& loan, int error) {
  const Push push = *std::exchange(loan.push, std::nullopt);
  loan.since = Now();
  if (push.answer) {
    push.answer(error);
  } else if (push.asks_again) {
    loan.verdict = Verdict{push.session, error};
  } else {
    loan.known = false;
  }
}

void NodeForward::On(const replication::Forwarded& forwarded) {
  Loan* const loan = FindByRequest(forwarded.request);
  if (loan == nullptr || !loan->push) return;
  switch (forwarded.outcome) {
    case replication::Outcome::kMore:
      loan->push->received_bytes = std::max(loan->push->received_bytes, forwarded.received_bytes);
      return SendPieces(*loan);
    case replication::Outcome::kRefused:
      return Refuse(*loan, forwarded.text);
    case replication::Outcome::kWaits:
      loan->push->deadline = Now() + kOutcomeLimit;
      return;
    case replication::Outcome::kAccepted:
      return Accept(*loan, forwarded);
  }
}

// With synchronous commit this replica may be one of those that have it.  What is durable here only
// after the primary's lease has ended may be on a branch: then the primary must say so once more.
void NodeForward::Accept(Loan& loan, const replication::Forwarded& forwarded) {
  Push& push = *loan.push;
  db::ReplicaDatabase& replica = *loan.entry->replica;
  const milliseconds within(forwarded.durable_within_ms);
  const bool counts = within.count() != 0 && !push.durable;
  absl::Status stored = replica.StoreForwarded();
  if (stored.ok() && counts) stored = replica.SyncStored();
  if (!stored.ok()) {
    // The primary has it: it comes by the stream.
    LogWarn("forward", fmt::format("db={} an accepted transaction is not stored here: {}",
                                   NameOf(loan), stored.ToString()));
  }
  parts_.on_stored(NameOf(loan), push.file.max_txid);
  if (counts && !stored.ok()) return Unknown(loan, "it is not durable here");
  push.durable |= counts;
  if (counts && Now() - push.since >= within) return AskAnew(loan);
  ++counters_.accepted;
  EndPush(loan, 0);
}

// The app is told that its commit has failed, which may not be so.
void NodeForward::Unknown(Loan& loan, const std::string& why) {
  ++counters_.unknown;
  LogError("forward",
           fmt::format("db={} txid={} outcome unknown: {}, and the app is told that its commit "
                       "failed; if it was accepted it comes by the stream",
                       NameOf(loan), Hex16(loan.push->file.max_txid), why));
  loan.entry->replica->FinishForward(EIO);
  EndPush(loan, EIO);
}

void NodeForward::Done(SessionId session, store::Store::Entry* entry, int error) {
  Loan& loan = LoanOf(entry);
  if (!loan.users.contains(session)) return;
  entry->replica->FinishForward(error);
  if (error == 0) loan.ranges.erase(session);
}

bool NodeForward::MayReset(SessionId session, store::Store::Entry* entry) {
  return LoanOf(entry).users.contains(session);
}

void NodeForward::Ended(SessionId session, store::Store::Entry* entry) {
  const auto it = loans_.find(entry->database->name());
  if (it == loans_.end()) return;
  Loan& loan = it->second;
  std::erase_if(loan.waiting, [&](const Waiter& waiter) { return waiter.session == session; });
  loan.ranges.erase(session);
  if (loan.users.erase(session) == 0) return;
  loan.known = false;
  loan.used = true;
  loan.since = Now();
  if (loan.push && loan.push->session == session) {
    loan.push->answer = nullptr;
    loan.push->asks_again = false;
  }
  if (loan.verdict && loan.verdict->session == session) loan.verdict.reset();
  if (loan.state == State::kLent && loan.users.empty() && !loan.push) Return(loan);
}

// ---- The session with the primary
// ----------------------------------------------------------------------------------

void NodeForward::Heard(replication::Body body) {
  Post([this, body = std::move(body)] {
    if (const auto* halted = std::get_if<replication::Halted>(&body)) return On(*halted);
    if (const auto* recall = std::get_if<replication::RecallHalt>(&body)) return On(*recall);
    if (const auto* forwarded = std::get_if<replication::Forwarded>(&body)) On(*forwarded);
  });
}

void NodeForward::Online(bool online) {
  Post([this, online] { SetOnline(online); });
}

// Locks end with the session that they were got in.
void NodeForward::SetOnline(bool online) {
  online_ = online;
  for (auto& [name, loan] : loans_) {
    loan.lock = 0;
    if (loan.state == State::kApproaching) loan.state = State::kAsking;
    if (loan.state == State::kAsking) Ask(loan);
    if (loan.push && online) AskAnew(loan);
    StartTicking();
  }
}

// An answer to this says how it is since now.
void NodeForward::AskAnew(Loan& loan) {
  loan.push->request = ++last_request_;
  loan.push->since = Now();
  AskOutcome(loan);
}

// Who was asked may not know yet.
void NodeForward::AskOutcome(Loan& loan) {
  Push& push = *loan.push;
  push.asked = Now();
  parts_.submit(replication::AskOutcome{.request = push.request,
                                        .database = NameOf(loan),
                                        .end = {push.file.max_txid, push.file.post_apply}},
                {});
}

void NodeForward::Applied() {
  if (!approaching_) return;
  Post([this] {
    for (auto& [name, loan] : loans_) {
      if (loan.state == State::kApproaching) TryLend(loan);
    }
  });
}

bool NodeForward::EndAll() {
  bool ended = true;
  for (auto& [name, loan] : loans_) {
    AnswerAll(loan, EAGAIN);
    if (loan.push) Refuse(loan, "the role of this node changes");
    if (loan.state == State::kLent || loan.state == State::kReturning) Return(loan);
    ended &= loan.state != State::kLent && loan.state != State::kReturning;
  }
  return ended;
}

// ---- Time
// ----------------------------------------------------------------------------------

void NodeForward::StartTicking() {
  if (std::exchange(ticking_, true)) return;
  parts_.server->After(kTick, [this, alive = alive_] {
    if (*alive) Tick();
  });
}

void NodeForward::Tick() {
  ticking_ = false;
  const Time now = Now();
  bool busy = false;
  bool approaching = false;
  for (auto& [name, loan] : loans_) {
    Look(loan, now);
    busy |= loan.state != State::kIdle || loan.push;
    approaching |= loan.state == State::kApproaching;
  }
  approaching_ = approaching;
  if (busy) StartTicking();
}

void NodeForward::Look(Loan& loan, Time now) {
  for (size_t i = 0; i < loan.waiting.size();) {
    if (now - loan.waiting[i].since < std::min(kMaxWait, parts_.write_timeout)) {
      ++i;
      continue;
    }
    Waiter tired = std::move(loan.waiting[i]);
    loan.waiting.erase(loan.waiting.begin() + static_cast<ptrdiff_t>(i));
    tired.answer(EAGAIN);
  }
  if (loan.push) LookAtPush(loan, now);
  if (loan.lock != 0 && now - loan.kept >= kKeepEvery) {
    loan.kept = now;
    parts_.submit(replication::KeepHalt{loan.lock}, {});
  }
  if (loan.state == State::kAsking && loan.waiting.empty() && now - loan.since > 2 * kMaxWait) {
    if (loan.request != 0) parts_.submit(replication::EndHalt{.request = loan.request}, {});
    loan.state = State::kIdle;
  }
  if (loan.state == State::kApproaching) TryLend(loan);
  if (loan.state == State::kApproaching && now - loan.since > kApproachLimit) GiveUp(loan);
  if (loan.state == State::kLent && !loan.push) LookAtLent(loan, now);
  if (loan.state == State::kReturning) Return(loan);
}

void NodeForward::LookAtPush(Loan& loan, Time now) {
  Push& push = *loan.push;
  if (now >= push.deadline) return Unknown(loan, "the primary has not answered");
  if (push.asked.count() != 0 && online_ && now - push.asked >= kAskEvery) AskOutcome(loan);
  if (push.asks_again && push.answer && now - push.answered >= kTurn) {
    std::exchange(push.answer, nullptr)(EAGAIN);
  }
}

void NodeForward::LookAtLent(Loan& loan, Time now) {
  const Time idle = now - loan.since;
  if (!loan.users.empty()) {
    if (idle > kSilentUser && (loan.lock == 0 || loan.recalled)) Return(loan);
    return;
  }
  if (loan.lock == 0 || idle > kLinger || (loan.recalled && loan.used)) Return(loan);
}

nlohmann::json NodeForward::StatusJson() const {
  static constexpr const char* kStates[] = {"idle", "asking", "catching up", "held", "returning"};
  nlohmann::json json = nlohmann::json::array();
  for (const auto& [name, loan] : loans_) {
    if (loan.state == State::kIdle) continue;
    json.push_back({{"database", name},
                    {"state", kStates[static_cast<size_t>(loan.state)]},
                    {"writers", loan.users.size()},
                    {"waiting", loan.waiting.size()}});
  }
  return json;
}

}  // namespace litefs
