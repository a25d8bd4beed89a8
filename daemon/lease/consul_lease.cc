// The keys:
//
//   <key>/primary                      the owner; locked by the holder's session
//   <key>/record                       the record
//   <key>/candidates/NODE_ID/SESSION   an announcement; locked by the candidate's session
//
// Sessions are of behaviour "delete": their keys go with them.  They depend on no health check
// (NodeChecks is empty), or a flapping agent would end a reign whose holder cannot know.  Who ends
// a session otherwise (consul session destroy, an agent that leaves) meets the lock delay, which is
// as long as the holder may believe in its lease.  Consul ends a session at twice its time to live.

#include "daemon/lease/consul_lease.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "absl/strings/escaping.h"
#include "common/status_macros.h"

namespace litefs::lease {
namespace {

using Json = nlohmann::json;

constexpr milliseconds kShortestWait{10};
constexpr milliseconds kAnswerSlack{5000};  // of a blocking query, beyond its wait

std::string Text(const Json& json, const char* member) {
  const auto found = json.is_object() ? json.find(member) : json.end();
  if (!json.is_object() || found == json.end()) return "";
  if (found->is_string()) return found->get<std::string>();
  return found->is_number_unsigned() ? std::to_string(found->get<uint64_t>()) : "";
}

absl::Status ErrorOf(const HttpResponse& response, const std::string& where) {
  const std::string text =
      fmt::format("{}: HTTP {}: {}", where, response.status, response.body.substr(0, 300));
  if (response.status == 403) return absl::PermissionDeniedError(text);
  if (response.status == 404) return absl::NotFoundError(text);
  if (response.body.find("Invalid Session TTL") != std::string::npos) {
    return absl::InvalidArgumentError(
        text + " (set lease.ttl within Consul's limits, or lower its session_ttl_min)");
  }
  if (response.status / 100 == 4 && response.status != 429) {
    return absl::InvalidArgumentError(text);
  }
  return absl::UnavailableError(text);
}

// A segment of a URL's path: keys may hold anything.
std::string EscapePath(const std::string& key) {
  std::string text;
  for (const char c : key) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                       std::string_view("-._~/").find(c) != std::string_view::npos;
    text += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return text;
}

}  // namespace

ConsulLease::ConsulLease(LeaseOptions options, const Clock* clock)
    : options_(std::move(options)), clock_(clock) {}

absl::StatusOr<HttpResponse> ConsulLease::Send(const std::string& method, const std::string& path,
                                               const std::string& body, milliseconds timeout) {
  HttpRequest request{.method = method,
                      .url = options_.urls[url_ % options_.urls.size()] + path,
                      .body = body,
                      .headers = {"Content-Type: application/json"}};
  if (!options_.token.empty()) request.headers.push_back("X-Consul-Token: " + options_.token);
  absl::StatusOr<HttpResponse> response = http_.Send(request, timeout);
  if (absl::IsUnavailable(response.status())) ++url_;  // another server, the next time
  return response;
}

// ---- Reading
// ----------------------------------------------------------------------------------------

absl::StatusOr<std::map<std::string, ConsulLease::Entry>> ConsulLease::List(milliseconds timeout,
                                                                            std::string* index) {
  const std::string path = "/v1/kv/" + EscapePath(key("/")) + "?recurse=true&consistent=true";
  ASSIGN_OR_RETURN(const HttpResponse response, Send("GET", path, "", timeout));
  if (index != nullptr) *index = response.index;
  std::map<std::string, Entry> entries;
  if (response.status == 404 && !response.index.empty()) return entries;
  if (response.status != 200) return ErrorOf(response, path);
  const Json rows = Json::parse(response.body, nullptr, /*allow_exceptions=*/false);
  if (!rows.is_array()) return absl::DataLossError(path + ": the answer is no JSON array");
  for (const Json& row : rows) {
    std::string value;
    if (!absl::Base64Unescape(Text(row, "Value"), &value)) {
      return absl::DataLossError(path + ": a value is no base64");
    }
    entries[Text(row, "Key")] = {.value = std::move(value),
                                 .session = Text(row, "Session"),
                                 .modified = Text(row, "ModifyIndex")};
  }
  return entries;
}

absl::StatusOr<View> ConsulLease::ReadView(milliseconds timeout, std::string* owner_session) {
  std::string index;
  ASSIGN_OR_RETURN(const auto entries, List(timeout, &index));
  View view;
  std::string modified = "0";
  if (const auto owner = entries.find(key("/primary"));
      owner != entries.end() && !owner->second.session.empty()) {
    ASSIGN_OR_RETURN(view.owner, ParseOwner(owner->second.value));
    *owner_session = owner->second.session;
  }
  if (const auto record = entries.find(key("/record")); record != entries.end()) {
    ASSIGN_OR_RETURN(view.record, ParseRecord(record->second.value));
    modified = record->second.modified;
  }
  view.version = fmt::format("{}/{}", modified, index);
  return view;
}

absl::StatusOr<View> ConsulLease::Read(milliseconds timeout) {
  std::string session;
  return ReadView(timeout, &session);
}

absl::StatusOr<View> ConsulLease::Watch(const View& seen, milliseconds timeout) {
  const auto deadline = clock_->Boot() + timeout;
  const auto same = [&seen](const View& now) {
    return now.record.epoch == seen.record.epoch &&
           now.owner.has_value() == seen.owner.has_value() &&
           (!now.owner.has_value() ||
            (now.owner->node_id == seen.owner->node_id && now.owner->epoch == seen.owner->epoch));
  };
  View now = seen;
  while (true) {
    const auto left = std::chrono::floor<milliseconds>(deadline - clock_->Boot());
    if (left > kShortestWait) {
      const std::string path =
          fmt::format("/v1/kv/{}?index={}&wait={}ms", EscapePath(key("/primary")),
                      now.version.substr(now.version.rfind('/') + 1), left.count());
      // Consul adds up to a sixteenth to the wait.
      const absl::Status status = Send("GET", path, "", left + left / 16 + kAnswerSlack).status();
      if (absl::IsCancelled(status)) return status;
    }
    ASSIGN_OR_RETURN(now, Read(kAnswerSlack));
    if (!same(now) || clock_->Boot() + kShortestWait >= deadline) return now;
  }
}

absl::StatusOr<std::vector<Candidate>> ConsulLease::Candidates(milliseconds timeout) {
  ASSIGN_OR_RETURN(const auto entries, List(timeout, nullptr));
  std::vector<Candidate> candidates;
  for (const auto& [name, entry] : entries) {
    if (!name.starts_with(key("/candidates/")) || entry.session.empty()) continue;
    ASSIGN_OR_RETURN(Candidate candidate, ParseCandidate(entry.value));
    candidate.handle = entry.session;
    candidates.push_back(std::move(candidate));
  }
  return candidates;
}

// ---- Keeping a session
// ------------------------------------------------------------------------------

void ConsulLease::Forget() {
  session_.clear();
  reigning_ = false;
}

absl::Status ConsulLease::CreateSession(const std::string& node_id, milliseconds timeout) {
  const BootTime sent = clock_->Boot();
  const std::string ttl = fmt::format("{}ms", options_.ttl.count());
  const Json body = {{"Name", "litefs-" + node_id},
                     {"TTL", ttl},
                     {"LockDelay", ttl},
                     {"Behavior", "delete"},
                     {"NodeChecks", Json::array()}};
  const std::string path = "/v1/session/create";
  ASSIGN_OR_RETURN(const HttpResponse response, Send("PUT", path, body.dump(), timeout));
  if (response.status != 200) return ErrorOf(response, path);
  session_ = Text(Json::parse(response.body, nullptr, /*allow_exceptions=*/false), "ID");
  if (session_.empty()) return absl::DataLossError(path + ": the answer has no ID");
  refreshed_ = sent;
  return absl::OkStatus();
}

absl::StatusOr<BootTime> ConsulLease::Renew(milliseconds timeout) {
  if (session_.empty()) return absl::NotFoundError("no session is held");
  const BootTime sent = clock_->Boot();
  ASSIGN_OR_RETURN(const HttpResponse response,
                   Send("PUT", "/v1/session/renew/" + session_, "", timeout));
  if (response.status == 404) {
    Forget();
    return absl::NotFoundError(fmt::format("{}: the session is gone from Consul", key("/primary")));
  }
  if (response.status != 200) return ErrorOf(response, "renew the session");
  if (reigning_) {
    std::string owner_session;
    RETURN_IF_ERROR(ReadView(timeout, &owner_session).status());
    if (owner_session != session_) {
      reigning_ = false;
      return absl::NotFoundError(
          fmt::format("{}: somebody removed or took the key", key("/primary")));
    }
  }
  refreshed_ = sent;
  return refreshed_ + SafeTime(options_.ttl);
}

absl::Status ConsulLease::Announce(const Candidate& self, milliseconds timeout) {
  for (bool again = true;; again = false) {
    if (session_.empty()) RETURN_IF_ERROR(CreateSession(self.node.node_id, timeout));
    const std::string name =
        fmt::format("{}{}/{}", key("/candidates/"), self.node.node_id, session_);
    ASSIGN_OR_RETURN(const HttpResponse response,
                     Send("PUT", fmt::format("/v1/kv/{}?acquire={}", EscapePath(name), session_),
                          FormatCandidate(self), timeout));
    if (response.status == 200 && response.body.starts_with("true")) return absl::OkStatus();
    const bool lost = response.body.find("invalid session") != std::string::npos;
    if (!lost || !again || reigning_) return ErrorOf(response, name);
    Forget();
  }
}

// ---- Reigns
// -----------------------------------------------------------------------------------------

Json ConsulLease::Operation(const char* verb, const char* part) const {
  return {{"Verb", verb}, {"Key", key(part)}};
}

Json ConsulLease::OwnersOperation(const char* verb, const std::string& session,
                                  const Owner& owner) const {
  Json operation = Operation(verb, "/primary");
  operation["Session"] = session;
  operation["Value"] = absl::Base64Escape(FormatOwner(owner));
  return {{"KV", operation}};
}

Json ConsulLease::SetRecord(const char* verb, uint64_t epoch, const Positions& positions) const {
  Json operation = Operation(verb, "/record");
  operation["Value"] = absl::Base64Escape(
      FormatRecord({.epoch = epoch, .cluster_id = self_.cluster_id, .positions = positions}));
  return {{"KV", operation}};
}

absl::StatusOr<ConsulLease::Outcome> ConsulLease::Transact(const Json& operations,
                                                           milliseconds timeout) {
  ASSIGN_OR_RETURN(const HttpResponse response, Send("PUT", "/v1/txn", operations.dump(), timeout));
  if (response.status == 200) return Outcome{.committed = true};
  if (response.status != 409) return ErrorOf(response, "/v1/txn");
  Outcome outcome{.failed = 0, .why = response.body.substr(0, 300)};
  const Json body = Json::parse(response.body, nullptr, /*allow_exceptions=*/false);
  if (body.is_object() && body.contains("Errors") && body["Errors"].is_array() &&
      !body["Errors"].empty()) {
    const Json& error = body["Errors"][0];
    if (error.is_object() && error.contains("OpIndex") && error["OpIndex"].is_number_integer()) {
      outcome.failed = error["OpIndex"].get<int64_t>();
    }
    outcome.why = Text(error, "What");
  }
  return outcome;
}

absl::StatusOr<Reign> ConsulLease::Acquire(const Owner& self, const View& seen,
                                           milliseconds timeout) {
  if (!session_.empty()) {
    const absl::StatusOr<BootTime> renewed = Renew(timeout);
    if (!renewed.ok() && !absl::IsNotFound(renewed.status())) return renewed.status();
  }
  if (session_.empty()) RETURN_IF_ERROR(CreateSession(self.node_id, timeout));
  std::string owner_session;
  ASSIGN_OR_RETURN(const View now, ReadView(timeout, &owner_session));
  if (now.owner.has_value() && owner_session != session_) {
    return absl::AlreadyExistsError(fmt::format("node {} holds the lease", now.owner->node_id));
  }
  Owner owner = self;
  if (!seen.record.cluster_id.empty()) owner.cluster_id = seen.record.cluster_id;
  if (now.owner.has_value()) {  // a hand-over, or an answer that was lost
    owner.epoch = now.owner->epoch;
    owner.cluster_id = now.record.cluster_id;
    self_ = owner;
  } else {
    owner.epoch = seen.record.epoch + 1;
    self_ = owner;
    const std::string modified = seen.version.substr(0, seen.version.find('/'));
    Json record = SetRecord("cas", owner.epoch, seen.record.positions);
    record["KV"]["Index"] = Json::parse(modified, nullptr, /*allow_exceptions=*/false);
    const Json operations = {OwnersOperation("lock", session_, owner), record};
    ASSIGN_OR_RETURN(const Outcome outcome, Transact(operations, timeout));
    if (!outcome.committed) {
      if (outcome.why.find("invalid session") != std::string::npos) Forget();
      return absl::AbortedError(outcome.why);  // taken, a lock delay, or another record
    }
  }
  reigning_ = true;
  return Reign{.epoch = owner.epoch, .deadline = refreshed_ + SafeTime(options_.ttl)};
}

absl::Status ConsulLease::Note(const Positions& positions, milliseconds timeout) {
  if (!reigning_) return absl::NotFoundError("this node is not the owner");
  const Json operations = {OwnersOperation("check-session", session_, self_),
                           SetRecord("set", self_.epoch, positions)};
  ASSIGN_OR_RETURN(const Outcome outcome, Transact(operations, timeout));
  if (outcome.committed) return absl::OkStatus();
  reigning_ = false;
  return absl::NotFoundError("this node is not the owner any more: " + outcome.why);
}

absl::Status ConsulLease::HandOver(const Candidate& to, const Positions& positions,
                                   milliseconds timeout) {
  if (!reigning_) return absl::NotFoundError("this node is not the owner");
  Owner owner = to.node;
  owner.epoch = self_.epoch + 1;
  const Json operations = {OwnersOperation("unlock", session_, self_),
                           OwnersOperation("lock", to.handle, owner),
                           SetRecord("set", owner.epoch, positions)};
  ASSIGN_OR_RETURN(const Outcome outcome, Transact(operations, timeout));
  if (outcome.committed) {
    reigning_ = false;
    return absl::OkStatus();
  }
  if (outcome.failed != 0) {
    return absl::FailedPreconditionError(
        fmt::format("node {} is no candidate any more: {}", to.node.node_id, outcome.why));
  }
  reigning_ = false;
  return absl::NotFoundError("this node is not the owner any more: " + outcome.why);
}

absl::Status ConsulLease::Release(const std::optional<Positions>& positions, milliseconds timeout) {
  if (session_.empty()) return absl::OkStatus();
  if (reigning_) {
    Json operations = {OwnersOperation("unlock", session_, self_),
                       {{"KV", Operation("delete", "/primary")}}};
    if (positions.has_value()) operations.push_back(SetRecord("set", self_.epoch, *positions));
    RETURN_IF_ERROR(Transact(operations, timeout).status());  // refused: it was not ours any more
    reigning_ = false;
  }
  ASSIGN_OR_RETURN(const HttpResponse response,
                   Send("PUT", "/v1/session/destroy/" + session_, "", timeout));
  if (response.status != 200 && response.status != 404) {
    return ErrorOf(response, "destroy the session");
  }
  Forget();
  return absl::OkStatus();
}

}  // namespace litefs::lease
