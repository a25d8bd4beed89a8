#include "daemon/config_proxy.h"

#include <fmt/format.h>

#include <algorithm>

namespace litefs {
namespace {

constexpr size_t kMaxPassthrough = 1000;
constexpr std::chrono::milliseconds kMaxWait = std::chrono::minutes(10);

Problem SetHostPort(const std::string& value, std::string* host, int* port) {
  const auto endpoint = ParseEndpoint("tcp://" + value);
  if (!endpoint || endpoint->port < 1 || endpoint->port > 65535) {
    return fmt::format("\"{}\" is not HOST:PORT such as 127.0.0.1:8080", value);
  }
  *host = endpoint->host;
  *port = static_cast<int>(endpoint->port);
  return "";
}

}  // namespace

Problem SetProxyListen(const std::string& value, ProxyConfig* proxy) {
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
  std::string host;
  int port = 0;
  if (!plain || value.size() > 256 || !value.starts_with("http://") ||
      !SetHostPort(value.substr(7), &host, &port).empty()) {
    return fmt::format("\"{}\" is not http://HOST:PORT", value);
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

Problem SetProxyOnWrite(const std::string& value, ProxyConfig* proxy) {
  if (value != "forward" && value != "redirect") {
    return fmt::format("\"{}\" is neither forward nor redirect", value);
  }
  proxy->redirect = value == "redirect";
  return "";
}

std::string ProxyConfig::url() const {
  if (host.empty()) return "";
  return advertise.empty() ? fmt::format("http://{}:{}", host, port) : advertise;
}

}  // namespace litefs
