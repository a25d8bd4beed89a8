// The configuration: YAML with ${ENV} expansion to a checked Config.  Every key, default and limit
// is in config_settings.cc, in one table.  With no file at all, the defaults make a single primary.
//
// Every error is one line that names the file, the line, the key and the value:
//
//   /etc/litefs.yml:7: retention.age: "5 parsecs" is not a duration such as 30s, 10m, 24h
//
// No state; any thread.

#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "common/log.h"
#include "daemon/archive/archive_config.h"

namespace litefs {

struct ReplicationConfig {
  // Where a primary, or a replica that has replicas of its own, serves them; empty: nowhere.  PUB
  // binds this, the pull ROUTER PullEndpoint of it.
  std::string listen;
  // What other nodes are told of `listen`, where they find this node; empty: `listen` itself.
  std::string advertise;
  // Whom a replica follows (its `listen`); empty on a primary, and where the lease tells.
  std::string primary;
  // Whether a node with `listen` pushes (PUB) as well as answering pulls.
  bool publish = true;
  // Replicas (their `accept`) that this node connects to, instead of waiting for them.
  std::vector<std::string> dial;
  // Where a replica waits for its primary to connect, instead of `primary`.
  std::string accept;
};

// The HTTP API (docs/HTTP.md).
struct HttpConfig {
  std::string host;  // empty: off
  int port = 0;
};

// The HTTP proxy in front of an app (docs/HTTP.md).
struct ProxyConfig {
  std::string host;  // where it listens; empty: off
  int port = 0;
  std::string target_host;  // the app
  int target_port = 0;
  std::string database;                  // whose position the cookie has
  std::vector<std::string> passthrough;  // globs of paths
  std::string advertise;                 // where clients of other nodes reach it; empty: at host
  std::chrono::milliseconds wait = std::chrono::seconds(5);  // for a client's transaction

  std::string url() const;  // http://HOST:PORT; empty: there is no proxy
};

struct RetentionConfig {
  // An LTX file is pruned when it is older, or when the newer ones of its database together
  // exceed size_bytes.
  std::chrono::milliseconds age = std::chrono::hours(1);
  uint64_t size_bytes = uint64_t{256} << 20;
};

// Key files are read by ReadSecurity (daemon/node_security.h), not here.
struct SecurityConfig {
  std::string key_file;                          // this node's key pair; empty: no keys at all
  std::map<std::string, std::string> peers;      // public keys of those who may connect, by name
  std::string peers_file;                        // more of them
  std::string primary_key;                       // the public key of replication.primary
  std::map<std::string, std::string> dial_keys;  // of those of replication.dial, by endpoint
};

struct LeaseConfig {
  enum class Type { kStatic, kEtcd, kConsul, kS3 };
  Type type = Type::kStatic;
  // http(s)://HOST:PORT of the servers, tried in turn; or s3://BUCKET[/PREFIX][?…], one.
  std::vector<std::string> urls;
  std::string key = "litefs";  // under which all of it is kept there
  std::string token;           // Consul's, for its ACLs
  std::chrono::milliseconds ttl = std::chrono::seconds(10);
  bool candidate = true;  // false: it follows whoever reigns, and never reigns itself
};

// Synchronous commit (docs/CLUSTER.md, 11).
struct SyncConfig {
  uint32_t replicas = 0;  // that must have stored a transaction before COMMIT returns
  std::chrono::milliseconds timeout = std::chrono::seconds(10);
  bool degrade = false;  // after the time-out go on without them; or wait
};
// Of databases that have their own.
struct SyncOverride {
  std::string glob;
  SyncConfig rule{};
  bool own_timeout = false;  // or the default's
  bool own_on_timeout = false;
};

// What who writes on a replica gets.
enum class ReplicaWrites { kForward, kBusy, kReadOnly };

struct Config {
  std::string dir;                             // absolute
  std::vector<std::string> databases = {"*"};  // globs (fnmatch) of file names
  std::string node_id;     // 16 hex digits; empty: made at the first start, and kept
  std::string cluster_id;  // empty: likewise; a replica takes the primary's
  bool primary = true;     // lease.type static: does this node write?
  bool insecure = false;   // may speak to other machines, unauthenticated
  LeaseConfig lease;
  ReplicationConfig replication;
  HttpConfig http;
  ProxyConfig proxy;
  bool position_files = false;
  SecurityConfig security;
  RetentionConfig retention;
  SyncConfig sync;
  std::vector<SyncOverride> sync_databases;  // in the order of the file
  std::chrono::milliseconds write_timeout = std::chrono::seconds(30);
  ReplicaWrites on_replica_write = ReplicaWrites::kBusy;
  // For how long a replica may keep the primary's database without a transaction.
  std::chrono::milliseconds max_hold = std::chrono::seconds(30);
  bool continue_when_away = false;  // or refuse: what a writer does after write_timeout
  LogLevel log_level = LogLevel::kInfo;
  std::vector<archive::ArchiveConfig> archives;

  // The first that matches the database's name, else the default.
  const SyncConfig& SyncOf(const std::string& database) const;
  bool syncs() const;  // whether any database may have to wait
};

// The pull endpoint that belongs to a `listen` or `primary` endpoint: tcp://HOST:PORT+1, or
// ipc://PATH.pull.  REQUIRES: endpoint passed the checks of ParseConfig.
std::string PullEndpoint(const std::string& endpoint);

// Looks a variable up; nullopt if it is not set.
using Environment = std::function<std::optional<std::string>(const std::string& name)>;
std::optional<std::string> ProcessEnvironment(const std::string& name);

struct ConfigSource {
  std::string path;  // --config; empty: not given
  std::string dir;   // --dir; empty: not given, else it wins over the file's `dir`
};

// Reads the first of source.path, $LITEFS_CONFIG, DIR/.litefs/config.yml if it exists (DIR is
// source.dir or "."); with none of them, the defaults.  `dir` is source.dir, else the key `dir`
// (relative to the file that says so), else ".".
absl::StatusOr<Config> LoadConfig(const ConfigSource& source,
                                  const Environment& environment = ProcessEnvironment);

// Parses text; errors call it name.  Config::dir is left as written.
absl::StatusOr<Config> ParseConfig(const std::string& text, const std::string& name,
                                   const Environment& environment);

// "90s", "10m", "24h", "7d", "500ms", "0"; nullopt for anything else, and past 100 years.
std::optional<std::chrono::milliseconds> ParseDuration(std::string_view text);

// "4096B", "64KiB", "256MiB", "10GiB"; nullopt for anything else, and from 2^63 on.
std::optional<uint64_t> ParseSize(std::string_view text);

}  // namespace litefs
