#include "daemon/config_proxy.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace litefs {
namespace {

constexpr size_t kMaxPassthrough = 1000;
constexpr size_t kMaxUrlBytes = 256;
constexpr std::chrono::milliseconds kMaxWait = std::chrono::minutes(10);

// ":8080" is of this machine only.
Problem SetHostPort(const std::string& value, std::string* host, int* port) {
  const auto endpoint =
      ParseEndpoint((value.starts_with(':') ? "tcp://127.0.0.1" : "tcp://") + value);
  if (!endpoint || endpoint->port < 1 || endpoint->port > 65535) {
    return fmt::format("\"{}\" is not HOST:PORT such as 127.0.0.1:8080", value);
  }
  *host = endpoint->host == "*" ? "0.0.0.0" : endpoint->host;
  if (host->starts_with('[') && host->ends_with(']')) *host = host->substr(1, host->size() - 2);
  *port = static_cast<int>(endpoint->port);
  return "";
}

std::string HostPort(const ProxyConfig& proxy) {
  const bool six = proxy.host.find(':') != std::string::npos;
  return fmt::format("{}{}{}:{}", six ? "[" : "", proxy.host, six ? "]" : "", proxy.port);
}

bool ServesOtherMachines(const ReplicationConfig& replication) {
  return !StaysOnThisMachine(replication.listen) ||
         std::any_of(replication.dial.begin(), replication.dial.end(),
                     [](const std::string& endpoint) { return !StaysOnThisMachine(endpoint); });
}

}  // namespace

Problem SetProxyAddr(const std::string& value, ProxyConfig* proxy) {
  proxy->host.clear();
  return value.empty() || value == "off" ? "" : SetHostPort(value, &proxy->host, &proxy->port);
}

Problem SetProxyTarget(const std::string& value, ProxyConfig* proxy) {
  return SetHostPort(value, &proxy->target_host, &proxy->target_port);
}

Problem SetProxyDatabase(const std::string& value, ProxyConfig* proxy) {
  if (value.empty() || value.find('/') != std::string::npos) {
    return fmt::format("\"{}\" is not the name of a database", value);
  }
  proxy->database = value;
  return "";
}

Problem SetProxyPassthrough(const Values& values, ProxyConfig* proxy) {
  if (values.size() > kMaxPassthrough) return fmt::format("more than {} globs", kMaxPassthrough);
  if (std::find(values.begin(), values.end(), "") != values.end()) return "\"\" matches no path";
  proxy->passthrough = values;
  return "";
}

// It goes into headers, and to other nodes.
Problem SetProxyAdvertise(const std::string& value, ProxyConfig* proxy) {
  const bool plain =
      std::all_of(value.begin(), value.end(), [](unsigned char c) { return c > 0x20 && c < 0x7f; });
  const size_t host = value.starts_with("http://") ? 7 : value.starts_with("https://") ? 8 : 0;
  if (!plain || host == 0 || host == value.size() || value.size() > kMaxUrlBytes ||
      value.find_first_of("/?#@", host) != std::string::npos) {
    return fmt::format("\"{}\" is not a URL such as http://10.0.0.5:8080, without a path", value);
  }
  proxy->advertise = value;
  return "";
}

Problem SetProxyWait(const std::string& value, ProxyConfig* proxy) {
  Problem problem = SetDuration(value, &proxy->wait);
  if (problem.empty() && proxy->wait > kMaxWait) {
    problem = fmt::format("\"{}\" is more than 10m", value);
  }
  return problem;
}

std::string ProxyConfig::url() const {
  if (host.empty()) return "";
  return advertise.empty() ? "http://" + HostPort(*this) : advertise;
}

std::optional<ConfigConflict> CheckProxy(const Config& config, const IsGiven& is_given) {
  const ProxyConfig& proxy = config.proxy;
  const auto conflict = [](std::string line_of, std::string key, std::string problem) {
    return ConfigConflict{std::move(line_of), std::move(key), std::move(problem)};
  };
  if (proxy.host.empty()) {
    if (is_given("proxy.addr")) return std::nullopt;  // off
    for (const char* const key :
         {"proxy.target", "proxy.db", "proxy.passthrough", "proxy.advertise", "proxy.wait"}) {
      if (is_given(key)) return conflict(key, key, "has no effect without proxy.addr");
    }
    return std::nullopt;
  }
  const std::string kAddr = "proxy.addr";
  if (proxy.target_host.empty()) {
    return conflict(kAddr, "proxy.target", "where is the app? Give its HOST:PORT");
  }
  if (proxy.database.empty()) {
    return conflict(kAddr, "proxy.db", "whose position do clients follow? Give a database's name");
  }
  const bool may_write = config.primary || config.lease.type != LeaseConfig::Type::kStatic;
  const bool wildcard = proxy.host == "0.0.0.0" || proxy.host == "::";
  const bool stays = StaysOnThisMachine("tcp://" + HostPort(proxy));
  if (proxy.advertise.empty() && may_write &&
      (wildcard || (stays && ServesOtherMachines(config.replication)))) {
    return conflict(kAddr, "proxy.advertise",
                    "replicas redirect writes to this proxy: give the URL at which clients reach "
                    "it, such as http://10.0.0.5:8080");
  }
  return std::nullopt;
}

}  // namespace litefs
