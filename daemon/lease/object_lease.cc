// Objects:
//
//   <key>/lease                {"owner": …, "session": …, "ttl_ms": …, "record": …, "beat": …}
//   <key>/candidates/NODE_ID   {"candidate": …, "session": …, "ttl_ms": …, "beat": …}
//
// The beat makes every content another one, and so every tag: a conditional write cannot meet an
// object that has come back to what it was, and a write that the network has delayed meets one that
// is not what it expects.

#include "daemon/lease/object_lease.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <random>
#include <utility>

#include "common/hex.h"
#include "common/status_macros.h"

namespace litefs::lease {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxCandidates = 256;
constexpr int kMostAttempts = 4;  // each after another write than ours has come between
constexpr milliseconds kShortestPoll{50};
constexpr milliseconds kLongestPoll{500};
constexpr milliseconds kLongestTtl = std::chrono::hours(24);

std::string RandomSession() {
  std::random_device random;
  return Hex16((uint64_t{random()} << 32) | random()) +
         Hex16((uint64_t{random()} << 32) | random());
}

std::string Text(const Json& json, const char* member) {
  const auto found = json.find(member);
  return found != json.end() && found->is_string() ? found->get<std::string>() : "";
}

milliseconds Ttl(const Json& json) {
  const auto found = json.find("ttl_ms");
  const bool is_number = found != json.end() && found->is_number_unsigned();
  return std::min(milliseconds(is_number ? found->get<uint64_t>() : 0), kLongestTtl);
}

absl::StatusOr<Json> ParseObject(const std::string& text) {
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return absl::DataLossError("no JSON object");
  return json;
}

bool IsSameReign(const View& a, const View& b) {
  if (a.record.epoch != b.record.epoch || a.owner.has_value() != b.owner.has_value()) return false;
  return !a.owner.has_value() ||
         (a.owner->node_id == b.owner->node_id && a.owner->epoch == b.owner->epoch);
}

}  // namespace

ObjectLease::ObjectLease(LeaseOptions options, std::unique_ptr<ConditionalStore> store,
                         const Clock* clock)
    : options_(std::move(options)),
      store_(std::move(store)),
      clock_(clock),
      session_(RandomSession()) {}

void ObjectLease::Interrupt() {
  MutexLock lock(mu_);
  interrupted_ = true;
  changed_.NotifyAll();
  store_->Interrupt();
}

void ObjectLease::Resume() {
  MutexLock lock(mu_);
  interrupted_ = false;
  store_->Resume();
}

// ---- Objects ------------------------------------------------------------------------------------

std::string ObjectLease::Beat() { return fmt::format("{}/{}", session_, ++beats_); }

std::string ObjectLease::FormatState(const State& state) {
  Json json = {{"record", Json::parse(FormatRecord(state.record))}, {"beat", Beat()}};
  if (state.owner.has_value()) {
    json["owner"] = Json::parse(FormatOwner(*state.owner));
    json["session"] = state.session;
    json["ttl_ms"] = state.ttl.count();
  }
  return json.dump();
}

absl::StatusOr<ObjectLease::State> ObjectLease::ParseState(const std::string& text) const {
  ASSIGN_OR_RETURN(const Json json, ParseObject(text));
  State state;
  const auto record = json.find("record");
  ASSIGN_OR_RETURN(state.record, ParseRecord(record == json.end() ? "" : record->dump()));
  const auto owner = json.find("owner");
  if (owner == json.end()) return state;
  ASSIGN_OR_RETURN(state.owner, ParseOwner(owner->dump()));
  state.session = Text(json, "session");
  state.ttl = Ttl(json);
  return state;
}

absl::Status ObjectLease::Damaged(const std::string& name, const absl::Status& status) const {
  return absl::DataLossError(
      fmt::format("{}, {}: {}", store_->Describe(), name, std::string(status.message())));
}

// True if this tag has been seen for the time to live, which began when the answer had come that
// showed it first.
bool ObjectLease::Expired(Observation& observation, const std::string& tag, milliseconds ttl) {
  const BootTime now = clock_->Boot();
  if (observation.tag != tag) observation = {.tag = tag, .since = now};
  return now - observation.since >= std::max(ttl, options_.ttl);
}

absl::StatusOr<ObjectLease::Found> ObjectLease::Load(milliseconds timeout) {
  const std::string name = key("/lease");
  const absl::StatusOr<StoredObject> object = store_->Get(name, timeout);
  if (absl::IsNotFound(object.status())) return Found{};
  RETURN_IF_ERROR(object.status());
  const absl::StatusOr<State> state = ParseState(object->content);
  if (!state.ok()) return Damaged(name, state.status());
  return Found{.state = *state,
               .tag = object->tag,
               .expired = Expired(seen_, object->tag, state->ttl) && state->owner.has_value()};
}

absl::StatusOr<std::string> ObjectLease::Store(const State& state, const std::string& tag,
                                               milliseconds timeout) {
  return store_->PutIf(key("/lease"), FormatState(state), tag, timeout);
}

// A store that ignores conditions would let two nodes reign: it is asked to do what it must refuse.
absl::Status ObjectLease::CheckConditions(milliseconds timeout) {
  if (conditions_checked_) return absl::OkStatus();
  const std::string name = key("/probes/") + session_;
  ASSIGN_OR_RETURN(const std::string first, store_->Put(name, Beat(), timeout));
  const absl::Status same = store_->PutIf(name, Beat(), first, timeout).status();
  const absl::Status stale = store_->PutIf(name, Beat(), first, timeout).status();
  const absl::Status there = store_->PutIf(name, Beat(), "", timeout).status();
  RETURN_IF_ERROR(store_->Delete(name, timeout));
  for (const absl::Status& status : {same, stale, there}) {
    if (!status.ok() && !absl::IsAborted(status)) return status;
  }
  if (!same.ok() || stale.ok() || there.ok()) {
    return absl::InvalidArgumentError(
        fmt::format("{}: does not honour If-Match and If-None-Match, and cannot hold a lease",
                    store_->Describe()));
  }
  conditions_checked_ = true;
  return absl::OkStatus();
}

// ---- Reading ------------------------------------------------------------------------------------

absl::StatusOr<View> ObjectLease::Read(milliseconds timeout) {
  ASSIGN_OR_RETURN(Found found, Load(timeout));
  if (found.expired) found.state.owner.reset();
  return View{.owner = found.state.owner, .record = found.state.record, .version = found.tag};
}

// Looks again and again: nobody tells.
absl::StatusOr<View> ObjectLease::Watch(const View& seen, milliseconds timeout) {
  const BootTime end = clock_->Boot() + timeout;
  const milliseconds poll = std::clamp(options_.ttl / 20, kShortestPoll, kLongestPoll);
  const milliseconds limit = std::clamp(timeout, milliseconds(100), milliseconds(5000));
  while (true) {
    {
      const auto wake = std::chrono::steady_clock::now() + std::min(poll, timeout);
      MutexLock lock(mu_);
      while (!interrupted_ && changed_.WaitUntil(mu_, wake)) continue;
      if (interrupted_) return absl::CancelledError("interrupted");
    }
    ASSIGN_OR_RETURN(View now, Read(limit));
    if (!IsSameReign(now, seen) || clock_->Boot() >= end) return now;
  }
}

absl::StatusOr<Candidate> ObjectLease::LoadCandidate(const std::string& name,
                                                     milliseconds timeout) {
  ASSIGN_OR_RETURN(const StoredObject object, store_->Get(name, timeout));
  const absl::StatusOr<Json> json = ParseObject(object.content);
  if (!json.ok()) return Damaged(name, json.status());
  const auto stored = json->find("candidate");
  absl::StatusOr<Candidate> candidate = ParseCandidate(stored == json->end() ? "" : stored->dump());
  if (!candidate.ok()) return Damaged(name, candidate.status());
  if (Expired(seen_candidates_[name], object.tag, Ttl(*json))) {
    return absl::NotFoundError(fmt::format("{} has not been renewed", name));
  }
  candidate->handle = Text(*json, "session");
  return candidate;
}

absl::StatusOr<std::vector<Candidate>> ObjectLease::Candidates(milliseconds timeout) {
  ASSIGN_OR_RETURN(std::vector<std::string> names, store_->List(key("/candidates/"), timeout));
  if (names.size() > kMaxCandidates) names.resize(kMaxCandidates);
  std::vector<Candidate> candidates;
  for (const std::string& name : names) {
    absl::StatusOr<Candidate> candidate = LoadCandidate(name, timeout);
    if (absl::IsNotFound(candidate.status())) continue;
    RETURN_IF_ERROR(candidate.status());
    candidates.push_back(*std::move(candidate));
  }
  return candidates;
}

// ---- Being a candidate --------------------------------------------------------------------------

absl::Status ObjectLease::Announce(const Candidate& self, milliseconds timeout) {
  announced_ = key("/candidates/") + self.node.node_id;
  announcement_ = FormatCandidate(self);
  const BootTime sent = clock_->Boot();
  const Json json = {{"candidate", Json::parse(announcement_)},
                     {"session", session_},
                     {"ttl_ms", options_.ttl.count()},
                     {"beat", Beat()}};
  RETURN_IF_ERROR(store_->Put(announced_, json.dump(), timeout).status());
  announced_at_ = sent;
  return absl::OkStatus();
}

absl::StatusOr<BootTime> ObjectLease::Renew(milliseconds timeout) {
  if (reigning_) {
    RETURN_IF_ERROR(Rewrite(timeout, [](State&) {}));
    return refreshed_ + SafeTime(options_.ttl);
  }
  if (announced_.empty()) return absl::NotFoundError("no lease is held");
  // Who has just announced himself need not do it again.
  const BootTime sent = clock_->Boot();
  if (sent - announced_at_ < options_.ttl / 6) return announced_at_ + SafeTime(options_.ttl);
  ASSIGN_OR_RETURN(const Candidate self, ParseCandidate(announcement_));
  RETURN_IF_ERROR(Announce(self, timeout));
  return announced_at_ + SafeTime(options_.ttl);
}

// ---- Reigns -------------------------------------------------------------------------------------

bool ObjectLease::IsOurs(const State& state) const {
  return state.owner.has_value() && state.session == session_;
}

template <typename Change>
absl::Status ObjectLease::Rewrite(milliseconds timeout, Change change) {
  if (!reigning_) return absl::NotFoundError("this node is not the owner");
  for (int attempt = 0; attempt < kMostAttempts; ++attempt) {
    if (state_tag_.empty()) {
      ASSIGN_OR_RETURN(const Found found, Load(timeout));
      if (!IsOurs(found.state) || found.state.owner->epoch != state_.owner->epoch) {
        reigning_ = false;
        return absl::NotFoundError(
            fmt::format("{}: somebody removed or took the lease", key("/lease")));
      }
      state_ = found.state;
      state_tag_ = found.tag;
    }
    State next = state_;
    change(next);
    const BootTime sent = clock_->Boot();
    const absl::StatusOr<std::string> tag = Store(next, state_tag_, timeout);
    if (tag.ok()) {
      state_ = std::move(next);
      state_tag_ = *tag;
      refreshed_ = sent;
      return absl::OkStatus();
    }
    state_tag_.clear();
    if (!absl::IsAborted(tag.status())) return tag.status();
  }
  return absl::UnavailableError(fmt::format("{}: is rewritten all the time", key("/lease")));
}

absl::StatusOr<Reign> ObjectLease::Acquire(const Owner& self, const View& seen,
                                           milliseconds timeout) {
  RETURN_IF_ERROR(CheckConditions(timeout));
  ASSIGN_OR_RETURN(const Found found, Load(timeout));
  const State& now = found.state;
  if (IsOurs(now)) return TakeUp(found, timeout);  // a hand-over, or an answer that was lost
  if (now.owner.has_value() && !found.expired) {
    return absl::AlreadyExistsError(fmt::format("node {} holds the lease", now.owner->node_id));
  }
  if (found.tag != seen.version) return absl::AbortedError("the record has changed");
  State next{.owner = self, .session = session_, .ttl = options_.ttl, .record = now.record};
  next.owner->epoch = next.record.epoch = now.record.epoch + 1;
  if (next.record.cluster_id.empty()) next.record.cluster_id = self.cluster_id;
  const BootTime sent = clock_->Boot();
  absl::StatusOr<std::string> tag = Store(next, found.tag, timeout);
  if (absl::IsUnavailable(tag.status())) return Settle(found.tag, tag.status(), timeout);
  RETURN_IF_ERROR(tag.status());
  state_tag_ = *std::move(tag);
  state_ = std::move(next);
  refreshed_ = sent;
  reigning_ = true;
  return Reign{.epoch = state_.record.epoch, .deadline = refreshed_ + SafeTime(options_.ttl)};
}

// The outcome is open, be it that the answer is lost, or that the server says so to the loser of a
// race (Ceph's gateway does, with status 500).  before: the tag of what was there.
absl::StatusOr<Reign> ObjectLease::Settle(const std::string& before, const absl::Status& open,
                                          milliseconds timeout) {
  const absl::StatusOr<Found> found = Load(timeout);
  if (!found.ok() || found->tag == before) return open;
  if (IsOurs(found->state)) return TakeUp(*found, timeout);
  return absl::AbortedError("the record has changed");
}

absl::StatusOr<Reign> ObjectLease::TakeUp(const Found& found, milliseconds timeout) {
  state_ = found.state;
  state_tag_ = found.tag;
  reigning_ = true;
  RETURN_IF_ERROR(Rewrite(timeout, [](State&) {}));  // the deadline is of a write of our own
  return Reign{.epoch = found.state.owner->epoch, .deadline = refreshed_ + SafeTime(options_.ttl)};
}

absl::Status ObjectLease::Note(const Positions& positions, milliseconds timeout) {
  return Rewrite(timeout, [&](State& state) { state.record.positions = positions; });
}

// The candidate is looked at first, and may be gone by the time of the write: then the lease is a
// dead node's until it has been silent for its time to live.
absl::Status ObjectLease::HandOver(const Candidate& to, const Positions& positions,
                                   milliseconds timeout) {
  if (!reigning_) return absl::NotFoundError("this node is not the owner");
  const absl::StatusOr<Candidate> there =
      LoadCandidate(key("/candidates/") + to.node.node_id, timeout);
  if (absl::IsNotFound(there.status()) || (there.ok() && there->handle != to.handle)) {
    return absl::FailedPreconditionError(
        fmt::format("node {} is no candidate any more", to.node.node_id));
  }
  RETURN_IF_ERROR(there.status());
  RETURN_IF_ERROR(Rewrite(timeout, [&](State& state) {
    state.owner = to.node;
    state.session = to.handle;
    state.owner->epoch = ++state.record.epoch;
    state.record.positions = positions;
  }));
  reigning_ = false;
  return absl::OkStatus();
}

absl::Status ObjectLease::Release(const std::optional<Positions>& positions, milliseconds timeout) {
  if (reigning_) {
    const absl::Status status = Rewrite(timeout, [&](State& state) {
      state.owner.reset();
      if (positions.has_value()) state.record.positions = *positions;
    });
    if (!status.ok() && !absl::IsNotFound(status)) return status;
    reigning_ = false;
  }
  if (announced_.empty()) return absl::OkStatus();
  RETURN_IF_ERROR(store_->Delete(announced_, timeout));
  announced_.clear();
  return absl::OkStatus();
}

}  // namespace litefs::lease
