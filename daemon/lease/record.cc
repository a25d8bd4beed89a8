#include "daemon/lease/record.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "common/hex.h"
#include "common/json_text.h"
#include "common/status_macros.h"

namespace litefs::lease {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxFieldBytes = 512;

// File names are bytes, JSON is UTF-8.
std::string Escape(const std::string& name) {
  std::string text;
  for (const char c : name) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7f && c != '%') {
      text += c;
    } else {
      text += fmt::format("%{:02x}", byte);
    }
  }
  return text;
}

absl::Status Damaged(const std::string& text) {
  return absl::DataLossError(
      fmt::format("what is stored there is none of ours: {}", text.substr(0, 200)));
}

absl::StatusOr<Json> ParseObject(const std::string& text) {
  if (text.size() > kMaxRecordBytes) return Damaged("it is too long");
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return Damaged(text);
  return json;
}

bool TakeText(const Json& json, const char* key, std::string* value) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_string()) return false;
  *value = found->get<std::string>();
  return value->size() <= kMaxFieldBytes;
}

bool TakeNumber(const Json& json, const char* key, uint64_t* value) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_number_unsigned()) return false;
  *value = found->get<uint64_t>();
  return true;
}

Json OwnerJson(const Owner& owner) {
  return {{"node_id", owner.node_id},
          {"endpoint", owner.endpoint},
          {"cluster_id", owner.cluster_id},
          {"epoch", owner.epoch}};
}

Json PositionsJson(const Positions& positions) {
  Json databases = Json::object();
  size_t bytes = 0;
  for (const auto& [name, position] : positions.databases) {
    bytes += name.size() + 48;
    if (bytes > kMaxRecordBytes / 2) break;
    databases[name] = ltx::FormatPosition(position);
  }
  return {{"sum", positions.sum}, {"databases", databases}};
}

bool TakeOwner(const Json& json, Owner* owner) {
  return TakeText(json, "node_id", &owner->node_id) && ParseHex16(owner->node_id).has_value() &&
         TakeText(json, "endpoint", &owner->endpoint) &&
         TakeText(json, "cluster_id", &owner->cluster_id) &&
         TakeNumber(json, "epoch", &owner->epoch);
}

bool TakePositions(const Json& json, Positions* positions) {
  const auto found = json.find("positions");
  if (found == json.end() || !found->is_object() || !TakeNumber(*found, "sum", &positions->sum)) {
    return false;
  }
  const auto databases = found->find("databases");
  if (databases == found->end() || !databases->is_object()) return false;
  for (const auto& [name, value] : databases->items()) {
    const auto position =
        value.is_string() ? ltx::ParsePosition(value.get<std::string>()) : std::nullopt;
    if (!position.has_value()) return false;
    positions->databases[name] = *position;
  }
  return true;
}

}  // namespace

void Positions::Add(const std::string& name, const ltx::Position& position) {
  sum += position.txid;
  if (databases.size() < kMaxPositions) databases[Escape(name)] = position;
}

std::string Positions::Behind(const Positions& known) const {
  const std::vector<std::string> all = AllBehind(known);
  return all.empty() ? "" : all.front();
}

std::vector<std::string> Positions::AllBehind(const Positions& known) const {
  std::vector<std::string> missing;
  for (const auto& [name, theirs] : known.databases) {
    const auto found = databases.find(name);
    const ltx::Position ours = found == databases.end() ? ltx::Position{} : found->second;
    if (ours.txid < theirs.txid) {
      missing.push_back(fmt::format("{} is at {} here, and the cluster has reached {}", name,
                                    ltx::FormatPosition(ours), ltx::FormatPosition(theirs)));
    }
    if (ours.txid == theirs.txid && ours.checksum != theirs.checksum) {
      missing.push_back(
          fmt::format("{} is at {} here, which is another branch than the cluster's {}", name,
                      ltx::FormatPosition(ours), ltx::FormatPosition(theirs)));
    }
  }
  if (missing.empty() && sum < known.sum) {
    missing.push_back(
        fmt::format("{} transactions are here, and the cluster has reached {}", sum, known.sum));
  }
  return missing;
}

void Positions::RaiseTo(const Positions& floor) {
  for (const auto& [name, least] : floor.databases) {
    ltx::Position& ours = databases[name];
    if (ours.txid >= least.txid) continue;
    sum += least.txid - ours.txid;
    ours = least;
  }
  sum = std::max(sum, floor.sum);
}

std::string FormatOwner(const Owner& owner) { return JsonText(OwnerJson(owner)); }

std::string FormatCandidate(const Candidate& candidate) {
  Json json = OwnerJson(candidate.node);
  json["positions"] = PositionsJson(candidate.positions);
  if (candidate.wants) json["wants"] = true;
  return JsonText(json);
}

std::string FormatRecord(const Record& record) {
  return JsonText(Json{{"epoch", record.epoch},
                       {"cluster_id", record.cluster_id},
                       {"positions", PositionsJson(record.positions)}});
}

absl::StatusOr<Owner> ParseOwner(const std::string& text) {
  ASSIGN_OR_RETURN(const Json json, ParseObject(text));
  Owner owner;
  if (!TakeOwner(json, &owner)) return Damaged(text);
  return owner;
}

absl::StatusOr<Candidate> ParseCandidate(const std::string& text) {
  ASSIGN_OR_RETURN(const Json json, ParseObject(text));
  Candidate candidate;
  if (!TakeOwner(json, &candidate.node) || !TakePositions(json, &candidate.positions)) {
    return Damaged(text);
  }
  const auto wants = json.find("wants");
  candidate.wants = wants != json.end() && wants->is_boolean() && wants->get<bool>();
  return candidate;
}

absl::StatusOr<Record> ParseRecord(const std::string& text) {
  ASSIGN_OR_RETURN(const Json json, ParseObject(text));
  Record record;
  if (!TakeNumber(json, "epoch", &record.epoch) ||
      !TakeText(json, "cluster_id", &record.cluster_id) ||
      !TakePositions(json, &record.positions)) {
    return Damaged(text);
  }
  return record;
}

}  // namespace litefs::lease
