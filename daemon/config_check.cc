#include "daemon/config_check.h"

#include <fmt/format.h>

#include <utility>
#include <vector>

#include "daemon/config_proxy.h"
#include "daemon/config_values.h"

namespace litefs {
namespace {

ConfigConflict Conflict(std::string line_of, std::string key, std::string problem) {
  return {.line_of = std::move(line_of), .key = std::move(key), .problem = std::move(problem)};
}

// Is the host one that only stands for all of this machine's addresses?
bool IsWildcard(const std::string& endpoint) {
  const auto parsed = ParseEndpoint(endpoint);
  return parsed && (parsed->host == "*" || parsed->host == "0.0.0.0" || parsed->host == "[::]");
}

// With a lease in a server, which decides the role.
std::optional<ConfigConflict> CheckLease(const Config& config, const IsGiven& is_given) {
  const ReplicationConfig& replication = config.replication;
  const bool in_s3 = config.lease.type == LeaseConfig::Type::kS3;
  if (config.lease.urls.empty()) {
    return Conflict("lease.type", "lease.url",
                    in_s3 ? "where is it? Give s3://BUCKET"
                          : "where is it? Give http://HOST:PORT of one server or of several");
  }
  for (const std::string& url : config.lease.urls) {
    if (url.starts_with("s3://") == in_s3 && (!in_s3 || config.lease.urls.size() == 1)) continue;
    return Conflict(
        "lease.url", "lease.url",
        in_s3 ? "a lease in S3 has one url, s3://BUCKET" : "s3://BUCKET is for lease.type: s3");
  }
  for (const char* const key :
       {"lease.primary", "replication.primary", "replication.accept", "replication.dial"}) {
    if (!is_given(key)) continue;
    return Conflict(key, key, "the lease says who is the primary: remove it");
  }
  if (config.lease.candidate && replication.advertise.empty() && IsWildcard(replication.listen)) {
    return Conflict("replication.listen", "replication.advertise",
                    "give the address at which the other nodes reach this one");
  }
  return std::nullopt;
}

std::optional<ConfigConflict> CheckRole(const Config& config, const IsGiven& is_given) {
  const ReplicationConfig& replication = config.replication;
  if (config.lease.type != LeaseConfig::Type::kStatic) return CheckLease(config, is_given);
  if (config.primary && !replication.primary.empty()) {
    return Conflict("replication.primary", "replication.primary",
                    "only a replica follows another node (set lease.primary: false, or remove it)");
  }
  if (config.primary && !replication.accept.empty()) {
    return Conflict("replication.accept", "replication.accept",
                    "only a replica waits for a primary (set lease.primary: false, or remove it)");
  }
  if (!config.primary && replication.primary.empty() && replication.accept.empty()) {
    return Conflict("lease.primary", "lease.primary",
                    "a replica needs replication.primary, the endpoint of its primary, or "
                    "replication.accept, where the primary connects to it");
  }
  if (!replication.primary.empty() && !replication.accept.empty()) {
    return Conflict("replication.accept", "replication.accept",
                    "a replica either follows replication.primary or waits for it, not both");
  }
  return std::nullopt;
}

std::optional<ConfigConflict> CheckSecurity(const Config& config, const IsGiven& is_given) {
  const ReplicationConfig& replication = config.replication;
  const SecurityConfig& security = config.security;
  const std::string kKeyFile = "security.key-file";
  if (security.key_file.empty()) {
    for (const char* const key :
         {"security.peers", "security.peers-file", "security.primary-key", "security.dial-keys"}) {
      if (!is_given(key)) continue;
      return Conflict(key, key,
                      "has no effect without security.key-file, this node's own key (litefs keygen "
                      "makes one)");
    }
    return std::nullopt;
  }
  if (!replication.primary.empty() && security.primary_key.empty()) {
    return Conflict(
        kKeyFile, kKeyFile,
        "with keys, security.primary-key must say which is the primary's (litefs keygen "
        "--show FILE prints it there)");
  }
  for (const std::string& endpoint : replication.dial) {
    if (security.dial_keys.contains(endpoint)) continue;
    return Conflict(kKeyFile, kKeyFile,
                    fmt::format("with keys, security.dial-keys must say which is the key of \"{}\" "
                                "(litefs keygen --show FILE prints it there)",
                                endpoint));
  }
  const bool lets_in = !replication.listen.empty() || !replication.accept.empty();
  if (lets_in && security.peers.empty() && security.peers_file.empty()) {
    return Conflict(kKeyFile, kKeyFile,
                    "with keys, security.peers or security.peers-file must say who may connect");
  }
  return std::nullopt;
}

std::optional<ConfigConflict> CheckEndpoints(const Config& config) {
  const ReplicationConfig& replication = config.replication;
  if (config.insecure || !config.security.key_file.empty()) return std::nullopt;
  std::vector<std::pair<std::string, std::string>> endpoints = {
      {"replication.listen", replication.listen},
      {"replication.primary", replication.primary},
      {"replication.accept", replication.accept}};
  for (const std::string& endpoint : replication.dial) {
    endpoints.emplace_back("replication.dial", endpoint);
  }
  for (const auto& [key, endpoint] : endpoints) {
    if (StaysOnThisMachine(endpoint)) continue;
    return Conflict(key, key,
                    fmt::format("\"{}\" leaves this machine: set security.key-file (litefs keygen "
                                "makes one), or, on a network that you trust, insecure: true",
                                endpoint));
  }
  return std::nullopt;
}

std::optional<ConfigConflict> CheckHttp(const Config& config) {
  const HttpConfig& http = config.http;
  if (config.insecure || StaysOnThisMachine(fmt::format("tcp://{}:{}", http.host, http.port))) {
    return std::nullopt;
  }
  return Conflict("http.listen", "http.listen",
                  fmt::format("\"{}:{}\" can be reached from other machines, and the API knows no "
                              "authentication: listen on 127.0.0.1, or set insecure: true",
                              http.host, http.port));
}

// A static replica may have it too: the file is the same on all nodes.
std::optional<ConfigConflict> CheckSync(const Config& config, const IsGiven& is_given) {
  const ReplicationConfig& replication = config.replication;
  const bool replica = config.lease.type == LeaseConfig::Type::kStatic && !config.primary;
  if (replica || !config.syncs() || !replication.listen.empty() || !replication.dial.empty()) {
    return std::nullopt;
  }
  const std::string key = is_given("sync") ? "sync" : "sync-databases";
  return Conflict(key, key, "no replica can connect: give replication.listen, or replication.dial");
}

}  // namespace

std::optional<ConfigConflict> CheckTogether(const Config& config, const IsGiven& is_given) {
  if (const auto bad = CheckRole(config, is_given)) return bad;
  if (const auto bad = CheckSecurity(config, is_given)) return bad;
  if (const auto bad = CheckEndpoints(config)) return bad;
  if (const auto bad = CheckSync(config, is_given)) return bad;
  if (const auto bad = CheckProxy(config, is_given)) return bad;
  return CheckHttp(config);
}

}  // namespace litefs
