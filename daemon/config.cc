// How a file is read:
//
//   text ── mark ──► text with tokens ── yaml-cpp ──► nodes ── walk ──► kSettings ──► Config ──
//   check
//
// ${NAME} is replaced by a token before the YAML parser sees it, and the token by the variable's
// value in the scalar that came out.  So a reference works everywhere, also inside {…} and […],
// line numbers stay right, comments are never expanded, and no value can change the structure.

#include "daemon/config.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <map>

#include "common/hex.h"
#include "common/posix_io.h"
#include "common/status_macros.h"
#include "ipc/protocol.h"

namespace litefs {
namespace {

constexpr size_t kMaxConfigBytes = 1 << 20;
constexpr size_t kMaxIdBytes = 64;
constexpr size_t kMaxGlobs = 1000;
constexpr std::chrono::milliseconds kMinRetentionAge = std::chrono::seconds(1);
constexpr uint64_t kMinRetentionBytes = 64 << 10;
constexpr std::chrono::milliseconds kMaxWriteTimeout = std::chrono::hours(1);
constexpr size_t kMaxUnixPathBytes = 107;  // sockaddr_un::sun_path without its NUL

// ---- ${NAME} ------------------------------------------------------------------------------------

// A token is kTokenStart, the reference's index in decimal, kTokenEnd: U+E000 and U+E001, of the
// private use area, which no YAML rule knows.
constexpr std::string_view kTokenStart = "\xee\x80\x80";
constexpr std::string_view kTokenEnd = "\xee\x80\x81";

struct Reference {
  std::string name;
  std::optional<std::string> fallback;  // ${NAME:-fallback}
  bool literal = false;                 // written $${NAME}: stands for ${NAME}
};

bool IsVariableName(std::string_view name) {
  if (name.empty() || std::isdigit(static_cast<unsigned char>(name[0]))) return false;
  return std::all_of(name.begin(), name.end(),
                     [](unsigned char c) { return std::isalnum(c) || c == '_'; });
}

// Replaces every ${…} of text by a token.  A `$` before anything but `{` means itself.
std::string MarkReferences(const std::string& text, std::vector<Reference>* references) {
  std::string out;
  size_t done = 0;
  while (true) {
    const size_t start = text.find("${", done);
    const size_t end = start == std::string::npos ? start : text.find_first_of("}\n", start);
    if (end == std::string::npos) break;
    if (text[end] == '\n') {  // not a reference; the YAML parser will judge it
      out.append(text, done, end - done);
      done = end;
      continue;
    }
    const std::string inside = text.substr(start + 2, end - start - 2);
    const size_t separator = inside.find(":-");
    Reference reference{.name = inside.substr(0, separator), .fallback = {}};
    if (separator != std::string::npos) reference.fallback = inside.substr(separator + 2);
    reference.literal = start > done && text[start - 1] == '$';
    out.append(text, done, start - done - (reference.literal ? 1 : 0));
    if (reference.literal) reference.name = inside;
    out.append(fmt::format("{}{}{}", kTokenStart, references->size(), kTokenEnd));
    references->push_back(std::move(reference));
    done = end + 1;
  }
  return out.append(text, done);
}

// What the user wrote (values: no), or what it stands for (values: yes).
struct Expansion {
  std::string text;
  std::string problem;  // empty: none
};

void ExpandOne(const Reference& reference, const Environment& environment, Expansion* out) {
  if (reference.literal) {
    out->text += "${" + reference.name + "}";
  } else if (!IsVariableName(reference.name)) {
    out->problem = fmt::format("\"${{{}}}\" names no environment variable", reference.name);
  } else if (const auto value = environment(reference.name); value && !value->empty()) {
    out->text += *value;
  } else if (reference.fallback) {
    out->text += *reference.fallback;
  } else if (value) {
    return;  // set, to nothing
  } else {
    out->problem = fmt::format(
        "${{{0}}} is not set in the environment (${{{0}:-…}} gives a default)", reference.name);
  }
}

Expansion Expand(const std::string& scalar, const std::vector<Reference>& references,
                 const Environment& environment) {
  Expansion out;
  size_t done = 0;
  while (true) {
    const size_t start = scalar.find(kTokenStart, done);
    const size_t end = start == std::string::npos ? start : scalar.find(kTokenEnd, start);
    if (end == std::string::npos) break;
    const char* const digits = scalar.data() + start + kTokenStart.size();
    size_t index = references.size();
    std::from_chars(digits, scalar.data() + end, index);
    out.text.append(scalar, done, start - done);
    done = end + kTokenEnd.size();
    if (index < references.size()) ExpandOne(references[index], environment, &out);
    if (!out.problem.empty()) return out;
  }
  out.text.append(scalar, done);
  return out;
}

// ---- Values -------------------------------------------------------------------------------------

// A setter returns what is wrong with the value, or "".
using Problem = std::string;
using Values = std::vector<std::string>;

Problem SetBool(const std::string& value, bool* out) {
  if (value != "true" && value != "false") {
    return fmt::format("\"{}\" is neither true nor false", value);
  }
  *out = value == "true";
  return "";
}

Problem SetDuration(const std::string& value, std::chrono::milliseconds* out) {
  const auto duration = ParseDuration(value);
  if (!duration) return fmt::format("\"{}\" is not a duration such as 30s, 10m, 24h", value);
  *out = *duration;
  return "";
}

// A name that goes into messages and logs.
Problem SetId(const std::string& value, std::string* out) {
  const bool plain = std::all_of(value.begin(), value.end(), [](unsigned char c) {
    return std::isalnum(c) || c == '.' || c == '_' || c == '-';
  });
  if (!plain || value.size() > kMaxIdBytes) {
    return fmt::format("\"{}\" is not a name of at most {} letters, digits, '.', '_' and '-'",
                       value, kMaxIdBytes);
  }
  *out = value;
  return "";
}

Problem SetNodeId(const std::string& value, std::string* out) {
  if (!value.empty() && ParseHex16(value).value_or(0) == 0) {
    return fmt::format("\"{}\" is not 16 hexadecimal digits (not all zero)", value);
  }
  *out = value;
  return "";
}

struct Endpoint {
  std::string host;  // empty for ipc
  std::string path;  // of ipc
  uint32_t port = 0;
};

std::optional<Endpoint> ParseEndpoint(std::string_view text) {
  constexpr std::string_view kIpc = "ipc://";
  constexpr std::string_view kTcp = "tcp://";
  Endpoint endpoint;
  if (text.starts_with(kIpc)) {
    endpoint.path = text.substr(kIpc.size());
    return endpoint.path.empty() ? std::nullopt : std::make_optional(endpoint);
  }
  if (!text.starts_with(kTcp)) return std::nullopt;
  text.remove_prefix(kTcp.size());
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0) return std::nullopt;
  endpoint.host = text.substr(0, colon);
  const std::string_view port = text.substr(colon + 1);
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), endpoint.port);
  if (error != std::errc() || end != port.data() + port.size()) return std::nullopt;
  if (endpoint.host.find_first_of(" /") != std::string::npos) return std::nullopt;
  return endpoint;
}

Problem SetEndpoint(const std::string& value, std::string* out) {
  if (value.empty()) return "";
  const auto endpoint = ParseEndpoint(value);
  if (!endpoint) return fmt::format("\"{}\" is neither tcp://HOST:PORT nor ipc://PATH", value);
  // 65535 has no next port for pulls.
  if (endpoint->path.empty() && (endpoint->port < 1 || endpoint->port > 65534)) {
    return fmt::format("\"{}\": the port must be 1 to 65534 (pulls use the next one)", value);
  }
  if (PullEndpoint(value).size() - std::string_view("ipc://").size() > kMaxUnixPathBytes &&
      !endpoint->path.empty()) {
    return fmt::format("\"{}\": with .pull the path has more than {} bytes", value,
                       kMaxUnixPathBytes);
  }
  *out = value;
  return "";
}

bool StaysOnThisMachine(const std::string& text) {
  const auto endpoint = ParseEndpoint(text);
  if (!endpoint || !endpoint->path.empty()) return true;
  const std::string& host = endpoint->host;
  const bool dotted = host.find_first_not_of("0123456789.") == std::string::npos;
  return host == "localhost" || host == "[::1]" || (dotted && host.starts_with("127."));
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

Problem SetWhenAway(const std::string& value, Config* config) {
  if (value != "refuse" && value != "continue") {
    return fmt::format("\"{}\" is neither refuse nor continue", value);
  }
  config->continue_when_away = value == "continue";
  return "";
}

Problem SetOnReplicaWrite(const std::string& value, Config* config) {
  if (value != "busy" && value != "readonly") {
    return fmt::format("\"{}\" is neither busy nor readonly", value);
  }
  config->read_only_replica = value == "readonly";
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

Problem SetLeaseType(const std::string& value, LeaseConfig* lease) {
  using Type = LeaseConfig::Type;
  for (const auto& [name, type] :
       {std::pair{"static", Type::kStatic}, std::pair{"etcd", Type::kEtcd},
        std::pair{"consul", Type::kConsul}}) {
    if (value != name) continue;
    lease->type = type;
    return "";
  }
  return fmt::format("\"{}\" is not known (there are: static, etcd, consul)", value);
}

Problem SetLeaseUrls(const Values& values, LeaseConfig* lease) {
  lease->urls.clear();
  for (std::string url : values) {
    while (url.ends_with('/')) url.pop_back();
    const size_t scheme = url.find("://");
    const std::string_view name = std::string_view(url).substr(0, scheme);
    if (scheme == std::string::npos || (name != "http" && name != "https") ||
        url.find_first_of("/?# ", scheme + 3) != std::string::npos || url.size() == scheme + 3) {
      return fmt::format("\"{}\" is not http://HOST:PORT or https://HOST:PORT", url);
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

// ---- Keys ---------------------------------------------------------------------------------------

struct Setting {
  std::string_view key;
  Problem (*set)(const Values& values, Config* config);
  bool is_list = false;
};

// Every key there is.  README.md has the same table for its readers.
constexpr std::array kSettings = {
    Setting{"dir", [](const Values& v, Config* c) { return SetDir(v[0], c); }},
    Setting{"databases", [](const Values& v, Config* c) { return SetGlobs(v, &c->databases); },
            true},
    Setting{"node-id", [](const Values& v, Config* c) { return SetNodeId(v[0], &c->node_id); }},
    Setting{"cluster-id", [](const Values& v, Config* c) { return SetId(v[0], &c->cluster_id); }},
    Setting{"insecure", [](const Values& v, Config* c) { return SetBool(v[0], &c->insecure); }},
    Setting{"http.listen", [](const Values& v, Config* c) { return SetHttpListen(v[0], c); }},
    Setting{"lease.type", [](const Values& v, Config* c) { return SetLeaseType(v[0], &c->lease); }},
    Setting{"lease.url", [](const Values& v, Config* c) { return SetLeaseUrls(v, &c->lease); },
            true},
    Setting{"lease.key", [](const Values& v, Config* c) { return SetLeaseKey(v[0], &c->lease); }},
    Setting{"lease.ttl", [](const Values& v, Config* c) { return SetLeaseTtl(v[0], &c->lease); }},
    Setting{"lease.token",
            [](const Values& v, Config* c) { return SetLeaseToken(v[0], &c->lease); }},
    Setting{"lease.primary", [](const Values& v, Config* c) { return SetBool(v[0], &c->primary); }},
    Setting{"replication.listen", [](const Values& v, Config* c) { return SetListen(v[0], c); }},
    Setting{"replication.primary",
            [](const Values& v, Config* c) { return SetEndpoint(v[0], &c->replication.primary); }},
    Setting{"replication.publish",
            [](const Values& v, Config* c) { return SetBool(v[0], &c->replication.publish); }},
    Setting{"retention.age", [](const Values& v, Config* c) { return SetRetentionAge(v[0], c); }},
    Setting{"retention.size", [](const Values& v, Config* c) { return SetRetentionSize(v[0], c); }},
    Setting{"on-replica-write",
            [](const Values& v, Config* c) { return SetOnReplicaWrite(v[0], c); }},
    Setting{"when-away", [](const Values& v, Config* c) { return SetWhenAway(v[0], c); }},
    Setting{"write-timeout", [](const Values& v, Config* c) { return SetWriteTimeout(v[0], c); }},
    Setting{"log.level", [](const Values& v, Config* c) { return SetLogLevel(v[0], c); }},
};

const Setting* FindSetting(std::string_view key) {
  const auto found = std::find_if(kSettings.begin(), kSettings.end(),
                                  [&](const Setting& setting) { return setting.key == key; });
  return found == kSettings.end() ? nullptr : &*found;
}

// Keys are written write-timeout or write_timeout, as the reader likes.
std::string WithHyphens(std::string key) {
  std::replace(key.begin(), key.end(), '_', '-');
  return key;
}

bool IsSection(std::string_view key) {
  return std::any_of(kSettings.begin(), kSettings.end(), [&](const Setting& setting) {
    return setting.key.size() > key.size() && setting.key.starts_with(key) &&
           setting.key[key.size()] == '.';
  });
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

// " (did you mean X?)", or the keys there are.
std::string Suggest(const std::string& normal) {
  std::string_view best;
  size_t best_distance = 3;  // two typing errors
  for (const Setting& setting : kSettings) {
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
  for (const Setting& setting : kSettings)
    fmt::format_to(std::back_inserter(all), " {}", setting.key);
  return " (there are:" + all + ")";
}

// ---- Walk ---------------------------------------------------------------------------------------

// Takes one parsed file into a Config.
class Walker {
 public:
  Walker(std::string name, std::vector<Reference> references, const Environment& environment)
      : name_(std::move(name)), references_(std::move(references)), environment_(environment) {}

  absl::StatusOr<Config> Walk(const YAML::Node& root) {
    if (!root.IsDefined() || root.IsNull()) return config_;
    RETURN_IF_ERROR(WalkSection(root, ""));
    RETURN_IF_ERROR(CheckTogether());
    return config_;
  }

 private:
  absl::Status Error(int line, const std::string& key, const std::string& problem) const {
    const std::string subject = key.empty() ? "" : key + ": ";
    return absl::InvalidArgumentError(fmt::format("{}:{}: {}{}", name_, line, subject, problem));
  }
  static int Line(const YAML::Node& node) { return node.Mark().line + 1; }

  absl::Status WalkSection(const YAML::Node& node, const std::string& prefix) {
    const std::string section = prefix.empty() ? "" : prefix.substr(0, prefix.size() - 1);
    if (node.IsNull()) return absl::OkStatus();
    if (!node.IsMap()) return Error(Line(node), section, "key: value pairs are expected here");
    for (const auto& entry : node) {
      const int line = Line(entry.first);
      if (!entry.first.IsScalar()) return Error(line, section, "a key must be a plain word");
      const std::string key = prefix + WithHyphens(entry.first.Scalar());
      if (key.find(kTokenStart) != std::string::npos) {
        return Error(line, section, "${…} stands for values, not for keys");
      }
      const auto [first, is_new] = lines_.emplace(key, line);
      if (!is_new) return Error(line, key, fmt::format("also given in line {}", first->second));
      if (IsSection(key)) {
        RETURN_IF_ERROR(WalkSection(entry.second, key + "."));
      } else if (const Setting* setting = FindSetting(key)) {
        RETURN_IF_ERROR(WalkSetting(*setting, entry.second, line));
      } else {
        return Error(line, prefix + entry.first.Scalar(), "unknown key" + Suggest(key));
      }
    }
    return absl::OkStatus();
  }

  absl::Status WalkSetting(const Setting& setting, const YAML::Node& node, int key_line) {
    const std::string key(setting.key);
    if (node.IsNull()) return Error(key_line, key, "a value is missing");
    Values values;
    if (node.IsScalar()) {
      RETURN_IF_ERROR(AddValue(key, node, &values));
    } else if (node.IsSequence() && setting.is_list) {
      for (const YAML::Node& item : node) RETURN_IF_ERROR(AddValue(key, item, &values));
    } else {
      return Error(Line(node), key,
                   setting.is_list ? "a list is expected" : "one plain value is expected");
    }
    const Problem problem = setting.set(values, &config_);
    return problem.empty() ? absl::OkStatus() : Error(Line(node), key, problem);
  }

  absl::Status AddValue(const std::string& key, const YAML::Node& node, Values* values) {
    if (!node.IsScalar()) return Error(Line(node), key, "one plain value is expected");
    Expansion expansion = Expand(node.Scalar(), references_, environment_);
    if (!expansion.problem.empty()) return Error(Line(node), key, expansion.problem);
    values->push_back(std::move(expansion.text));
    return absl::OkStatus();
  }

  // What no key can see by itself.
  absl::Status CheckTogether() const {
    const ReplicationConfig& replication = config_.replication;
    if (config_.lease.type != LeaseConfig::Type::kStatic) {
      if (!config_.primary) {
        return Error(LineOf("lease.primary"), "lease.primary",
                     "a replica takes no lease yet: set lease.type: static");
      }
      if (config_.lease.urls.empty()) {
        return Error(LineOf("lease.type"), "lease.url",
                     "where is it? Give http://HOST:PORT of one server or of several");
      }
    }
    if (config_.primary && !replication.primary.empty()) {
      return Error(LineOf("replication.primary"), "replication.primary",
                   "only a replica follows another node (set lease.primary: false, or remove it)");
    }
    if (!config_.primary && replication.primary.empty()) {
      return Error(LineOf("lease.primary"), "lease.primary",
                   "a replica needs replication.primary, the endpoint of its primary");
    }
    if (!config_.primary && !replication.listen.empty()) {
      return Error(LineOf("replication.listen"), "replication.listen",
                   "only a primary serves replicas (set it to off)");
    }
    for (const auto& [key, endpoint] : {std::pair{"replication.listen", replication.listen},
                                        std::pair{"replication.primary", replication.primary}}) {
      if (config_.insecure || StaysOnThisMachine(endpoint)) continue;
      return Error(LineOf(key), key,
                   fmt::format("\"{}\" leaves this machine, and there is no authentication yet: "
                               "on a network you trust, set insecure: true",
                               endpoint));
    }
    return CheckHttp();
  }

  absl::Status CheckHttp() const {
    const HttpConfig& http = config_.http;
    if (config_.insecure || StaysOnThisMachine(fmt::format("tcp://{}:{}", http.host, http.port))) {
      return absl::OkStatus();
    }
    return Error(LineOf("http.listen"), "http.listen",
                 fmt::format("\"{}:{}\" can be reached from other machines, and the API knows no "
                             "authentication: listen on 127.0.0.1, or set insecure: true",
                             http.host, http.port));
  }

  int LineOf(const std::string& key) const {
    const auto found = lines_.find(key);
    return found == lines_.end() ? 1 : found->second;
  }

  const std::string name_;
  const std::vector<Reference> references_;
  const Environment& environment_;
  Config config_;
  std::map<std::string, int> lines_;  // of the keys seen
};

// The file to read, or "": source.path, $LITEFS_CONFIG, DIR/.litefs/config.yml.
struct ConfigFile {
  std::string path;
  bool in_directory = false;  // it is DIR/.litefs/config.yml
};

ConfigFile FindConfigFile(const ConfigSource& source, const Environment& environment) {
  if (!source.path.empty()) return {.path = source.path};
  if (const auto path = environment("LITEFS_CONFIG"); path && !path->empty()) {
    return {.path = *path};
  }
  const std::string dir = source.dir.empty() ? "." : source.dir;
  std::string path = fmt::format("{}/{}/config.yml", dir, ipc::kControlDirectory);
  struct stat st;
  if (::stat(path.c_str(), &st) != 0 && errno == ENOENT) return {};
  return {.path = std::move(path), .in_directory = true};
}

std::string AbsolutePath(const std::filesystem::path& base, const std::string& path) {
  std::error_code ignored;  // fails only without a current directory; then stay relative
  std::filesystem::path absolute = std::filesystem::absolute(base / path, ignored);
  absolute = (ignored ? base / path : absolute).lexically_normal();
  // Without a trailing slash.
  return absolute.has_filename() ? absolute.string() : absolute.parent_path().string();
}

}  // namespace

std::optional<std::string> ProcessEnvironment(const std::string& name) {
  const char* const value = std::getenv(name.c_str());
  return value == nullptr ? std::nullopt : std::make_optional<std::string>(value);
}

std::optional<std::chrono::milliseconds> ParseDuration(std::string_view text) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return std::nullopt;
  const std::string_view unit = text.substr(static_cast<size_t>(end - text.data()));
  constexpr std::array<std::pair<std::string_view, uint64_t>, 5> kUnits = {
      {{"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}, {"d", 86'400'000}}};
  constexpr uint64_t kMaxMs = uint64_t{100} * 365 * 86'400'000;
  if (unit.empty() && number == 0) return std::chrono::milliseconds(0);
  for (const auto& [name, ms] : kUnits) {
    if (unit != name) continue;
    if (number > kMaxMs / ms) return std::nullopt;
    return std::chrono::milliseconds(number * ms);
  }
  return std::nullopt;
}

std::optional<uint64_t> ParseSize(std::string_view text) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return std::nullopt;
  const std::string_view unit = text.substr(static_cast<size_t>(end - text.data()));
  constexpr std::array<std::pair<std::string_view, unsigned>, 5> kUnits = {
      {{"B", 0}, {"KiB", 10}, {"MiB", 20}, {"GiB", 30}, {"TiB", 40}}};
  for (const auto& [name, shift] : kUnits) {
    if (unit != name) continue;
    if (number > ((uint64_t{1} << 63) - 1) >> shift) return std::nullopt;
    return number << shift;
  }
  return std::nullopt;
}

std::string PullEndpoint(const std::string& endpoint) {
  const auto parsed = ParseEndpoint(endpoint);
  if (!parsed || !parsed->path.empty()) return endpoint + ".pull";
  return fmt::format("tcp://{}:{}", parsed->host, parsed->port + 1);
}

absl::StatusOr<Config> ParseConfig(const std::string& text, const std::string& name,
                                   const Environment& environment) {
  std::vector<Reference> references;
  const std::string marked = MarkReferences(text, &references);
  try {
    const std::vector<YAML::Node> documents = YAML::LoadAll(marked);
    if (documents.size() > 1) {
      return absl::InvalidArgumentError(
          fmt::format("{}:{}: a second YAML document begins; one is expected", name,
                      documents[1].Mark().line + 1));
    }
    Walker walker(name, std::move(references), environment);
    return walker.Walk(documents.empty() ? YAML::Node() : documents[0]);
  } catch (const YAML::Exception& error) {
    const int line = error.mark.is_null() ? 1 : error.mark.line + 1;
    return absl::InvalidArgumentError(
        fmt::format("{}:{}: this is not YAML: {}", name, line, error.msg));
  }
}

absl::StatusOr<Config> LoadConfig(const ConfigSource& source, const Environment& environment) {
  const ConfigFile file = FindConfigFile(source, environment);
  Config config;
  if (!file.path.empty()) {
    ASSIGN_OR_RETURN(const std::string text, ReadWholeFile(file.path, kMaxConfigBytes));
    ASSIGN_OR_RETURN(config, ParseConfig(text, file.path, environment));
  }
  if (file.in_directory && !config.dir.empty()) {
    return absl::InvalidArgumentError(fmt::format(
        "{}:1: dir: this file is about the directory it lies in; remove the key", file.path));
  }
  if (!source.dir.empty() || config.dir.empty()) {
    config.dir = AbsolutePath("", source.dir.empty() ? "." : source.dir);
  } else {
    config.dir = AbsolutePath(std::filesystem::path(file.path).parent_path(), config.dir);
  }
  return config;
}

}  // namespace litefs
