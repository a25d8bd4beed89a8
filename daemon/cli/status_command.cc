#include "daemon/cli/status_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "common/json_text.h"
#include "daemon/cli/command_support.h"

namespace litefs {
namespace {

constexpr std::chrono::milliseconds kTimeout = std::chrono::seconds(10);

using Rows = std::vector<std::vector<std::string>>;

// "3 transactions, 1.2 KiB, 40 ms"; what is not known is said so, and never 0.
std::string LagText(const nlohmann::json& lag) {
  if (!lag.is_object()) return "unknown";
  const auto known = [&](const char* key) { return lag.contains(key) && lag[key].is_number(); };
  const std::string time =
      known("ms") ? FormatDuration(std::chrono::milliseconds(Number(lag, "ms"))) : "unknown time";
  if (Number(lag, "transactions") == 0) {
    return known("ms") && Number(lag, "ms") == 0 ? "0" : time;
  }
  return fmt::format(
      "{} transactions, {}, {}", Number(lag, "transactions"),
      known("bytes") ? FormatSize(static_cast<uint64_t>(Number(lag, "bytes"))) : "unknown size",
      time);
}

// Empty where commits wait for nobody, or need not wait long.
std::string SyncText(const nlohmann::json& database) {
  const nlohmann::json sync = database.value("sync", nlohmann::json());
  if (Flag(sync, "degraded")) {
    return fmt::format("{}: commits do not wait for replicas, {} of {} have all\n",
                       Text(database, "name"), Number(sync, "stored_by"), Number(sync, "replicas"));
  }
  if (Number(sync, "waiting") == 0) return "";
  return fmt::format("{}: {} commits wait for {} replicas\n", Text(database, "name"),
                     Number(sync, "waiting"), Number(sync, "replicas"));
}

std::string DatabaseTable(const nlohmann::json& status) {
  const bool lags = Text(status, "role") == "replica";
  Rows rows = {{"DATABASE", "TXID", "CHECKSUM", "SIZE", "JOURNAL", "LTX FILES", "SESSIONS"}};
  if (lags) rows[0].push_back("BEHIND");
  std::string errors;
  for (const auto& database : Items(status, "databases")) {
    const uint64_t size = static_cast<uint64_t>(Number(database, "pages")) *
                          static_cast<uint64_t>(Number(database, "page_size"));
    rows.push_back({Text(database, "name"), Text(database, "txid"), Text(database, "checksum"),
                    Flag(database, "deleted") ? "deleted" : FormatSize(size),
                    Text(database, "journal"),
                    fmt::format("{} ({})", Number(database, "ltx_files"),
                                FormatSize(static_cast<uint64_t>(Number(database, "ltx_bytes")))),
                    fmt::format("{}", Number(database, "sessions"))});
    if (lags) rows.back().push_back(LagText(database.value("lag", nlohmann::json())));
    const std::string error = Text(database, "error");
    if (!error.empty()) errors += fmt::format("{}: {}\n", Text(database, "name"), error);
    errors += SyncText(database);
  }
  if (rows.size() == 1) return "no databases yet\n";
  return Table(rows) + (errors.empty() ? "" : "\n" + errors);
}

std::string ReplicaTable(const nlohmann::json& replication) {
  Rows rows = {{"REPLICA", "LAST SEEN", "DATABASE", "TXID"}};
  for (const auto& replica : Items(replication, "replicas")) {
    std::string node = Text(replica, "node_id");
    std::string seen =
        FormatDuration(std::chrono::milliseconds(Number(replica, "last_seen_ms"))) + " ago";
    for (const auto& database : Items(replica, "databases")) {
      rows.push_back({node, seen, Text(database, "name"), Text(database, "txid")});
      node.clear();  // once
      seen.clear();
    }
    if (!node.empty()) rows.push_back({node, seen, "", ""});
  }
  return rows.size() == 1 ? "no replica has been seen\n" : Table(rows);
}

// "encrypted", or "not encrypted"; and who was turned away.
std::string SecurityText(const nlohmann::json& replication) {
  std::string out =
      Flag(replication, "encrypted")
          ? fmt::format("encrypted, this node's key is {}\n", Text(replication, "public_key"))
          : "not encrypted\n";
  const int64_t refused = Number(replication, "refused_peers");
  if (refused != 0) {
    out += fmt::format("{} connections refused; the last: {}\n", refused,
                       Text(replication, "last_refusal"));
  }
  return out;
}

std::string FollowingText(const nlohmann::json& replication) {
  const std::string primary = Text(replication, "primary");
  const std::string accept = Text(replication, "accept");
  if (primary.empty() && accept.empty()) return "";
  const nlohmann::json lag = {{"transactions", replication.value("lag_transactions", 0)},
                              {"bytes", replication.value("lag_bytes", nlohmann::json())},
                              {"ms", replication.value("lag_ms", nlohmann::json())}};
  std::string out = fmt::format(
      "{} ({}), {} behind\n",
      primary.empty() ? "followed by a primary that connects to " + accept : "following " + primary,
      Flag(replication, "connected") ? "connected" : "NOT CONNECTED", LagText(lag));
  const std::string error = Text(replication, "last_error");
  if (!Flag(replication, "connected") && !error.empty()) out += fmt::format("  {}\n", error);
  return out;
}

// Who writes where: on a primary the halt locks of its replicas, on a replica its own.
std::string ForwardingText(const nlohmann::json& status) {
  std::string out;
  const auto replication = status.find("replication");
  if (replication != status.end()) {
    for (const auto& halt : Items(*replication, "halt_locks")) {
      out += fmt::format("{} is being written by node {}, which has held its lock for {}\n",
                         Text(halt, "database"), Text(halt, "node_id"),
                         FormatDuration(std::chrono::milliseconds(Number(halt, "held_ms"))));
    }
  }
  for (const auto& loan : Items(status, "forwarding")) {
    out += fmt::format("{}: halt lock {}, {} writers here, {} waiting\n", Text(loan, "database"),
                       Text(loan, "state"), Number(loan, "writers"), Number(loan, "waiting"));
  }
  return out;
}

std::string ReplicationText(const nlohmann::json& replication) {
  std::string out = FollowingText(replication);
  const std::string listen = Text(replication, "listen");
  const bool listens = !listen.empty() && listen != "off";
  if (listens) out += fmt::format("serving replicas on {}\n", listen);
  const auto dialled = Items(replication, "dial");
  for (const auto& dial : dialled) {
    const std::string error = Text(dial, "last_error");
    out += fmt::format("serving {} ({}){}\n", Text(dial, "endpoint"),
                       Flag(dial, "connected") ? "connected" : "NOT CONNECTED",
                       error.empty() ? "" : ": " + error);
  }
  if (listens || !dialled.empty()) out += ReplicaTable(replication);
  return out.empty() ? "replication: off\n" : out + SecurityText(replication);
}

// Empty for a static lease, of which there is nothing to say.
std::string LeaseText(const nlohmann::json& status) {
  const auto lease = status.find("lease");
  if (lease == status.end() || Text(*lease, "type") == "static") return "";
  const std::string owner = Text(*lease, "owner");
  const std::string holder = Flag(*lease, "holds") ? "held by this node"
                             : owner.empty()       ? "NOT HELD, apps cannot write"
                                                   : "held by node " + owner;
  const std::string problem = Text(*lease, "problem");
  return fmt::format("lease: {}, {}, epoch {}{}{}\n", Text(*lease, "type"), holder,
                     Number(*lease, "epoch"), problem.empty() ? "" : ": ", problem);
}

// Empty without a proxy.
std::string ProxyText(const nlohmann::json& status) {
  const auto proxy = status.find("proxy");
  if (proxy == status.end() || !proxy->is_object()) return "";
  const std::string primary = Text(*proxy, "primary");
  const std::string writes = Text(status, "role") == "primary" ? "are served here"
                             : primary.empty()                 ? "are REFUSED, no primary is known"
                                                               : "go to " + primary;
  return fmt::format("HTTP proxy: {}, {} connections, writes {}\n", Text(*proxy, "url"),
                     Number(*proxy, "connections"), writes);
}

std::string ArchiveTable(const nlohmann::json& status) {
  Rows rows = {{"ARCHIVE", "WHERE", "DATABASE", "TXID", "BACKLOG", "AGE"}};
  std::string errors;
  for (const auto& destination : Items(status, "archive")) {
    const std::string name = Text(destination, "name");
    for (const auto& database : Items(destination, "databases")) {
      rows.push_back(
          {name, Text(destination, "where"), Text(database, "name"), Text(database, "txid"),
           fmt::format("{} ({})", Number(database, "backlog_files"),
                       FormatSize(static_cast<uint64_t>(Number(database, "backlog_bytes")))),
           FormatDuration(std::chrono::milliseconds(Number(database, "backlog_age_ms")))});
    }
    const std::string error = Text(destination, "last_error");
    if (!error.empty()) errors += fmt::format("{}: {}\n", name, error);
  }
  if (rows.size() == 1 && errors.empty()) return "";
  return "\n" + Table(rows) + (errors.empty() ? "" : "\n" + errors);
}

std::string StatusText(const nlohmann::json& status) {
  const auto replication = status.find("replication");
  std::string out =
      fmt::format("litefs {}, pid {}, up {}\n", Text(status, "version"), Number(status, "pid"),
                  FormatDuration(std::chrono::milliseconds(Number(status, "uptime_ms"))));
  out += Table({{"directory", Text(status, "dir")},
                {"role", Text(status, "role")},
                {"node", Text(status, "node_id")},
                {"cluster", Text(status, "cluster_id")}});
  out += LeaseText(status);
  out += "\n" + DatabaseTable(status);
  if (replication != status.end()) out += "\n" + ReplicationText(*replication);
  out += ForwardingText(status);
  return out + ProxyText(status) + ArchiveTable(status);
}

int PrintStatus(const DirOptions& dir, bool json) {
  const std::optional<Config> config = LoadConfigOrSay(dir);
  if (!config) return kExitUsage;
  const auto answer = AskDaemon(config->dir, {{"request", "status"}}, Freshness::kAsIs, kTimeout);
  if (!answer.ok()) return Fail(answer.status());
  const std::string text = json ? JsonText(answer->json, 2) + "\n" : StatusText(answer->json);
  std::fputs(text.c_str(), stdout);
  return 0;
}

}  // namespace

void AddStatusCommand(CLI::App& app, int* exit_code) {
  struct Options {
    DirOptions dir;
    bool json = false;
  };
  const auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("status", "Show the node, its databases and its replicas");
  AddDirOptions(command, &options->dir);
  command->add_flag("--json", options->json, "Print all of it as JSON");
  command->footer("Example:\n  litefs status --dir data");
  command->callback(
      [options, exit_code] { *exit_code = PrintStatus(options->dir, options->json); });
}

}  // namespace litefs
