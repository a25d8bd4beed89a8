// The composition root of a running node: what RunDaemon makes and in which order it ends.
//
//   Store ◄── SessionServer (this thread)
//   Store ◄── NodeReplication (threads of its own)

#include "daemon/daemon.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <malloc.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

#include "common/clock.h"
#include "common/hex.h"
#include "common/json_text.h"
#include "common/log.h"
#include "common/posix_io.h"
#include "common/status_macros.h"
#include "daemon/http/http_server.h"
#include "daemon/lease/consul_lease.h"
#include "daemon/lease/etcd_lease.h"
#include "daemon/lease/keeper.h"
#include "daemon/node_replication.h"
#include "daemon/session/session_server.h"
#include "daemon/store/node_directory.h"
#include "daemon/store/store.h"
#include "daemon/version.h"

namespace litefs {
namespace {

using session::SessionServer;

// At the end of a reign, for apps that are in a transaction: they cannot commit any more.
constexpr std::chrono::milliseconds kDrainLimit{1000};

class Daemon {
 public:
  explicit Daemon(const DaemonOptions& options) : options_(options), config_(options.config) {}
  ~Daemon() {
    StopLease();
    StopThreads();
  }

  absl::Status Start();
  bool HasLease() const { return config_.lease.type != LeaseConfig::Type::kStatic; }
  absl::Status Run() {
    const absl::Status status = server_->Run();
    StopLease();
    return status;
  }

 private:
  absl::Status StartHttp();
  void StartLease();
  void StopLease();
  lease::Positions Positions();
  nlohmann::json LeaseStatus();
  void StopThreads();
  void SignalReady();
  void Control(const std::string& text, SessionServer::Respond respond);
  nlohmann::json Status();
  void Position(const std::string& name, const SessionServer::Respond& respond);
  void Export(const std::string& name, SessionServer::Respond respond);

  const DaemonOptions& options_;
  const Config& config_;
  std::unique_ptr<store::NodeDirectory> node_;
  std::unique_ptr<session::StatusFile> status_;
  std::unique_ptr<store::Store> store_;
  http::EventFeed events_;
  std::unique_ptr<SessionServer> server_;
  std::unique_ptr<NodeReplication> replication_;
  std::unique_ptr<http::HttpServer> http_;
  std::unique_ptr<lease::LeaseKeeper> keeper_;
  std::vector<std::thread> exports_;
  const std::chrono::nanoseconds started_ = SystemClock().Boot();
};

// kAlreadyExists from Start means that the directory has a daemon; an endpoint in use does not.
absl::Status EndpointError(const absl::Status& status) {
  return absl::IsAlreadyExists(status) ? absl::UnavailableError(status.message()) : status;
}

absl::Status Daemon::Start() {
  ASSIGN_OR_RETURN(node_, store::NodeDirectory::Open({.database_directory = config_.dir,
                                                      .node_id = config_.node_id,
                                                      .cluster_id = config_.cluster_id,
                                                      .make_cluster_id = config_.primary}));
  ASSIGN_OR_RETURN(status_, session::StatusFile::Open(node_->status_path()));
  ipc::StatusPage& page = status_->status();
  page.role.store(
      static_cast<uint32_t>(config_.primary ? ipc::Role::kPrimary : ipc::Role::kReplica));
  page.write_timeout_ms.store(static_cast<uint32_t>(config_.write_timeout.count()));
  page.when_away.store(static_cast<uint32_t>(config_.continue_when_away ? ipc::WhenAway::kContinue
                                                                        : ipc::WhenAway::kRefuse));
  page.on_replica_write.store(static_cast<uint32_t>(
      config_.read_only_replica ? ipc::OnReplicaWrite::kReadOnly : ipc::OnReplicaWrite::kBusy));
  page.epoch.store(node_->epoch());
  page.lease_deadline_ns.store(HasLease() ? 0 : ipc::kNoDeadline);
  ASSIGN_OR_RETURN(store_,
                   store::Store::Open(
                       {.node = node_.get(),
                        .primary = config_.primary,
                        .globs = config_.databases,
                        .retention_ms = config_.retention.age.count(),
                        .retention_bytes = config_.retention.size_bytes,
                        .clock = &SystemClock(),
                        .on_commit = [this](const std::string& name, ltx::TxId min, ltx::TxId max) {
                          events_.Publish({.database = name, .min_txid = min, .max_txid = max});
                          if (replication_ != nullptr) replication_->Committed(name, min, max);
                        }}));
  ASSIGN_OR_RETURN(
      server_,
      SessionServer::Open({.socket_path = node_->socket_path(),
                           .database_directory = node_->database_directory(),
                           .status = status_.get(),
                           .store = store_.get(),
                           .on_control =
                               [this](const std::string& text, SessionServer::Respond respond) {
                                 Control(text, std::move(respond));
                               },
                           .stop_when_unused = options_.while_used}));
  replication_ = std::make_unique<NodeReplication>(config_, node_.get(), store_.get());
  RETURN_IF_ERROR(EndpointError(replication_->Start()));
  RETURN_IF_ERROR(EndpointError(StartHttp()));
  if (HasLease()) StartLease();
  LogInfo("daemon", fmt::format("ready dir={} node={} cluster={} role={}", config_.dir,
                                Hex16(node_->node_id()), node_->cluster_id(),
                                config_.primary ? "primary" : "replica"));
  SignalReady();
  return absl::OkStatus();
}

absl::Status Daemon::StartHttp() {
  if (config_.http.host.empty()) return absl::OkStatus();
  const auto ask = [this](const nlohmann::json& request,
                          std::function<void(http::HttpServer::Answer)> answer) {
    server_->Post([this, text = JsonText(request), answer = std::move(answer)] {
      Control(text, [answer](const SessionServer::ControlAnswer& said) {
        answer({.error = said.error, .json = nlohmann::json::parse(said.json)});
      });
    });
  };
  ASSIGN_OR_RETURN(
      http_,
      http::HttpServer::Start(
          {.host = config_.http.host, .port = config_.http.port, .ask = ask, .events = &events_}));
  return absl::OkStatus();
}

// ---- The lease
// -----------------------------------------------------------------------------------

std::unique_ptr<lease::Lease> Connect(const LeaseConfig& config) {
  lease::LeaseOptions options{
      .urls = config.urls, .key = config.key, .token = config.token, .ttl = config.ttl};
  if (config.type == LeaseConfig::Type::kConsul) {
    return std::make_unique<lease::ConsulLease>(std::move(options), &SystemClock());
  }
  return std::make_unique<lease::EtcdLease>(std::move(options), &SystemClock());
}

lease::Positions Daemon::Positions() {
  lease::Positions positions;
  for (store::Store::Entry* entry : store_->All()) {
    positions.Add(entry->database->name(), entry->database->log().tip());
  }
  return positions;
}

void Daemon::StartLease() {
  ipc::StatusPage& page = status_->status();
  keeper_ = std::make_unique<lease::LeaseKeeper>(
      lease::LeaseKeeper::Options{
          .self = {.node_id = Hex16(node_->node_id()),
                   .endpoint = config_.replication.listen,
                   .cluster_id = node_->cluster_id()},
          .ttl = config_.lease.ttl,
          .clock = &SystemClock(),
          .known_epoch = node_->epoch(),
          .positions = [this] { return Positions(); },
          .on_epoch = [this, &page](uint64_t epoch) -> absl::Status {
            RETURN_IF_ERROR(node_->NoteEpoch(epoch));
            page.epoch.store(epoch);
            server_->Post([this] {
              if (const absl::Status status = replication_->Publish(); !status.ok()) {
                LogError("daemon", fmt::format("replicas are not served: {}", status.ToString()));
              }
            });
            return absl::OkStatus();
          },
          .on_deadline =
              [&page](lease::BootTime deadline) {
                page.lease_deadline_ns.store(static_cast<uint64_t>(deadline.count()));
              },
          .drain = [this] { server_->Drain(kDrainLimit); }},
      Connect(config_.lease));
  keeper_->Start();
}

void Daemon::StopLease() {
  if (keeper_ != nullptr) keeper_->Stop();
}

nlohmann::json Daemon::LeaseStatus() {
  if (keeper_ == nullptr) return {{"type", "static"}, {"epoch", node_->epoch()}};
  const lease::KeeperStatus status = keeper_->Status();
  return {{"type", config_.lease.type == LeaseConfig::Type::kEtcd ? "etcd" : "consul"},
          {"epoch", node_->epoch()},
          {"holds", status.holds},
          {"owner", status.owner},
          {"problem", status.problem},
          {"times_lost", status.times_lost}};
}

void Daemon::StopThreads() {
  http_.reset();
  for (std::thread& thread : exports_) thread.join();
  exports_.clear();
  if (replication_ != nullptr) replication_->Stop();
}

void Daemon::SignalReady() {
  if (options_.ready_fd < 0) return;
  (void)!::write(options_.ready_fd, "1", 1);
  ::close(options_.ready_fd);
}

void Daemon::Control(const std::string& text, SessionServer::Respond respond) {
  const nlohmann::json request = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  const auto field = [&](const char* key) -> std::string {
    if (!request.is_object() || !request.contains(key) || !request[key].is_string()) return "";
    return request[key];
  };
  const std::string what = field("request");
  if (what == "status") {
    respond({.json = JsonText(Status())});
  } else if (what == "hold") {
    respond({.json = JsonText(nlohmann::json{{"while_used", options_.while_used}})});
  } else if (what == "pos") {
    Position(field("database"), respond);
  } else if (what == "sync") {
    server_->CaptureAll();
    respond({.json = "{}"});
  } else if (what == "export") {
    Export(field("database"), std::move(respond));
  } else {
    respond({.error = EINVAL, .json = JsonText(nlohmann::json{{"error", "unknown request"}})});
  }
}

nlohmann::json UnknownDatabase(store::Store& store, const std::string& name) {
  nlohmann::json known = nlohmann::json::array();
  for (store::Store::Entry* entry : store.All()) known.push_back(entry->database->name());
  return {{"error", fmt::format("no database \"{}\"", name)}, {"databases", known}};
}

nlohmann::json PositionJson(const ltx::Position& position) {
  return {{"txid", Hex16(position.txid)}, {"checksum", Hex16(position.checksum)}};
}

void Daemon::Position(const std::string& name, const SessionServer::Respond& respond) {
  store::Store::Entry* const entry = store_->Find(name);
  if (entry == nullptr) {
    respond({.error = ENOENT, .json = JsonText(UnknownDatabase(*store_, name))});
    return;
  }
  if (entry->primary != nullptr) (void)entry->primary->CaptureWal();
  respond({.json = JsonText(PositionJson(entry->database->position()))});
}

// On a thread of its own: a large database takes a while.
void Daemon::Export(const std::string& name, SessionServer::Respond respond) {
  store::Store::Entry* const entry = store_->Find(name);
  if (entry == nullptr) {
    respond({.error = ENOENT, .json = JsonText(UnknownDatabase(*store_, name))});
    return;
  }
  exports_.emplace_back([entry, respond = std::move(respond)] {
    absl::StatusOr<db::Database::Copy> copy = entry->database->CopyContent();
    if (!copy.ok()) {
      respond({.error = EAGAIN,
               .json = JsonText(nlohmann::json{{"error", std::string(copy.status().message())}})});
      return;
    }
    nlohmann::json json = PositionJson(copy->position);
    if (copy->size_pages == 0) {
      json["error"] = fmt::format("{} was deleted in transaction {}", entry->database->name(),
                                  Hex16(copy->position.txid));
      return respond({.error = EIDRM, .json = JsonText(json)});
    }
    json["size"] = uint64_t{copy->size_pages} * copy->page_bytes;
    respond({.json = JsonText(json), .fd = std::move(copy->fd)});
  });
}

nlohmann::json CountersJson(const db::Counters& counters, const SessionServer& sessions) {
  return {{"transactions", counters.transactions},
          {"ltx_files", counters.files},
          {"pages", counters.pages},
          {"ltx_bytes", counters.bytes},
          {"reconciled", counters.reconciled},
          {"deletions", counters.deletions},
          {"drains", counters.drains},
          {"refused_commits", counters.refused},
          {"sessions", sessions.sessions_begun()},
          {"refused_sessions", sessions.sessions_refused()}};
}

nlohmann::json Daemon::Status() {
  nlohmann::json databases = nlohmann::json::array();
  db::Counters counters;
  for (store::Store::Entry* entry : store_->All()) {
    const db::DatabaseInfo info = entry->database->Info();
    counters.Add(info.counters);
    nlohmann::json json = PositionJson(info.position);
    json.update({{"name", entry->database->name()},
                 {"pages", info.size_pages},
                 {"page_size", info.page_bytes},
                 {"journal", info.wal ? "wal" : "rollback"},
                 {"deleted", info.deleted},
                 {"ltx_files", info.ltx_files},
                 {"ltx_bytes", info.ltx_bytes},
                 {"reconciled", info.counters.reconciled},
                 {"sessions", server_->SessionCount(entry->database->name())},
                 {"error", info.error}});
    nlohmann::json lag = replication_->LagJson(entry->database->name(), info.position);
    if (!lag.is_null()) json["lag"] = std::move(lag);
    databases.push_back(std::move(json));
  }
  nlohmann::json counters_json = CountersJson(counters, *server_);
  replication_->AddCountersTo(&counters_json);
  const auto uptime =
      std::chrono::duration_cast<std::chrono::milliseconds>(SystemClock().Boot() - started_);
  return {{"version", kVersion},
          {"pid", ::getpid()},
          {"node_id", Hex16(node_->node_id())},
          {"cluster_id", node_->cluster_id()},
          {"role", config_.primary ? "primary" : "replica"},
          {"dir", config_.dir},
          {"uptime_ms", uptime.count()},
          {"databases", databases},
          {"lease", LeaseStatus()},
          {"replication", replication_->StatusJson()},
          {"counters", std::move(counters_json)}};
}

// Signals go to the main loop's descriptor; every thread inherits the mask.
void BlockSignals() {
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGTERM);
  sigaddset(&mask, SIGINT);
  pthread_sigmask(SIG_BLOCK, &mask, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
}

// A database costs some descriptors and a session one; shells give out 1024.
void RaiseDescriptorLimit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

// glibc gives every thread a heap of its own and keeps ever larger blocks in them; a replica under
// full load then grows for as long as it runs (36 MiB after a million transactions, with 2 in use).
void KeepMemoryFlat() {
  constexpr int kHeaps = 2;
  constexpr int kOwnMappingBytes = 1 << 20;  // setting it also keeps it from growing
  ::mallopt(M_ARENA_MAX, kHeaps);
  ::mallopt(M_MMAP_THRESHOLD, kOwnMappingBytes);
}

}  // namespace

int RunDaemon(const DaemonOptions& options) {
  KeepMemoryFlat();
  SetLogLevel(options.config.log_level);
  RaiseDescriptorLimit();
  BlockSignals();
  Daemon daemon(options);
  absl::Status status = daemon.Start();
  if (absl::IsAlreadyExists(status)) {
    std::fprintf(stderr, "litefs: %s\n", std::string(status.message()).c_str());
    return kExitAnotherDaemon;
  }
  if (status.ok()) status = daemon.Run();
  if (status.ok()) return 0;
  std::fprintf(stderr, "litefs: %s\n", std::string(status.message()).c_str());
  return 1;
}

}  // namespace litefs
