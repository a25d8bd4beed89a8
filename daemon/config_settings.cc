#include "daemon/config_settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <iterator>
#include <map>

#include "daemon/config_proxy.h"
#include "daemon/config_sync.h"
#include "daemon/replication/curve_keys.h"
#include "daemon/replication/peer_list.h"

namespace litefs {
namespace {

constexpr size_t kMaxGlobs = 1000;
constexpr size_t kMaxDialled = 64;
constexpr std::chrono::milliseconds kMinRetentionAge = std::chrono::seconds(1);
constexpr uint64_t kMinRetentionBytes = 64 << 10;
constexpr std::chrono::milliseconds kMaxWriteTimeout = std::chrono::hours(1);
constexpr std::chrono::milliseconds kLeastMaxHold{100};

Problem SetCurveKey(const std::string& value, std::string* out) {
  if (!replication::IsCurveKey(value)) {
    return fmt::format("\"{}\" is not a public key of 40 characters (litefs keygen prints one)",
                       value);
  }
  *out = value;
  return "";
}

// names_and_keys: a name, its key, the next name, …
Problem SetPeers(const Values& names_and_keys, std::map<std::string, std::string>* out) {
  if (names_and_keys.size() / 2 > replication::kMaxPeerKeys) {
    return fmt::format("more than {} peers", replication::kMaxPeerKeys);
  }
  for (size_t i = 0; i + 1 < names_and_keys.size(); i += 2) {
    std::string name;
    Problem problem = SetId(names_and_keys[i], &name);
    if (name.empty() && problem.empty()) problem = "\"\" is not a name";
    if (problem.empty()) problem = SetCurveKey(names_and_keys[i + 1], &(*out)[name]);
    if (!problem.empty()) return problem;
  }
  return "";
}

// An endpoint, the key of who listens there, the next endpoint, …
Problem SetDialKeys(const Values& endpoints_and_keys, std::map<std::string, std::string>* out) {
  for (size_t i = 0; i + 1 < endpoints_and_keys.size(); i += 2) {
    const Problem problem = SetCurveKey(endpoints_and_keys[i + 1], &(*out)[endpoints_and_keys[i]]);
    if (!problem.empty()) return problem;
  }
  return "";
}

Problem SetPath(const std::string& value, std::string* out) {
  *out = value;
  return value.empty() ? "\"\" is not a file" : "";
}

Problem SetGlobs(const Values& values, std::vector<std::string>* out) {
  if (values.empty()) return "the list is empty: no database would be replicated";
  if (values.size() > kMaxGlobs) return fmt::format("more than {} globs", kMaxGlobs);
  for (const std::string& glob : values) {
    if (glob.empty()) return "\"\" matches no file name";
    if (glob.find('/') != std::string::npos) {
      return fmt::format("\"{}\" contains a '/': globs match names of files in `dir`", glob);
    }
  }
  *out = values;
  return "";
}

Problem SetRetentionAge(const std::string& value, Config* config) {
  Problem problem = SetDuration(value, &config->retention.age);
  if (problem.empty() && config->retention.age < kMinRetentionAge) {
    problem = fmt::format("\"{}\" is less than 1s", value);
  }
  return problem;
}

Problem SetRetentionSize(const std::string& value, Config* config) {
  const auto size = ParseSize(value);
  if (!size) return fmt::format("\"{}\" is not a size such as 64KiB, 256MiB, 10GiB", value);
  if (*size < kMinRetentionBytes) return fmt::format("\"{}\" is less than 64KiB", value);
  config->retention.size_bytes = *size;
  return "";
}

Problem SetWriteTimeout(const std::string& value, Config* config) {
  Problem problem = SetDuration(value, &config->write_timeout);
  if (problem.empty() && config->write_timeout > kMaxWriteTimeout) {
    problem = fmt::format("\"{}\" is more than 1h", value);
  }
  return problem;
}

Problem SetMaxHold(const std::string& value, Config* config) {
  Problem problem = SetDuration(value, &config->max_hold);
  if (problem.empty() &&
      (config->max_hold < kLeastMaxHold || config->max_hold > kMaxWriteTimeout)) {
    problem = fmt::format("\"{}\" is not between 100ms and 1h", value);
  }
  return problem;
}

Problem SetWhenAway(const std::string& value, Config* config) {
  if (value != "refuse" && value != "continue") {
    return fmt::format("\"{}\" is neither refuse nor continue", value);
  }
  config->continue_when_away = value == "continue";
  return "";
}

Problem SetOnReplicaWrite(const std::string& value, Config* config) {
  if (value != "forward" && value != "busy" && value != "readonly") {
    return fmt::format("\"{}\" is neither forward, busy nor readonly", value);
  }
  config->on_replica_write = value == "forward" ? ReplicaWrites::kForward
                             : value == "busy"  ? ReplicaWrites::kBusy
                                                : ReplicaWrites::kReadOnly;
  return "";
}

Problem SetListen(const std::string& value, Config* config) {
  return value == "off" ? "" : SetEndpoint(value, &config->replication.listen);
}

Problem SetHttpListen(const std::string& value, Config* config) {
  config->http = {};
  if (value.empty() || value == "off") return "";
  const auto endpoint = ParseEndpoint("tcp://" + value);
  if (!endpoint || endpoint->port < 1 || endpoint->port > 65535) {
    return fmt::format("\"{}\" is not HOST:PORT such as 127.0.0.1:7480", value);
  }
  config->http = {.host = endpoint->host, .port = static_cast<int>(endpoint->port)};
  return "";
}

Problem SetDial(const Values& values, Config* config) {
  if (values.size() > kMaxDialled) {
    return fmt::format("{} endpoints, at most {} are allowed", values.size(), kMaxDialled);
  }
  std::vector<std::string>& dial = config->replication.dial;
  dial.clear();
  for (const std::string& value : values) {
    std::string endpoint;
    if (Problem problem = SetEndpoint(value, &endpoint); !problem.empty()) return problem;
    if (std::find(dial.begin(), dial.end(), endpoint) != dial.end()) {
      return fmt::format("\"{}\" is there twice", value);
    }
    dial.push_back(std::move(endpoint));
  }
  return "";
}

Problem SetLeaseType(const std::string& value, LeaseConfig* lease) {
  using Type = LeaseConfig::Type;
  for (const auto& [name, type] :
       {std::pair{"static", Type::kStatic}, std::pair{"etcd", Type::kEtcd},
        std::pair{"consul", Type::kConsul}, std::pair{"s3", Type::kS3}}) {
    if (value != name) continue;
    lease->type = type;
    return "";
  }
  return fmt::format("\"{}\" is not known (there are: static, etcd, consul, s3)", value);
}

Problem SetLeaseUrls(const Values& values, LeaseConfig* lease) {
  lease->urls.clear();
  for (std::string url : values) {
    if (url.starts_with("s3://") && url.size() > 5) {  // what is in it is checked when it is opened
      lease->urls.push_back(std::move(url));
      continue;
    }
    while (url.ends_with('/')) url.pop_back();
    const size_t scheme = url.find("://");
    const std::string_view name = std::string_view(url).substr(0, scheme);
    if (scheme == std::string::npos || (name != "http" && name != "https") ||
        url.find_first_of("/?# ", scheme + 3) != std::string::npos || url.size() == scheme + 3) {
      return fmt::format("\"{}\" is not http://HOST:PORT, https://HOST:PORT or s3://BUCKET", url);
    }
    lease->urls.push_back(std::move(url));
  }
  return "";
}

// It is a part of URLs and of other keys.
Problem SetLeaseKey(const std::string& value, LeaseConfig* lease) {
  const bool plain = std::all_of(value.begin(), value.end(), [](unsigned char c) {
    return std::isalnum(c) || c == '.' || c == '_' || c == '-' || c == '/';
  });
  if (!plain || value.empty() || value.size() > kMaxIdBytes || value.front() == '/' ||
      value.back() == '/') {
    return fmt::format(
        "\"{}\" is not a key such as litefs/shop, of at most {} letters, digits, "
        "'.', '_', '-' and '/'",
        value, kMaxIdBytes);
  }
  lease->key = value;
  return "";
}

Problem SetLeaseTtl(const std::string& value, LeaseConfig* lease) {
  if (Problem problem = SetDuration(value, &lease->ttl); !problem.empty()) return problem;
  if (lease->ttl >= std::chrono::seconds(1) && lease->ttl <= std::chrono::hours(24)) return "";
  return fmt::format("\"{}\" is not between 1s and 24h", value);
}

// It goes into a header of HTTP.
Problem SetLeaseToken(const std::string& value, LeaseConfig* lease) {
  const bool plain =
      std::all_of(value.begin(), value.end(), [](unsigned char c) { return c > 0x20 && c < 0x7f; });
  if (!plain || value.size() > 512) return "it is not of at most 512 printable characters";
  lease->token = value;
  return "";
}

Problem SetLogLevel(const std::string& value, Config* config) {
  if (ParseLogLevel(value, &config->log_level)) return "";
  return fmt::format("\"{}\" is none of debug, info, warn, error", value);
}

Problem SetDir(const std::string& value, Config* config) {
  config->dir = value;
  return value.empty() ? "\"\" is not a directory" : "";
}

// Every key but those of destinations.  README.md has the same table for its readers.
constexpr std::array kSettings = {
    Setting{"dir", [](const Values& v, Config* c) { return SetDir(v[0], c); }},
    Setting{"databases", [](const Values& v, Config* c) { return SetGlobs(v, &c->databases); },
            Setting::Shape::kList},
    Setting{"node-id", [](const Values& v, Config* c) { return SetNodeId(v[0], &c->node_id); }},
    Setting{"cluster-id", [](const Values& v, Config* c) { return SetId(v[0], &c->cluster_id); }},
    Setting{"insecure", [](const Values& v, Config* c) { return SetBool(v[0], &c->insecure); }},
    Setting{"http.listen", [](const Values& v, Config* c) { return SetHttpListen(v[0], c); }},
    Setting{"position-files",
            [](const Values& v, Config* c) { return SetBool(v[0], &c->position_files); }},
    Setting{"proxy.addr", [](const Values& v, Config* c) { return SetProxyAddr(v[0], &c->proxy); }},
    Setting{"proxy.advertise",
            [](const Values& v, Config* c) { return SetProxyAdvertise(v[0], &c->proxy); }},
    Setting{"proxy.db",
            [](const Values& v, Config* c) { return SetProxyDatabase(v[0], &c->proxy); }},
    Setting{"proxy.passthrough",
            [](const Values& v, Config* c) { return SetProxyPassthrough(v, &c->proxy); },
            Setting::Shape::kList},
    Setting{"proxy.target",
            [](const Values& v, Config* c) { return SetProxyTarget(v[0], &c->proxy); }},
    Setting{"proxy.wait", [](const Values& v, Config* c) { return SetProxyWait(v[0], &c->proxy); }},
    Setting{"lease.type", [](const Values& v, Config* c) { return SetLeaseType(v[0], &c->lease); }},
    Setting{"lease.url", [](const Values& v, Config* c) { return SetLeaseUrls(v, &c->lease); },
            Setting::Shape::kList},
    Setting{"lease.key", [](const Values& v, Config* c) { return SetLeaseKey(v[0], &c->lease); }},
    Setting{"lease.ttl", [](const Values& v, Config* c) { return SetLeaseTtl(v[0], &c->lease); }},
    Setting{"lease.token",
            [](const Values& v, Config* c) { return SetLeaseToken(v[0], &c->lease); }},
    Setting{"lease.candidate",
            [](const Values& v, Config* c) { return SetBool(v[0], &c->lease.candidate); }},
    Setting{"lease.primary", [](const Values& v, Config* c) { return SetBool(v[0], &c->primary); }},
    Setting{"replication.listen", [](const Values& v, Config* c) { return SetListen(v[0], c); }},
    Setting{
        "replication.advertise",
        [](const Values& v, Config* c) { return SetEndpoint(v[0], &c->replication.advertise); }},
    Setting{"replication.primary",
            [](const Values& v, Config* c) { return SetEndpoint(v[0], &c->replication.primary); }},
    Setting{"replication.accept",
            [](const Values& v, Config* c) { return SetEndpoint(v[0], &c->replication.accept); }},
    Setting{"replication.dial", SetDial, Setting::Shape::kList},
    Setting{"replication.publish",
            [](const Values& v, Config* c) { return SetBool(v[0], &c->replication.publish); }},
    Setting{"retention.age", [](const Values& v, Config* c) { return SetRetentionAge(v[0], c); }},
    Setting{"retention.size", [](const Values& v, Config* c) { return SetRetentionSize(v[0], c); }},
    Setting{"security.key-file",
            [](const Values& v, Config* c) { return SetPath(v[0], &c->security.key_file); }},
    Setting{"security.dial-keys",
            [](const Values& v, Config* c) { return SetDialKeys(v, &c->security.dial_keys); },
            Setting::Shape::kNames},
    Setting{"security.peers",
            [](const Values& v, Config* c) { return SetPeers(v, &c->security.peers); },
            Setting::Shape::kNames},
    Setting{"security.peers-file",
            [](const Values& v, Config* c) { return SetPath(v[0], &c->security.peers_file); }},
    Setting{"security.primary-key",
            [](const Values& v, Config* c) { return SetCurveKey(v[0], &c->security.primary_key); }},
    Setting{"on-replica-write",
            [](const Values& v, Config* c) { return SetOnReplicaWrite(v[0], c); }},
    Setting{"forward.max-hold", [](const Values& v, Config* c) { return SetMaxHold(v[0], c); }},
    Setting{"on-timeout",
            [](const Values& v, Config* c) { return SetOnTimeout(v[0], &c->sync.degrade); }},
    Setting{"sync",
            [](const Values& v, Config* c) { return SetSyncReplicas(v[0], &c->sync.replicas); }},
    Setting{"sync-databases", SetSyncDatabases, Setting::Shape::kNames},
    Setting{"sync-timeout",
            [](const Values& v, Config* c) { return SetSyncTimeout(v[0], &c->sync.timeout); }},
    Setting{"when-away", [](const Values& v, Config* c) { return SetWhenAway(v[0], c); }},
    Setting{"write-timeout", [](const Values& v, Config* c) { return SetWriteTimeout(v[0], c); }},
    Setting{"log.level", [](const Values& v, Config* c) { return SetLogLevel(v[0], c); }},
};

std::vector<Setting> WithArchiveSettings() {
  std::vector<Setting> settings(kSettings.begin(), kSettings.end());
  for (const ArchiveSetting& one : ArchiveSettings()) {
    settings.push_back({.key = one.key,
                        .set = nullptr,
                        .shape = one.is_list ? Setting::Shape::kList : Setting::Shape::kValue,
                        .of_archive = &one});
  }
  return settings;
}

const std::vector<Setting>& Settings() {
  static const std::vector<Setting> settings = WithArchiveSettings();
  return settings;
}

// Levenshtein's distance.
size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
    }
  }
  return row.back();
}

std::string_view LastPart(std::string_view key) {
  const size_t dot = key.rfind('.');
  return dot == std::string_view::npos ? key : key.substr(dot + 1);
}

}  // namespace

const Setting* FindSetting(std::string_view key) {
  const auto found = std::find_if(Settings().begin(), Settings().end(),
                                  [&](const Setting& setting) { return setting.key == key; });
  return found == Settings().end() ? nullptr : &*found;
}

bool IsSection(std::string_view key) {
  return std::any_of(Settings().begin(), Settings().end(), [&](const Setting& setting) {
    return setting.key.size() > key.size() && setting.key.starts_with(key) &&
           setting.key[key.size()] == '.';
  });
}

std::string Suggest(const std::string& normal) {
  std::string_view best;
  size_t best_distance = 3;  // two typing errors
  for (const Setting& setting : Settings()) {
    std::vector<std::string_view> candidates = {setting.key};
    if (const size_t dot = setting.key.find('.'); dot != std::string_view::npos) {
      candidates.push_back(setting.key.substr(0, dot));
    }
    for (const std::string_view candidate : candidates) {
      size_t distance = EditDistance(normal, candidate);
      // The right word in the wrong section is one error.
      if (LastPart(normal) == LastPart(candidate)) distance = std::min<size_t>(distance, 1);
      if (distance < best_distance) {
        best = candidate;
        best_distance = distance;
      }
    }
  }
  if (!best.empty()) return fmt::format(" (did you mean {}?)", best);
  std::string all;
  for (const Setting& setting : Settings())
    fmt::format_to(std::back_inserter(all), " {}", setting.key);
  return " (there are:" + all + ")";
}

}  // namespace litefs
