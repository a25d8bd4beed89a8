#include "daemon/replication/lag_table.h"

#include <algorithm>

namespace litefs::replication {
namespace {

constexpr uint64_t kClockSetBackMs = 10'000;

int64_t BootUs(const Clock& clock) {
  return std::chrono::duration_cast<std::chrono::microseconds>(clock.Boot()).count();
}

}  // namespace

// The clock's offset stays: a new sender's first answers replace it if they disagree.
void LagTable::SessionStarted() {
  MutexLock lock(mu_);
  for (auto& [name, database] : databases_) {
    database.marks.clear();
    database.passed_bytes.reset();
  }
}

void LagTable::Add(const Pong& pong) {
  if (pong.received_us == 0) return;  // the sender does not know
  MutexLock lock(mu_);
  offset_.Add(static_cast<int64_t>(pong.sent_us), static_cast<int64_t>(pong.received_us),
              static_cast<int64_t>(pong.answered_us), BootUs(*clock_));
}

void LagTable::SetAsOf(uint64_t as_of_ms) {
  MutexLock lock(mu_);
  // One that came late by another way is older; much older, the primary's clock was set back.
  const bool late = as_of_ms < as_of_ms_ && as_of_ms + kClockSetBackMs > as_of_ms_;
  if (as_of_ms != 0 && !late) as_of_ms_ = as_of_ms;
}

void LagTable::SetComplete(bool complete) {
  MutexLock lock(mu_);
  complete_ = complete;
}

bool LagTable::complete() const {
  MutexLock lock(mu_);
  return complete_;
}

void LagTable::Forget(const std::string& database) {
  MutexLock lock(mu_);
  databases_.erase(database);
}

std::optional<int64_t> LagTable::TimeUs() const {
  MutexLock lock(mu_);
  const std::optional<int64_t> offset = offset_.offset_us();
  if (!offset) return std::nullopt;
  return BootUs(*clock_) + *offset;
}

std::optional<int64_t> LagTable::NowMs() const {
  const std::optional<int64_t> offset = offset_.offset_us();
  if (!offset) return std::nullopt;
  return (BootUs(*clock_) + *offset) / 1000;
}

void LagTable::Learn(const ChainTip& tip) {
  MutexLock lock(mu_);
  const auto [it, added] = databases_.try_emplace(tip.name);
  Database& database = it->second;
  const bool continues = !added && !database.marks.empty() &&
                         database.tip.position.txid < tip.position.txid &&
                         database.tip.end_bytes <= tip.end_bytes;
  if (!added && database.tip.position == tip.position && !database.marks.empty()) return;
  Mark mark{.min_txid = tip.position.txid,
            .max_txid = tip.position.txid,
            .begin_bytes = tip.end_bytes,
            .end_bytes = tip.end_bytes,
            .committed_ms = tip.committed_ms};
  if (continues) {
    mark.min_txid = database.tip.position.txid + 1;
    mark.begin_bytes = database.tip.end_bytes;
  } else if (!added && tip.position.txid <= database.tip.position.txid) {
    database.marks.clear();  // another branch
    database.passed_bytes.reset();
  }
  database.tip = tip;
  Insert(database, mark);
}

void LagTable::Learn(const std::string& name, const FileIdentity& file, uint64_t committed_ms,
                     uint64_t end_bytes) {
  MutexLock lock(mu_);
  Database& database = databases_[name];
  if (file.max_txid > database.tip.position.txid) {
    database.tip = {name, {file.max_txid, file.post_apply}, committed_ms, end_bytes};
  }
  Insert(database, {.min_txid = file.min_txid,
                    .max_txid = file.max_txid,
                    .begin_bytes = end_bytes - std::min(end_bytes, file.size_bytes),
                    .end_bytes = end_bytes,
                    .committed_ms = committed_ms});
}

// A mark that another one covers is of no use beside the narrower one.
void LagTable::Insert(Database& database, const Mark& mark) {
  std::deque<Mark>& marks = database.marks;
  auto at = std::lower_bound(marks.begin(), marks.end(), mark.max_txid,
                             [](const Mark& m, ltx::TxId txid) { return m.max_txid < txid; });
  if (at != marks.end() && at->max_txid == mark.max_txid) {
    // The wider tells of the first transaction, but a file tells its own for certain.
    if (mark.min_txid > at->min_txid || mark.begin_bytes < at->begin_bytes) *at = mark;
  } else {
    marks.insert(at, mark);
  }
  if (marks.size() <= kMaxMarks) return;
  // The older half at half the resolution.
  std::deque<Mark> joined;
  for (size_t i = 0; i < marks.size(); ++i) {
    if (i % 2 == 0 || i >= marks.size() / 2) {
      joined.push_back(marks[i]);
    } else {
      joined.back().max_txid = marks[i].max_txid;
      joined.back().end_bytes = marks[i].end_bytes;
    }
  }
  marks = std::move(joined);
}

void LagTable::Pass(Database& database, ltx::TxId txid) {
  while (!database.marks.empty() && database.marks.front().max_txid <= txid &&
         database.marks.size() > 1) {
    const Mark& mark = database.marks.front();
    database.passed_ms = std::max(database.passed_ms, mark.committed_ms);
    database.passed_bytes = mark.end_bytes;
    database.marks.pop_front();
  }
}

// When the first transaction after here was committed.  Where that is not known: when the last one
// before it was, which is no later; or, if that is not known either, the tip.
uint64_t LagTable::FirstMissingMs(const Database& database, const ltx::Position& here) {
  for (const Mark& mark : database.marks) {
    if (mark.max_txid <= here.txid) continue;
    const bool is_next = mark.min_txid <= here.txid + 1;
    if (!is_next && database.passed_ms != 0) return database.passed_ms;
    return std::max(mark.committed_ms, database.passed_ms);
  }
  return database.tip.committed_ms;
}

LagTable::Lag LagTable::Measure(Database& database, const ltx::Position& here) {
  const ltx::Position& tip = database.tip.position;
  Lag lag{.primary = tip, .transactions = 0, .bytes = 0, .time_ms = 0};
  if (here == tip) return lag;
  lag.transactions = tip.txid > here.txid ? tip.txid - here.txid : 1;
  const std::optional<int64_t> now_ms = NowMs();
  lag.time_ms.reset();
  if (now_ms) {
    const auto missing_ms = static_cast<int64_t>(FirstMissingMs(database, here));
    lag.time_ms = static_cast<uint64_t>(std::max<int64_t>(*now_ms - missing_ms, 0));
  }
  lag.bytes.reset();
  for (const Mark& mark : database.marks) {
    if (mark.max_txid <= here.txid) continue;
    const bool is_next = mark.min_txid <= here.txid + 1;
    if (!is_next && !database.passed_bytes) break;
    const uint64_t begin = is_next ? std::max(mark.begin_bytes, database.passed_bytes.value_or(0))
                                   : *database.passed_bytes;
    lag.bytes = database.tip.end_bytes - std::min(begin, database.tip.end_bytes);
    break;
  }
  return lag;
}

std::optional<LagTable::Lag> LagTable::Of(const std::string& name, const ltx::Position& here) {
  MutexLock lock(mu_);
  const auto it = databases_.find(name);
  if (it == databases_.end()) return std::nullopt;
  Pass(it->second, here.txid);
  return Measure(it->second, here);
}

LagTable::NodeLag LagTable::OfNode(const std::vector<DatabaseState>& here) {
  MutexLock lock(mu_);
  std::map<std::string, ltx::Position> positions;
  for (const DatabaseState& state : here) positions[state.name] = state.position;
  const std::optional<int64_t> now_ms = NowMs();
  NodeLag node{.transactions = 0, .bytes = 0, .time_ms = 0, .heard_ms = {}, .clock_error_ms = {}};
  for (auto& [name, database] : databases_) {
    const Lag lag = Measure(database, positions[name]);
    node.transactions += lag.transactions;
    node.bytes = node.bytes && lag.bytes ? std::optional(*node.bytes + *lag.bytes) : std::nullopt;
    node.time_ms = node.time_ms && lag.time_ms
                       ? std::optional(std::max(*node.time_ms, *lag.time_ms))
                       : std::nullopt;
  }
  if (!now_ms || as_of_ms_ == 0) {
    node.time_ms.reset();
    return node;
  }
  node.heard_ms =
      static_cast<uint64_t>(std::max<int64_t>(*now_ms - static_cast<int64_t>(as_of_ms_), 0));
  node.clock_error_ms = static_cast<uint64_t>((offset_.error_us() + 999) / 1000);
  // Nobody knows what was committed since.
  if (*node.heard_ms > static_cast<uint64_t>(kSilenceGrace.count()) && node.time_ms) {
    node.time_ms = std::max(*node.time_ms, *node.heard_ms);
  }
  return node;
}

uint64_t LagTable::AsOfMs(const std::vector<DatabaseState>& here) {
  MutexLock lock(mu_);
  std::map<std::string, ltx::Position> positions;
  for (const DatabaseState& state : here) positions[state.name] = state.position;
  uint64_t as_of_ms = as_of_ms_;
  for (const auto& [name, database] : databases_) {
    const ltx::Position position = positions[name];
    if (position == database.tip.position) continue;
    as_of_ms = std::min(as_of_ms, FirstMissingMs(database, position));
  }
  return as_of_ms;
}

}  // namespace litefs::replication
