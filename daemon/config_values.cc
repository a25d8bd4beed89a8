#include "daemon/config_values.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>

#include "common/hex.h"

namespace litefs {
namespace {

constexpr size_t kMaxUnixPathBytes = 107;  // sockaddr_un::sun_path without its NUL

}  // namespace

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
  std::string host = endpoint->host;
  if (host == "localhost") return true;
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  in_addr four{};
  if (::inet_pton(AF_INET, host.c_str(), &four) == 1) return (ntohl(four.s_addr) >> 24) == 127;
  in6_addr six{};
  return ::inet_pton(AF_INET6, host.c_str(), &six) == 1 && IN6_IS_ADDR_LOOPBACK(&six);
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

}  // namespace litefs
