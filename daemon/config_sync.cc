#include "daemon/config_sync.h"

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <sstream>

namespace litefs {
namespace {

constexpr uint32_t kMaxSyncReplicas = 64;
constexpr std::chrono::milliseconds kMaxSyncTimeout = std::chrono::hours(24);

// "N", "N TIMEOUT", "N TIMEOUT wait|degrade".
Problem SetRule(const std::string& value, SyncOverride* out) {
  std::istringstream words(value);
  std::string replicas, timeout, on_timeout, more;
  words >> replicas >> timeout >> on_timeout >> more;
  out->own_timeout = !timeout.empty();
  out->own_on_timeout = !on_timeout.empty();
  Problem problem = SetSyncReplicas(replicas, &out->rule.replicas);
  if (problem.empty() && out->own_timeout) problem = SetSyncTimeout(timeout, &out->rule.timeout);
  if (problem.empty() && out->own_on_timeout)
    problem = SetOnTimeout(on_timeout, &out->rule.degrade);
  if (problem.empty() && !more.empty()) {
    problem =
        fmt::format("\"{}\" is not N [TIMEOUT [wait|degrade]], such as \"2 30s wait\"", value);
  }
  return problem;
}

}  // namespace

Problem SetSyncReplicas(const std::string& value, uint32_t* out) {
  const bool number =
      !value.empty() && value.size() <= 3 &&
      std::all_of(value.begin(), value.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (!number || std::stoul(value) > kMaxSyncReplicas) {
    return fmt::format("\"{}\" is not a number of replicas from 0 to {}", value, kMaxSyncReplicas);
  }
  *out = static_cast<uint32_t>(std::stoul(value));
  return "";
}

Problem SetSyncTimeout(const std::string& value, std::chrono::milliseconds* out) {
  Problem problem = SetDuration(value, out);
  if (problem.empty() && (out->count() < 1 || *out > kMaxSyncTimeout)) {
    problem = fmt::format("\"{}\" is not between 1ms and 24h", value);
  }
  return problem;
}

Problem SetOnTimeout(const std::string& value, bool* degrade) {
  if (value != "wait" && value != "degrade") {
    return fmt::format("\"{}\" is neither wait nor degrade", value);
  }
  *degrade = value == "degrade";
  return "";
}

Problem SetSyncDatabases(const Values& globs_and_settings, Config* config) {
  config->sync_databases.clear();
  for (size_t i = 0; i + 1 < globs_and_settings.size(); i += 2) {
    SyncOverride own{.glob = globs_and_settings[i]};
    if (own.glob.empty() || own.glob.find('/') != std::string::npos) {
      return fmt::format("\"{}\" matches no file name", own.glob);
    }
    if (Problem problem = SetRule(globs_and_settings[i + 1], &own); !problem.empty()) {
      return problem;
    }
    config->sync_databases.push_back(std::move(own));
  }
  return "";
}

void FinishSync(Config* config) {
  for (SyncOverride& own : config->sync_databases) {
    if (!own.own_timeout) own.rule.timeout = config->sync.timeout;
    if (!own.own_on_timeout) own.rule.degrade = config->sync.degrade;
  }
}

const SyncConfig& Config::SyncOf(const std::string& database) const {
  for (const SyncOverride& own : sync_databases) {
    if (::fnmatch(own.glob.c_str(), database.c_str(), 0) == 0) return own.rule;
  }
  return sync;
}

bool Config::syncs() const {
  return sync.replicas > 0 ||
         std::any_of(sync_databases.begin(), sync_databases.end(),
                     [](const SyncOverride& own) { return own.rule.replicas > 0; });
}

}  // namespace litefs
