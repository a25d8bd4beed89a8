#include "daemon/node_proxy.h"

#include <utility>

#include "common/hex.h"
#include "common/status_macros.h"

namespace litefs {

absl::Status NodeProxy::Start() {
  const ProxyConfig& config = parts_.config->proxy;
  if (config.host.empty()) return absl::OkStatus();
  session::SessionServer* const server = parts_.server;
  ASSIGN_OR_RETURN(
      proxy_,
      proxy::Proxy::Start(
          {.host = config.host,
           .port = config.port,
           .target_host = config.target_host,
           .target_port = config.target_port,
           .passthrough = config.passthrough,
           .wait =
               [this, server](ltx::TxId txid, std::function<void(int)> answer) {
                 server->Post([this, txid, answer = std::move(answer)] { Wait(txid, answer); });
               },
           .position =
               [this, server](std::function<void(ltx::TxId)> answer) {
                 server->Post([this, answer = std::move(answer)] { answer(Position()); });
               },
           .primary_url =
               [this, server](std::function<void(std::string)> answer) {
                 server->Post([this, answer = std::move(answer)] {
                   answer(parts_.node->replication().FollowingNow().proxy);
                 });
               },
           .is_primary =
               [status = parts_.status] {
                 return status->status().role.load() ==
                            static_cast<uint32_t>(ipc::Role::kPrimary) &&
                        !status->past_lease();
               }}));
  return absl::OkStatus();
}

void NodeProxy::Wait(ltx::TxId txid, std::function<void(int error)> answer) {
  const nlohmann::json request = {{"database", parts_.config->proxy.database},
                                  {"txid", Hex16(txid)},
                                  {"timeout_ms", uint64_t(parts_.config->proxy.wait.count())}};
  parts_.waits->Handle(request, [answer = std::move(answer)](const session::ControlAnswer& said) {
    answer(said.error);
  });
}

// In WAL mode a commit may be ahead of its capture.
ltx::TxId NodeProxy::Position() {
  store::Store::Entry* const entry = parts_.node->store().Find(parts_.config->proxy.database);
  if (entry == nullptr) return 0;
  if (entry->primary != nullptr) (void)entry->primary->CaptureWal();
  return entry->database->position().txid;
}

void NodeProxy::AddCountersTo(nlohmann::json* json) const {
  if (proxy_ == nullptr) return;
  const proxy::ProxyCounters& counters = proxy_->counters();
  (*json)["proxy_requests"] = counters.requests.load();
  (*json)["proxy_waits"] = counters.waits.load();
  (*json)["proxy_wait_timeouts"] = counters.wait_timeouts.load();
  (*json)["proxy_redirects"] = counters.redirects.load();
  (*json)["proxy_bad_requests"] = counters.bad_requests.load();
  (*json)["proxy_bad_gateways"] = counters.bad_gateways.load();
  (*json)["proxy_refused_connections"] = counters.refused_connections.load();
}

nlohmann::json NodeProxy::StatusJson() const {
  if (proxy_ == nullptr) return {};
  return {{"url", parts_.config->proxy.url()},
          {"primary", parts_.node->replication().FollowingNow().proxy},
          {"connections", proxy_->counters().connections.load()}};
}

}  // namespace litefs
