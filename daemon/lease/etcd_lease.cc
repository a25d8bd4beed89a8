// The keys:
//
//   <key>/primary              the owner; tied to the holder's etcd lease, so that it goes with it
//   <key>/record               the record
//   <key>/candidates/NODE_ID   an announcement; tied to the candidate's etcd lease
//
// Every change is one transaction that compares what it relies on.  Traps of the gateway: bytes are
// base64, 64-bit integers are strings, and what is zero or false is left out: a transaction
// that failed has no "succeeded", a keep-alive of a lease that is gone answers 200 without a TTL.

#include "daemon/lease/etcd_lease.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "absl/strings/escaping.h"
#include "common/status_macros.h"

namespace litefs::lease {
namespace {

using Json = nlohmann::json;

constexpr int kNotFoundCode = 5;  // gRPC's
constexpr int kMaxCandidates = 1000;

std::string Encode(const std::string& bytes) { return absl::Base64Escape(bytes); }

// A member's text, or otherwise: missing members are zero.
std::string Text(const Json& json, const char* member, const std::string& otherwise = "") {
  const auto found = json.is_object() ? json.find(member) : json.end();
  if (!json.is_object() || found == json.end()) return otherwise;
  if (found->is_string()) return found->get<std::string>();
  return found->is_number_integer() ? std::to_string(found->get<int64_t>()) : otherwise;
}

bool Succeeded(const Json& answer) {
  const auto found = answer.find("succeeded");
  return found != answer.end() && found->is_boolean() && found->get<bool>();
}

// The key-value pair that the i-th range of a transaction found, or null.
Json RangeOf(const Json& answer, size_t i) {
  const auto responses = answer.find("responses");
  if (responses == answer.end() || !responses->is_array() || responses->size() <= i) return {};
  const Json& response = (*responses)[i];
  if (!response.is_object() || !response.contains("response_range")) return {};
  const Json& range = response["response_range"];
  if (!range.is_object() || !range.contains("kvs")) return {};
  const Json& pairs = range["kvs"];
  return pairs.is_array() && !pairs.empty() ? pairs[0] : Json();
}

absl::StatusOr<std::string> ValueOf(const Json& pair) {
  std::string value;
  if (absl::Base64Unescape(Text(pair, "value"), &value)) return value;
  return absl::DataLossError("the value is no base64");
}

Json Range(const std::string& key) { return {{"request_range", {{"key", Encode(key)}}}}; }

Json Put(const std::string& key, const std::string& value, const std::string& lease = "0") {
  return {{"request_put", {{"key", Encode(key)}, {"value", Encode(value)}, {"lease", lease}}}};
}

Json LeaseIs(const std::string& key, const std::string& lease) {
  return {{"key", Encode(key)}, {"target", "LEASE"}, {"result", "EQUAL"}, {"lease", lease}};
}

absl::Status ErrorOf(long http_status, const Json& body, const std::string& where) {
  const int code = body.is_object() && body.contains("code") && body["code"].is_number_integer()
                       ? body["code"].get<int>()
                       : 0;
  const std::string text = fmt::format("{}: HTTP {}: {}", where, http_status,
                                       Text(body, "message", Text(body, "error", "no reason")));
  switch (code) {
    case kNotFoundCode:
      return absl::NotFoundError(text);
    case 3:
      return absl::InvalidArgumentError(text);
    case 7:
    case 16:
      return absl::PermissionDeniedError(text);
    default:
      return absl::UnavailableError(text);
  }
}

}  // namespace

EtcdLease::EtcdLease(LeaseOptions options, const Clock* clock)
    : options_(std::move(options)), clock_(clock) {}

absl::StatusOr<Json> EtcdLease::Post(const std::string& path, const Json& body,
                                     milliseconds timeout) {
  const std::string url = options_.urls[url_ % options_.urls.size()] + path;
  absl::StatusOr<HttpResponse> response =
      http_.Send({.method = "POST",
                  .url = url,
                  .body = body.dump(),
                  .headers = {"Content-Type: application/json"}},
                 timeout);
  if (absl::IsUnavailable(response.status())) ++url_;  // another server, the next time
  RETURN_IF_ERROR(response.status());
  Json answer = Json::parse(response->body, nullptr, /*allow_exceptions=*/false);
  if (response->status != 200) {
    const absl::Status error = ErrorOf(response->status, answer, url);
    if (absl::IsUnavailable(error)) ++url_;
    return error;
  }
  if (!answer.is_object()) return absl::DataLossError(url + ": the answer is no JSON object");
  return answer;
}

// ---- Reading
// ----------------------------------------------------------------------------------------

// Of an answer whose first two ranges are the owner's key and the record's.
absl::StatusOr<View> EtcdLease::Understand(const Json& answer, std::string* owner_lease) {
  View view;
  const Json owner = RangeOf(answer, 0);
  if (!owner.is_null()) {
    ASSIGN_OR_RETURN(const std::string value, ValueOf(owner));
    ASSIGN_OR_RETURN(view.owner, ParseOwner(value));
    *owner_lease = Text(owner, "lease");
  }
  const Json record = RangeOf(answer, 1);
  if (!record.is_null()) {
    ASSIGN_OR_RETURN(const std::string value, ValueOf(record));
    ASSIGN_OR_RETURN(view.record, ParseRecord(value));
  }
  const auto header = answer.find("header");
  const std::string revision = header == answer.end() ? "0" : Text(*header, "revision", "0");
  view.version = fmt::format("{}/{}/{}", Text(record, "mod_revision", "0"),
                             Text(owner, "mod_revision", "0"), revision);
  return view;
}

absl::StatusOr<View> EtcdLease::Read(milliseconds timeout) {
  const Json body = {{"success", {Range(key("/primary")), Range(key("/record"))}}};
  ASSIGN_OR_RETURN(const Json answer, Post("/v3/kv/txn", body, timeout));
  std::string owner_lease;
  return Understand(answer, &owner_lease);
}

absl::StatusOr<View> EtcdLease::Watch(const View& seen, milliseconds timeout) {
  const std::string url = options_.urls[url_ % options_.urls.size()] + "/v3/watch";
  const std::string after = seen.version.substr(seen.version.rfind('/') + 1);
  uint64_t revision = 0;
  std::from_chars(after.data(), after.data() + after.size(), revision);
  const Json body = {
      {"create_request",
       {{"key", Encode(key("/primary"))}, {"start_revision", std::to_string(revision + 1)}}}};
  const absl::StatusOr<HttpResponse> response = http_.Send(
      {.method = "POST",
       .url = url,
       .body = body.dump(),
       .headers = {"Content-Type: application/json"},
       .on_body =
           [](std::string_view text) {
             return text.find("\"events\"") == text.npos && text.find("\"canceled\"") == text.npos;
           }},
      timeout);
  if (absl::IsCancelled(response.status())) return response.status();
  return Read(std::clamp(timeout, milliseconds(100), milliseconds(5000)));
}

absl::StatusOr<std::vector<Candidate>> EtcdLease::Candidates(milliseconds timeout) {
  const std::string first = key("/candidates/");
  std::string end = first;
  ++end.back();
  const Json body = {{"key", Encode(first)}, {"range_end", Encode(end)}, {"limit", kMaxCandidates}};
  ASSIGN_OR_RETURN(const Json answer, Post("/v3/kv/range", body, timeout));
  std::vector<Candidate> candidates;
  const auto pairs = answer.find("kvs");
  if (pairs == answer.end() || !pairs->is_array()) return candidates;
  for (const Json& pair : *pairs) {
    ASSIGN_OR_RETURN(const std::string value, ValueOf(pair));
    ASSIGN_OR_RETURN(Candidate candidate, ParseCandidate(value));
    candidate.handle = Text(pair, "lease");
    candidates.push_back(std::move(candidate));
  }
  return candidates;
}

// ---- Keeping a lease
// --------------------------------------------------------------------------------

void EtcdLease::Forget() {
  lease_.clear();
  reigning_ = false;
}

absl::Status EtcdLease::Grant(milliseconds timeout) {
  const BootTime sent = clock_->Boot();
  const auto seconds = std::chrono::ceil<std::chrono::seconds>(options_.ttl).count();
  ASSIGN_OR_RETURN(const Json answer,
                   Post("/v3/lease/grant", {{"TTL", std::to_string(seconds)}}, timeout));
  const std::string id = Text(answer, "ID");
  const std::string ttl = Text(answer, "TTL", "0");
  int64_t granted = 0;
  std::from_chars(ttl.data(), ttl.data() + ttl.size(), granted);
  if (id.empty() || granted <= 0) return absl::UnavailableError("etcd granted no lease");
  lease_ = id;
  refreshed_ = sent;
  granted_ = std::min(options_.ttl, milliseconds(std::chrono::seconds(granted)));
  return absl::OkStatus();
}

// The id of the lease that the owner's key hangs on; empty: there is no owner.
absl::StatusOr<std::string> EtcdLease::OwnersLease(milliseconds timeout) {
  const Json body = {{"success", {Range(key("/primary"))}}};
  ASSIGN_OR_RETURN(const Json answer, Post("/v3/kv/txn", body, timeout));
  return Text(RangeOf(answer, 0), "lease");
}

absl::StatusOr<BootTime> EtcdLease::Renew(milliseconds timeout) {
  if (lease_.empty()) return absl::NotFoundError("no lease is held");
  const BootTime sent = clock_->Boot();
  ASSIGN_OR_RETURN(const Json answer, Post("/v3/lease/keepalive", {{"ID", lease_}}, timeout));
  const auto result = answer.find("result");
  const std::string ttl = result == answer.end() ? "0" : Text(*result, "TTL", "0");
  if (ttl.empty() || ttl == "0" || ttl[0] == '-') {
    Forget();
    return absl::NotFoundError(fmt::format("{}: the lease is gone from etcd", key("/primary")));
  }
  if (reigning_) {
    ASSIGN_OR_RETURN(const std::string owner, OwnersLease(timeout));
    if (owner != lease_) {
      reigning_ = false;
      return absl::NotFoundError(
          fmt::format("{}: somebody removed or took the key", key("/primary")));
    }
  }
  refreshed_ = sent;
  return refreshed_ + SafeTime(granted_);
}

absl::Status EtcdLease::Announce(const Candidate& self, milliseconds timeout) {
  for (bool again = true;; again = false) {
    if (lease_.empty()) RETURN_IF_ERROR(Grant(timeout));
    const Json body = {{"key", Encode(key("/candidates/") + self.node.node_id)},
                       {"value", Encode(FormatCandidate(self))},
                       {"lease", lease_}};
    const absl::Status status = Post("/v3/kv/put", body, timeout).status();
    if (!absl::IsNotFound(status) || !again || reigning_) return status;
    Forget();
  }
}

// ---- Reigns
// -----------------------------------------------------------------------------------------

Json EtcdLease::IsMine() const { return LeaseIs(key("/primary"), lease_); }

Json EtcdLease::PutRecord(uint64_t epoch, const Positions& positions) const {
  return Put(key("/record"),
             FormatRecord({.epoch = epoch, .cluster_id = cluster_id_, .positions = positions}));
}

absl::StatusOr<Reign> EtcdLease::Acquire(const Owner& self, const View& seen,
                                         milliseconds timeout) {
  if (!lease_.empty()) {
    const absl::StatusOr<BootTime> renewed = Renew(timeout);
    if (!renewed.ok() && !absl::IsNotFound(renewed.status())) return renewed.status();
  }
  if (lease_.empty()) RETURN_IF_ERROR(Grant(timeout));
  Owner owner = self;
  owner.epoch = seen.record.epoch + 1;
  cluster_id_ = seen.record.cluster_id.empty() ? self.cluster_id : seen.record.cluster_id;
  const std::string record_revision = seen.version.substr(0, seen.version.find('/'));
  const Json body = {{"compare",
                      {{{"key", Encode(key("/primary"))},
                        {"target", "CREATE"},
                        {"result", "EQUAL"},
                        {"create_revision", "0"}},
                       {{"key", Encode(key("/record"))},
                        {"target", "MOD"},
                        {"result", "EQUAL"},
                        {"mod_revision", record_revision}}}},
                     {"success",
                      {Put(key("/primary"), FormatOwner(owner), lease_),
                       PutRecord(owner.epoch, seen.record.positions)}},
                     {"failure", {Range(key("/primary")), Range(key("/record"))}}};
  const absl::StatusOr<Json> answer = Post("/v3/kv/txn", body, timeout);
  if (absl::IsNotFound(answer.status())) {  // the lease ended between
    Forget();
    return absl::AbortedError(std::string(answer.status().message()));
  }
  RETURN_IF_ERROR(answer.status());
  if (!Succeeded(*answer)) {
    std::string owner_lease;
    ASSIGN_OR_RETURN(const View now, Understand(*answer, &owner_lease));
    if (!now.owner.has_value()) return absl::AbortedError("the record has changed");
    if (owner_lease != lease_) {
      return absl::AlreadyExistsError(fmt::format("node {} holds the lease", now.owner->node_id));
    }
    owner.epoch = now.owner->epoch;
    cluster_id_ = now.record.cluster_id;
  }
  reigning_ = true;
  epoch_ = owner.epoch;
  return Reign{.epoch = epoch_, .deadline = refreshed_ + SafeTime(granted_)};
}

absl::Status EtcdLease::Note(const Positions& positions, milliseconds timeout) {
  if (!reigning_) return absl::NotFoundError("this node is not the owner");
  const Json body = {{"compare", {IsMine()}}, {"success", {PutRecord(epoch_, positions)}}};
  ASSIGN_OR_RETURN(const Json answer, Post("/v3/kv/txn", body, timeout));
  if (Succeeded(answer)) return absl::OkStatus();
  reigning_ = false;
  return absl::NotFoundError("this node is not the owner any more");
}

absl::Status EtcdLease::HandOver(const Candidate& to, const Positions& positions,
                                 milliseconds timeout) {
  if (!reigning_) return absl::NotFoundError("this node is not the owner");
  Owner owner = to.node;
  owner.epoch = epoch_ + 1;
  const Json body = {
      {"compare", {IsMine(), LeaseIs(key("/candidates/") + to.node.node_id, to.handle)}},
      {"success",
       {Put(key("/primary"), FormatOwner(owner), to.handle), PutRecord(owner.epoch, positions)}},
      {"failure", {Range(key("/primary"))}}};
  const absl::StatusOr<Json> answer = Post("/v3/kv/txn", body, timeout);
  const bool candidate_gone = absl::IsNotFound(answer.status());
  if (!candidate_gone) RETURN_IF_ERROR(answer.status());
  if (!candidate_gone && Succeeded(*answer)) {
    reigning_ = false;
    return absl::OkStatus();
  }
  if (candidate_gone || Text(RangeOf(*answer, 0), "lease") == lease_) {
    return absl::FailedPreconditionError(
        fmt::format("node {} is no candidate any more", to.node.node_id));
  }
  reigning_ = false;
  return absl::NotFoundError("this node is not the owner any more");
}

absl::Status EtcdLease::Release(const std::optional<Positions>& positions, milliseconds timeout) {
  if (lease_.empty()) return absl::OkStatus();
  if (reigning_) {
    Json success = {{{"request_delete_range", {{"key", Encode(key("/primary"))}}}}};
    if (positions.has_value()) success.push_back(PutRecord(epoch_, *positions));
    const Json body = {{"compare", {IsMine()}}, {"success", success}};
    RETURN_IF_ERROR(Post("/v3/kv/txn", body, timeout).status());
    reigning_ = false;
  }
  const absl::Status status = Post("/v3/lease/revoke", {{"ID", lease_}}, timeout).status();
  if (!status.ok() && !absl::IsNotFound(status)) return status;
  Forget();
  return absl::OkStatus();
}

}  // namespace litefs::lease
