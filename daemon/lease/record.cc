#include "daemon/lease/record.h"

#include <fmt/format.h>

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

}  // namespace

void Positions::Add(const std::string& name, const ltx::Position& position) {
  sum += position.txid;
  if (databases.size() < kMaxPositions) databases[Escape(name)] = position;
}

std::string Positions::Behind(const Positions& known) const {
  for (const auto& [name, theirs] : known.databases) {
    const auto found = databases.find(name);
    const ltx::Position ours = found == databases.end() ? ltx::Position{} : found->second;
    if (ours.txid < theirs.txid) {
      return fmt::format("{} is at {} here, and the cluster has reached {}", name,
                         ltx::FormatPosition(ours), ltx::FormatPosition(theirs));
    }
    if (ours.txid == theirs.txid && ours.checksum != theirs.checksum) {
      return fmt::format("{} is at {} here, which is another branch than the cluster's {}", name,
                         ltx::FormatPosition(ours), ltx::FormatPosition(theirs));
    }
  }
  if (sum >= known.sum) return "";
  return fmt::format("{} transactions are here, and the cluster has reached {}", sum, known.sum);
}

std::string FormatOwner(const Owner& owner) {
  return JsonText(Json{{"node_id", owner.node_id},
                       {"endpoint", owner.endpoint},
                       {"cluster_id", owner.cluster_id},
                       {"epoch", owner.epoch}});
}

std::string FormatRecord(const Record& record) {
  Json databases = Json::object();
  size_t bytes = 0;
  for (const auto& [name, position] : record.positions.databases) {
    bytes += name.size() + 48;
    if (bytes > kMaxRecordBytes / 2) break;
    databases[name] = ltx::FormatPosition(position);
  }
  return JsonText(Json{{"epoch", record.epoch},
                       {"cluster_id", record.cluster_id},
                       {"positions", {{"sum", record.positions.sum}, {"databases", databases}}}});
}

absl::StatusOr<Owner> ParseOwner(const std::string& text) {
  ASSIGN_OR_RETURN(const Json json, ParseObject(text));
  Owner owner;
  if (!TakeText(json, "node_id", &owner.node_id) || !ParseHex16(owner.node_id).has_value() ||
      !TakeText(json, "endpoint", &owner.endpoint) ||
      !TakeText(json, "cluster_id", &owner.cluster_id) ||
      !TakeNumber(json, "epoch", &owner.epoch)) {
    return Damaged(text);
  }
  return owner;
}

absl::StatusOr<Record> ParseRecord(const std::string& text) {
  ASSIGN_OR_RETURN(const Json json, ParseObject(text));
  Record record;
  if (!TakeNumber(json, "epoch", &record.epoch) ||
      !TakeText(json, "cluster_id", &record.cluster_id)) {
    return Damaged(text);
  }
  const auto positions = json.find("positions");
  if (positions == json.end() || !positions->is_object() ||
      !TakeNumber(*positions, "sum", &record.positions.sum)) {
    return Damaged(text);
  }
  const auto databases = positions->find("databases");
  if (databases == positions->end() || !databases->is_object()) return Damaged(text);
  for (const auto& [name, value] : databases->items()) {
    const auto position =
        value.is_string() ? ltx::ParsePosition(value.get<std::string>()) : std::nullopt;
    if (!position.has_value()) return Damaged(text);
    record.positions.databases[name] = *position;
  }
  return record;
}

}  // namespace litefs::lease
