#include "daemon/node_security.h"

#include <fmt/format.h>

#include <string>

#include "common/status_macros.h"

namespace litefs {

absl::StatusOr<replication::Security> ReadSecurity(const Config& config,
                                                   const std::string& upstream) {
  const SecurityConfig& from = config.security;
  replication::Security security;
  if (from.key_file.empty()) return security;
  absl::StatusOr<replication::CurveKeys> keys = replication::ReadCurveKeys(from.key_file);
  if (absl::IsNotFound(keys.status())) {
    return absl::NotFoundError(
        fmt::format("security.key-file: {} does not exist: litefs keygen --out {} makes it",
                    from.key_file, from.key_file));
  }
  if (!keys.ok()) {
    return absl::Status(keys.status().code(),
                        fmt::format("security.key-file: {}", std::string(keys.status().message())));
  }
  security.keys = *std::move(keys);
  replication::PeerList::Names names;
  for (const auto& [name, key] : from.peers) names[key] = name;
  security.peers = std::make_shared<replication::PeerList>(std::move(names), from.peers_file);
  if (!upstream.empty()) {
    const auto dialled = from.dial_keys.find(upstream);
    const std::string& key = dialled == from.dial_keys.end() ? from.primary_key : dialled->second;
    security.server_keys[upstream] = key;
    security.server_keys[PullEndpoint(upstream)] = key;
  }
  for (const std::string& endpoint : config.replication.dial) {
    security.server_keys[endpoint] = from.dial_keys.at(endpoint);
  }
  return security;
}

}  // namespace litefs
