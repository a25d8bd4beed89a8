#include "daemon/node_sync.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "common/clock.h"
#include "common/log.h"

namespace litefs {
namespace {

using std::chrono::milliseconds;

// The app is answered at least so often, if only by EAGAIN: it knows then that the daemon is there.
constexpr milliseconds kTurn{1000};
constexpr std::chrono::seconds kBetweenLogs{30};
// A degraded database waits again when so many replicas are this close to its tip.
constexpr uint64_t kCloseTransactions = 64;

// A replica that was on another branch has confirmed what it had there.
bool IsOfChain(const db::Database& database, const ltx::Position& position) {
  return !absl::IsOutOfRange(database.log().FileAfter(position).status());
}

// How many replicas have stored all of the database's chain up to this transaction.
size_t Count(const db::Database& database, const std::vector<ltx::Position>& stored,
             ltx::TxId txid) {
  return static_cast<size_t>(std::count_if(stored.begin(), stored.end(), [&](const auto& at) {
    return at.txid >= txid && IsOfChain(database, at);
  }));
}

}  // namespace

NodeSync::State& NodeSync::StateOf(const std::string& name) {
  State& state = states_[name];
  if (state.rule == nullptr) state.rule = &config_.SyncOf(name);
  return state;
}

bool NodeSync::InLease() const { return SystemClock().Boot().count() < lease_until_ns_; }

// The transaction is committed here; whether it is anywhere else will show.
uint32_t NodeSync::Unconfirmed(const std::string& name, std::string_view why) {
  LogWarn("sync", fmt::format("db={} a commit is not confirmed by its replicas: {}", name, why));
  MutexLock lock(mu_);
  ++counters_.unconfirmed;
  return EIO;
}

// Ends the degradation if enough replicas have what they were too late for, and are nearly up to
// date.
void NodeSync::Restore(const std::string& name, State& state,
                       const std::vector<ltx::Position>& stored) {
  if (!state.degraded) return;
  const ltx::TxId tip = state.database->log().tip().txid;
  const ltx::TxId close = tip > kCloseTransactions ? tip - kCloseTransactions : 1;
  const ltx::TxId wanted = std::max(close, state.degraded_txid);
  if (Count(*state.database, stored, wanted) < state.rule->replicas) return;
  state.degraded = false;
  LogInfo("sync",
          fmt::format("db={} commits wait for {} replicas again", name, state.rule->replicas));
}

// True where a commit need not wait: the database is degraded, and its replicas are not back.
bool NodeSync::MayPass(const std::string& name, const db::Database& database,
                       const std::vector<ltx::Position>& stored) {
  MutexLock lock(mu_);
  State& state = StateOf(name);
  state.database = &database;
  Restore(name, state, stored);
  counters_.degraded += state.degraded ? 1 : 0;
  return state.degraded;
}

uint64_t NodeSync::WelcomeFlags(const std::string& database) const {
  const SyncConfig& rule = config_.SyncOf(database);
  if (rule.replicas == 0) return 0;
  return ipc::kWelcomeSync | (rule.degrade ? 0 : ipc::kWelcomeSyncWait);
}

// How long this turn of a wait is, and what comes after it.
session::Deferral NodeSync::Patience(const SyncConfig& rule, const session::GateRequest& request,
                                     const std::string& name, uint64_t id) {
  const milliseconds turn = std::clamp(config_.write_timeout / 2, milliseconds(1), kTurn);
  const milliseconds left = rule.timeout - request.waited;
  const bool overdue = left <= turn;  // when the turn is over
  const bool gives_up = overdue && rule.degrade && !request.past_lease;
  const bool was_overdue = left <= milliseconds(0);
  return {.limit = !was_overdue ? std::min(left, turn)
                   : gives_up   ? milliseconds(0)
                                : turn,
          .late_error = static_cast<uint32_t>(gives_up ? 0 : EAGAIN),
          .on_end = [=, this](std::optional<uint32_t> error) {
            Ended(name, id, error, {.times_out = overdue && !was_overdue, .overdue = overdue});
          }};
}

uint32_t NodeSync::AtSync(store::Store::Entry& entry, const session::GateRequest& request,
                          const session::Defer& defer) {
  const std::string& name = entry.database->name();
  const SyncConfig& rule = config_.SyncOf(name);
  if (rule.replicas == 0) return 0;
  if (entry.primary == nullptr) return Unconfirmed(name, "this node is a replica now");
  if (!request.captured) {
    if (request.waited < std::max(rule.timeout, config_.write_timeout)) return EBUSY;
    return Unconfirmed(name, "it is not in the chain");
  }
  const std::vector<ltx::Position> stored = stored_(name, "");
  if (MayPass(name, *entry.database, stored)) return 0;
  const ltx::TxId tip = entry.database->log().tip().txid;
  // Past the lease a replica that stores it may be too late: another node reigns without it.
  if (Count(*entry.database, stored, tip) >= rule.replicas && InLease()) {
    MutexLock lock(mu_);
    ++counters_.confirmed;
    return 0;
  }
  // Another node may reign, which waits for the apps here to end their transactions.
  if (request.past_lease && request.waited >= rule.timeout) {
    return Unconfirmed(name, "this node has lost its lease");
  }
  const uint64_t id = ++last_id_;
  session::Respond respond = defer(Patience(rule, request, name, id));
  {
    MutexLock lock(mu_);
    StateOf(name).waiters.push_back({.id = id, .txid = tip, .respond = std::move(respond)});
  }
  Stored(name, stored_(name, ""));  // it may have come since the count
  return 0;
}

// The replica that has made it has stored it when its app is told: one of those that are wanted.
NodeSync::Verdict NodeSync::AtForwarded(Forwarded* commit, std::chrono::nanoseconds now) {
  const db::Database& database = *commit->database;
  const std::string& name = database.name();
  const SyncConfig& rule = config_.SyncOf(name);
  if (rule.replicas == 0) return Verdict::kEnough;
  const std::vector<ltx::Position> stored = stored_(name, "");
  if (MayPass(name, database, stored)) return Verdict::kEnough;
  const bool enough = Count(database, stored, commit->txid) >= rule.replicas;
  const size_t others = Count(database, stored_(name, commit->node_id), commit->txid);
  MutexLock lock(mu_);
  State& state = StateOf(name);
  if (enough || others + 1 >= rule.replicas) {
    ++counters_.confirmed;
    return enough ? Verdict::kEnough : Verdict::kIfDurable;
  }
  state.forwarded += commit->waits ? 0 : 1;
  commit->waits = true;
  if (now - commit->since < rule.timeout) return Verdict::kWait;
  counters_.timeouts += commit->late ? 0 : 1;
  commit->late = true;
  if (!rule.degrade) {
    LogWait(name, state);
    return Verdict::kWait;
  }
  Degrade(name, state, commit->txid);
  return Verdict::kEnough;
}

void NodeSync::Forget(Forwarded* commit) {
  if (!std::exchange(commit->waits, false)) return;
  MutexLock lock(mu_);
  --StateOf(commit->database->name()).forwarded;
}

void NodeSync::Stored(const std::string& database, const std::vector<ltx::Position>& stored) {
  MutexLock lock(mu_);
  const auto it = states_.find(database);
  if (it == states_.end() || it->second.database == nullptr) return;
  State& state = it->second;
  Restore(database, state, stored);
  std::erase_if(state.waiters, [&](const Waiter& waiter) REQUIRES(mu_) {
    const bool enough = Count(*state.database, stored, waiter.txid) >= state.rule->replicas;
    if (!enough || !InLease()) return false;
    ++counters_.confirmed;
    waiter.respond(0);
    return true;
  });
}

void NodeSync::Forget() {
  MutexLock lock(mu_);
  for (auto& [name, state] : states_) state.database = nullptr;
}

void NodeSync::LogWait(const std::string& name, State& state) {
  const std::chrono::nanoseconds now = SystemClock().Boot();
  if (state.logged_at.count() != 0 && now - state.logged_at < kBetweenLogs) return;
  state.logged_at = now;
  LogWarn("sync", fmt::format("db={} commits wait for {} replicas to store them, longer than {} ms",
                              name, state.rule->replicas, state.rule->timeout.count()));
}

// A wait is over that no replica has ended, or it has and the waiter is gone already.
void NodeSync::Ended(const std::string& name, uint64_t id, std::optional<uint32_t> error,
                     Lateness late) {
  MutexLock lock(mu_);
  State& state = StateOf(name);
  const auto waiter = std::find_if(state.waiters.begin(), state.waiters.end(),
                                   [&](const Waiter& other) { return other.id == id; });
  if (waiter == state.waiters.end()) return;
  const ltx::TxId txid = waiter->txid;
  state.waiters.erase(waiter);
  if (!error.has_value()) return;  // the app or its session is gone
  counters_.timeouts += late.times_out ? 1 : 0;
  if (*error != 0) {
    if (late.overdue) LogWait(name, state);
    return;
  }
  Degrade(name, state, txid);
}

void NodeSync::Degrade(const std::string& name, State& state, ltx::TxId txid) {
  ++counters_.degraded;
  if (state.degraded) return;
  state.degraded = true;
  state.degraded_txid = txid;
  LogWarn("sync", fmt::format("db={} {} replicas have not stored a commit within {} ms: commits do "
                              "not wait until so many are there again",
                              name, state.rule->replicas, state.rule->timeout.count()));
}

nlohmann::json NodeSync::StatusJson(const store::Store::Entry& entry) {
  const std::string& name = entry.database->name();
  const SyncConfig& rule = config_.SyncOf(name);
  if (rule.replicas == 0 || entry.primary == nullptr) return {};
  const size_t stored_by =
      Count(*entry.database, stored_(name, ""), entry.database->log().tip().txid);
  MutexLock lock(mu_);
  const State& state = StateOf(name);
  return {{"replicas", rule.replicas},
          {"stored_by", stored_by},
          {"waiting", state.waiters.size() + state.forwarded},
          {"degraded", state.degraded}};
}

void NodeSync::AddCountersTo(nlohmann::json* json) const {
  MutexLock lock(mu_);
  (*json)["sync_commits"] = counters_.confirmed;
  (*json)["sync_timeouts"] = counters_.timeouts;
  (*json)["sync_degraded_commits"] = counters_.degraded;
  (*json)["unconfirmed_commits"] = counters_.unconfirmed;
}

}  // namespace litefs
