#include "daemon/http/metrics_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

namespace litefs::http {
namespace {

using Json = nlohmann::json;

struct Metric {
  const char* key;   // in the status
  const char* name;  // after litefs_
  const char* type;
  const char* help;
  double scale = 1;
};

constexpr std::array kDatabaseMetrics = {
    Metric{"txid", "database_txid", "gauge", "Position of the database."},
    Metric{"pages", "database_pages", "gauge", "Size of the database in pages."},
    Metric{"page_size", "database_page_size_bytes", "gauge", "Its page size."},
    Metric{"ltx_files", "chain_files", "gauge", "LTX files kept."},
    Metric{"ltx_bytes", "chain_bytes", "gauge", "Disk space of the LTX files kept."},
    Metric{"sessions", "sessions", "gauge", "Connected processes that write the database."},
    Metric{"reconciled", "reconciled_total", "counter",
           "Transactions made by comparing: written without the shim, or while no daemon ran."},
    Metric{"lag.transactions", "lag_transactions", "gauge", "Transactions behind the primary."},
    Metric{"lag.bytes", "lag_bytes", "gauge", "Bytes of LTX files behind the primary."},
    Metric{"lag.ms", "lag_seconds", "gauge", "How old what this replica shows is.", 0.001},
    Metric{"sync.replicas", "sync_replicas", "gauge", "Replicas that a commit waits for."},
    Metric{"sync.stored_by", "sync_stored_by", "gauge", "Replicas that have all of it."},
    Metric{"sync.waiting", "sync_waiting", "gauge", "Commits that wait for replicas now."},
    Metric{"sync.degraded", "sync_degraded", "gauge", "Whether commits do not wait any more."},
};

// Numbers, flags and 16-digit positions of the status; "a.b" is the b of an object a.
std::optional<double> NumberOf(const Json& json, const std::string& key) {
  if (const size_t dot = key.find('.'); dot != std::string::npos) {
    const auto inner = json.find(key.substr(0, dot));
    return inner == json.end() ? std::nullopt : NumberOf(*inner, key.substr(dot + 1));
  }
  const auto found = json.find(key);
  if (found == json.end()) return std::nullopt;
  if (found->is_boolean()) return found->get<bool>() ? 1 : 0;
  if (found->is_number()) return found->get<double>();
  if (!found->is_string()) return std::nullopt;
  const std::string& text = found->get_ref<const std::string&>();
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return static_cast<double>(value);
}

void Head(const Metric& metric, std::string* out) {
  *out += fmt::format("# HELP litefs_{} {}\n# TYPE litefs_{} {}\n", metric.name, metric.help,
                      metric.name, metric.type);
}

void Sample(const Metric& metric, const std::string& labels, double value, std::string* out) {
  *out += fmt::format("litefs_{}{} {}\n", metric.name, labels, value * metric.scale);
}

const Json& Items(const Json& json, const char* key) {
  static const Json kNone = Json::array();
  const auto found = json.is_object() ? json.find(key) : json.end();
  return found != json.end() && found->is_array() ? *found : kNone;
}

std::string Text(const Json& json, const char* key) {
  return json.is_object() ? json.value(key, std::string()) : std::string();
}

void Databases(const Json& status, std::string* out) {
  const Json& databases = Items(status, "databases");
  for (const Metric& metric : kDatabaseMetrics) {
    bool any = false;
    for (const Json& database : databases) {
      const auto value = NumberOf(database, metric.key);
      if (!value) continue;
      if (!any) Head(metric, out);
      any = true;
      Sample(metric, fmt::format("{{db=\"{}\"}}", EscapeLabel(Text(database, "name"))), *value,
             out);
    }
  }
}

// Every number in an object of counters, whatever it is called, but those that each database has.
void Counters(const Json& counters, std::string* out) {
  if (!counters.is_object()) return;
  for (const auto& [key, value] : counters.items()) {
    if (!value.is_number()) continue;
    const std::string name = key + "_total";
    const bool by_database = std::any_of(kDatabaseMetrics.begin(), kDatabaseMetrics.end(),
                                         [&](const Metric& other) { return name == other.name; });
    if (by_database) continue;  // one family is declared once; its sum is the reader's
    const Metric metric{"", name.c_str(), "counter", "See docs/HTTP.md."};
    Head(metric, out);
    Sample(metric, "", value.get<double>(), out);
  }
}

void Replicas(const Json& replication, std::string* out) {
  const Metric txid{"", "replica_txid", "gauge", "What a replica has confirmed."};
  const Metric seen{"", "replica_last_seen_seconds", "gauge", "Since its last message.", 0.001};
  const Json& replicas = Items(replication, "replicas");
  if (replicas.empty()) return;
  Head(seen, out);
  for (const Json& replica : replicas) {
    const std::string node = EscapeLabel(Text(replica, "node_id"));
    Sample(seen, fmt::format("{{node=\"{}\"}}", node),
           NumberOf(replica, "last_seen_ms").value_or(0), out);
  }
  Head(txid, out);
  for (const Json& replica : replicas) {
    for (const Json& database : Items(replica, "databases")) {
      Sample(txid,
             fmt::format("{{node=\"{}\",db=\"{}\"}}", EscapeLabel(Text(replica, "node_id")),
                         EscapeLabel(Text(database, "name"))),
             NumberOf(database, "txid").value_or(0), out);
    }
  }
}

constexpr std::array kDestinationMetrics = {
    Metric{"uploaded_files", "archive_uploaded_files_total", "counter", "Files put there."},
    Metric{"uploaded_bytes", "archive_uploaded_bytes_total", "counter", "Bytes put there."},
    Metric{"failures", "archive_failures_total", "counter", "Attempts to upload that failed."},
    Metric{"compactions", "archive_compactions_total", "counter", "Windows closed."},
};

constexpr std::array kBacklogMetrics = {
    Metric{"txid", "archive_txid", "gauge", "The newest transaction that is there."},
    Metric{"backlog_files", "archive_backlog_files", "gauge", "LTX files that are not there yet."},
    Metric{"backlog_bytes", "archive_backlog_bytes", "gauge", "Their bytes."},
    Metric{"backlog_age_ms", "archive_backlog_seconds", "gauge", "How old the oldest of them is.",
           0.001},
};

void Destinations(const Json& destinations, std::string* out) {
  if (destinations.empty()) return;
  const auto label = [](const Json& destination) {
    return "destination=\"" + EscapeLabel(Text(destination, "name")) + "\"";
  };
  for (const Metric& metric : kDestinationMetrics) {
    Head(metric, out);
    for (const Json& destination : destinations) {
      Sample(metric, "{" + label(destination) + "}", NumberOf(destination, metric.key).value_or(0),
             out);
    }
  }
  for (const Metric& metric : kBacklogMetrics) {
    Head(metric, out);
    for (const Json& destination : destinations) {
      for (const Json& database : Items(destination, "databases")) {
        Sample(metric,
               fmt::format("{{{},db=\"{}\"}}", label(destination),
                           EscapeLabel(Text(database, "name"))),
               NumberOf(database, metric.key).value_or(0), out);
      }
    }
  }
}

}  // namespace

std::string EscapeLabel(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '\n') {
      out += "\\n";
      continue;
    }
    if (c == '\\' || c == '"') out += '\\';
    out += c;
  }
  return out;
}

std::string MetricsText(const Json& status) {
  std::string out;
  const Metric info{"", "info", "gauge", "The node."};
  Head(info, &out);
  Sample(info,
         fmt::format("{{version=\"{}\",node=\"{}\",cluster=\"{}\"}}",
                     EscapeLabel(Text(status, "version")), EscapeLabel(Text(status, "node_id")),
                     EscapeLabel(Text(status, "cluster_id"))),
         1, &out);
  const Metric primary{"", "is_primary", "gauge", "Whether this node writes."};
  Head(primary, &out);
  Sample(primary, "", Text(status, "role") == "primary" ? 1 : 0, &out);
  if (const auto uptime = NumberOf(status, "uptime_ms")) {
    const Metric metric{"", "uptime_seconds", "gauge", "Since the daemon's start.", 0.001};
    Head(metric, &out);
    Sample(metric, "", *uptime, &out);
  }
  Databases(status, &out);
  if (!status.is_object()) return out;
  if (const auto found = status.find("replication"); found != status.end()) {
    if (const auto connected = NumberOf(*found, "connected")) {
      const Metric metric{"", "connected", "gauge", "Whether this replica hears its primary."};
      Head(metric, &out);
      Sample(metric, "", *connected, &out);
    }
    Replicas(*found, &out);
  }
  Destinations(Items(status, "archive"), &out);
  if (const auto found = status.find("counters"); found != status.end()) Counters(*found, &out);
  return out;
}

}  // namespace litefs::http
