// The composition root of a running node: what RunDaemon makes and in which order it ends.
//
//   Node: Store ◄── SessionServer (this thread)
//         Store ◄── NodeReplication (threads of its own)
//   NodeLease ──► Node: the role, where a lease decides it

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
#include "daemon/node.h"
#include "daemon/node_lease.h"
#include "daemon/node_proxy.h"
#include "daemon/node_sync.h"
#include "daemon/position_files.h"
#include "daemon/position_waits.h"
#include "daemon/session/session_server.h"
#include "daemon/static_role.h"
#include "daemon/store/node_directory.h"
#include "daemon/store/store.h"
#include "daemon/version.h"
#include "daemon/wait_requests.h"

namespace litefs {
namespace {

using session::SessionServer;

class Daemon {
 public:
  explicit Daemon(const DaemonOptions& options) : options_(options), config_(options.config) {}
  ~Daemon() {
    if (lease_ != nullptr) lease_->Stop();
    StopThreads();
  }

  absl::Status Start();
  absl::Status Run();

 private:
  bool HasLease() const { return config_.lease.type != LeaseConfig::Type::kStatic; }
  void SetPage();
  absl::Status StartHttp();
  absl::Status StartLease();
  absl::StatusOr<nlohmann::json> Reload();
  void StartPositionFiles();
  void Moved(const std::string& database, ltx::TxId txid);
  void JoinExports();
  void StopThreads();
  void SignalReady();
  void Control(const std::string& text, session::ControlRespond respond);
  nlohmann::json Status();
  bool ChangeRole(const std::string& what, const nlohmann::json& request,
                  const session::ControlRespond& respond);
  void Position(const std::string& name, const session::ControlRespond& respond);
  void Export(const std::string& name, session::ControlRespond respond);

  const DaemonOptions& options_;
  Config config_;  // StaticRole changes it
  std::unique_ptr<store::NodeDirectory> directory_;
  std::unique_ptr<session::StatusFile> status_;
  http::EventFeed events_;
  NodeSync sync_{&config_, [this](const std::string& database, const std::string& but_for) {
                   return node_->replication().Stored(database, but_for);
                 }};
  std::unique_ptr<Node> node_;
  PositionWaits waits_;
  std::unique_ptr<SessionServer> server_;
  std::unique_ptr<WaitRequests> wait_requests_;
  std::unique_ptr<PositionFiles> position_files_;  // null: not wanted; made before any thread
  std::unique_ptr<NodeLease> lease_;
  std::unique_ptr<StaticRole> static_role_;
  std::unique_ptr<http::HttpServer> http_;
  std::unique_ptr<NodeProxy> proxy_;
  std::vector<std::thread> exports_;
  absl::Status fatal_;
  const std::chrono::nanoseconds started_ = SystemClock().Boot();
};

// kAlreadyExists from Start means that the directory has a daemon; an endpoint in use does not.
absl::Status EndpointError(const absl::Status& status) {
  return absl::IsAlreadyExists(status) ? absl::UnavailableError(status.message()) : status;
}

ipc::OnReplicaWrite OnReplicaWriteOf(ReplicaWrites writes) {
  switch (writes) {
    case ReplicaWrites::kForward:
      return ipc::OnReplicaWrite::kForward;
    case ReplicaWrites::kReadOnly:
      return ipc::OnReplicaWrite::kReadOnly;
    case ReplicaWrites::kBusy:
      break;
  }
  return ipc::OnReplicaWrite::kBusy;
}

void Daemon::SetPage() {
  ipc::StatusPage& page = status_->status();
  page.write_timeout_ms.store(static_cast<uint32_t>(config_.write_timeout.count()));
  page.when_away.store(static_cast<uint32_t>(config_.continue_when_away ? ipc::WhenAway::kContinue
                                                                        : ipc::WhenAway::kRefuse));
  page.on_replica_write.store(static_cast<uint32_t>(OnReplicaWriteOf(config_.on_replica_write)));
  page.epoch.store(directory_->epoch());
  page.lease_deadline_ns.store(HasLease() ? 0 : ipc::kNoDeadline);
}

absl::Status Daemon::Start() {
  const bool founds = config_.primary && !HasLease();
  ASSIGN_OR_RETURN(directory_, store::NodeDirectory::Open({.database_directory = config_.dir,
                                                           .node_id = config_.node_id,
                                                           .cluster_id = config_.cluster_id,
                                                           .make_cluster_id = founds}));
  ASSIGN_OR_RETURN(status_, session::StatusFile::Open(directory_->status_path()));
  SetPage();
  node_ = std::make_unique<Node>(Node::Parts{
      .config = &config_,
      .directory = directory_.get(),
      .status = status_.get(),
      .events = &events_,
      .before_close =
          [this] {
            JoinExports();
            sync_.Forget();
          },
      .sync = &sync_,
      .on_moved = [this](const std::string& database, ltx::TxId txid) { Moved(database, txid); }});
  RETURN_IF_ERROR(node_->Open());
  ASSIGN_OR_RETURN(
      server_,
      SessionServer::Open(
          {.socket_path = directory_->socket_path(),
           .database_directory = directory_->database_directory(),
           .status = status_.get(),
           .store = &node_->store(),
           .on_control =
               [this](const std::string& text, session::ControlRespond respond) {
                 Control(text, std::move(respond));
               },
           .gate =
               [this](store::Store::Entry& entry, const session::GateRequest& request,
                      const session::Defer& defer) {
                 const bool sync = request.type == ipc::MessageType::kSync;
                 return sync ? sync_.AtSync(entry, request, defer) : 0;
               },
           .welcome_flags =
               [this](const std::string& database) { return sync_.WelcomeFlags(database); },
           .on_hangup =
               [this] {
                 const absl::Status status = Reload().status();
                 if (!status.ok()) LogError("daemon", status.ToString());
               },
           .stop_when_unused = options_.while_used}));
  wait_requests_ = std::make_unique<WaitRequests>(
      server_.get(), &waits_, [this]() -> store::Store& { return node_->store(); });
  proxy_ = std::make_unique<NodeProxy>(NodeProxy::Parts{.config = &config_,
                                                        .server = server_.get(),
                                                        .status = status_.get(),
                                                        .node = node_.get(),
                                                        .waits = wait_requests_.get()});
  StartPositionFiles();
  RETURN_IF_ERROR(EndpointError(node_->Start(server_.get())));
  RETURN_IF_ERROR(EndpointError(StartHttp()));
  RETURN_IF_ERROR(EndpointError(proxy_->Start()));
  RETURN_IF_ERROR(StartLease());
  LogInfo("daemon", fmt::format("ready dir={} node={} cluster={} role={}", config_.dir,
                                Hex16(directory_->node_id()), directory_->cluster_id(),
                                node_->primary() ? "primary" : "replica"));
  SignalReady();
  return absl::OkStatus();
}

absl::Status Daemon::Run() {
  const absl::Status status = server_->Run();
  lease_->Stop();
  return fatal_.ok() ? status : fatal_;
}

absl::Status Daemon::StartHttp() {
  if (config_.http.host.empty()) return absl::OkStatus();
  const auto ask = [this](const nlohmann::json& request,
                          std::function<void(http::HttpServer::Answer)> answer) {
    server_->Post([this, text = JsonText(request), answer = std::move(answer)] {
      Control(text, [answer](const session::ControlAnswer& said) {
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

absl::StatusOr<nlohmann::json> Daemon::Reload() {
  if (HasLease() || !options_.reload) {
    return absl::FailedPreconditionError(
        "only a static role is changed by a reload; anything else takes a restart");
  }
  ASSIGN_OR_RETURN(const Config next, options_.reload());
  ASSIGN_OR_RETURN(nlohmann::json answer, static_role_->Reload(next));
  LogInfo("daemon", fmt::format("configuration read again: {}", answer.dump()));
  return answer;
}

absl::Status Daemon::StartLease() {
  const auto on_fatal = [this](const absl::Status& status) {
    LogError("daemon", fmt::format("ends: {}", status.ToString()));
    fatal_ = status;
    server_->Stop();
  };
  lease_ = std::make_unique<NodeLease>(NodeLease::Parts{.config = &config_,
                                                        .directory = directory_.get(),
                                                        .status = status_.get(),
                                                        .node = node_.get(),
                                                        .server = server_.get(),
                                                        .sync = &sync_,
                                                        .on_fatal = on_fatal});
  static_role_ = std::make_unique<StaticRole>(StaticRole::Parts{.config = &config_,
                                                                .directory = directory_.get(),
                                                                .status = status_.get(),
                                                                .node = node_.get(),
                                                                .server = server_.get(),
                                                                .on_fatal = on_fatal});
  return HasLease() ? lease_->Start() : absl::OkStatus();
}

void Daemon::StartPositionFiles() {
  if (!config_.position_files) return;
  position_files_ = std::make_unique<PositionFiles>(PositionFiles::Parts{
      .server = server_.get(),
      .directory = directory_->database_directory(),
      .temporary_directory = directory_->temporary_path(),
      .store = [this]() -> store::Store& { return node_->store(); },
      .following =
          [this] {
            const NodeReplication::Following following = node_->replication().FollowingNow();
            return PositionFiles::Following{.primary_host = following.primary_host,
                                            .lag_ms = following.lag_ms};
          }});
  position_files_->Start();
}

void Daemon::Moved(const std::string& database, ltx::TxId txid) {
  if (database.empty()) {
    waits_.WakeAll();
  } else {
    waits_.Moved(database, txid);
  }
  if (position_files_ != nullptr) position_files_->Moved(database);
}

void Daemon::StopThreads() {
  http_.reset();
  if (proxy_ != nullptr) proxy_->Stop();
  JoinExports();
  if (node_ != nullptr) node_->Stop();
}

void Daemon::JoinExports() {
  for (std::thread& thread : exports_) thread.join();
  exports_.clear();
}

void Daemon::SignalReady() {
  if (options_.ready_fd < 0) return;
  (void)!::write(options_.ready_fd, "1", 1);
  ::close(options_.ready_fd);
}

void Daemon::Control(const std::string& text, session::ControlRespond respond) {
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
  } else if (what == "wait") {
    wait_requests_->Handle(request, std::move(respond));
  } else if (what == "sync") {
    server_->CaptureAll();
    respond({.json = "{}"});
  } else if (what == "export") {
    Export(field("database"), std::move(respond));
  } else if (!ChangeRole(what, request, respond)) {
    respond({.error = EINVAL, .json = JsonText(nlohmann::json{{"error", "unknown request"}})});
  }
}

// False: it asks for something else.
bool Daemon::ChangeRole(const std::string& what, const nlohmann::json& request,
                        const session::ControlRespond& respond) {
  if (what != "promote" && what != "demote" && what != "handoff" && what != "reload") return false;
  const NodeLease::Done done = [respond](const absl::Status& status, nlohmann::json json) {
    if (status.ok()) return respond({.json = JsonText(json)});
    respond({.error = absl::IsUnavailable(status) ? EAGAIN : EPERM,
             .json = JsonText(nlohmann::json{{"error", std::string(status.message())}})});
  };
  const auto text = [&](const char* key) {
    return request.contains(key) && request[key].is_string() ? request[key].get<std::string>() : "";
  };
  const auto forced = request.find("force");
  const bool force = forced != request.end() && forced->is_boolean() && forced->get<bool>();
  if (what == "reload") {
    absl::StatusOr<nlohmann::json> answer = Reload();
    done(answer.status(), answer.ok() ? *std::move(answer) : nlohmann::json());
  } else if (!HasLease() && what == "promote" && force) {
    done(static_role_->Force(), {{"role", "primary"}});
  } else if (!HasLease()) {
    done(absl::FailedPreconditionError("the role of this node is configured (lease.type: static): "
                                       "change lease.primary, and litefs reload"),
         {});
  } else if (what == "promote") {
    lease_->Promote(force, done);
  } else if (what == "handoff" && text("node").empty()) {
    done(absl::InvalidArgumentError("which node? Its id is in litefs status"), {});
  } else {
    lease_->HandOff(text("node"), done);
  }
  return true;
}

nlohmann::json UnknownDatabase(store::Store& store, const std::string& name) {
  nlohmann::json known = nlohmann::json::array();
  for (store::Store::Entry* entry : store.All()) known.push_back(entry->database->name());
  return {{"error", fmt::format("no database \"{}\"", name)}, {"databases", known}};
}

nlohmann::json PositionJson(const ltx::Position& position) {
  return {{"txid", Hex16(position.txid)}, {"checksum", Hex16(position.checksum)}};
}

void Daemon::Position(const std::string& name, const session::ControlRespond& respond) {
  store::Store::Entry* const entry = node_->store().Find(name);
  if (entry == nullptr) {
    respond({.error = ENOENT, .json = JsonText(UnknownDatabase(node_->store(), name))});
    return;
  }
  if (entry->primary != nullptr) (void)entry->primary->CaptureWal();
  respond({.json = JsonText(PositionJson(entry->database->position()))});
}

// On a thread of its own: a large database takes a while.
void Daemon::Export(const std::string& name, session::ControlRespond respond) {
  store::Store::Entry* const entry = node_->store().Find(name);
  if (entry == nullptr) {
    respond({.error = ENOENT, .json = JsonText(UnknownDatabase(node_->store(), name))});
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
          {"handed_over", counters.handed_over},
          {"refused_commits", counters.refused},
          {"sessions", sessions.sessions_begun()},
          {"refused_sessions", sessions.sessions_refused()}};
}

nlohmann::json Daemon::Status() {
  nlohmann::json databases = nlohmann::json::array();
  db::Counters counters;
  for (store::Store::Entry* entry : node_->store().All()) {
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
    nlohmann::json lag = node_->replication().LagJson(entry->database->name(), info.position);
    if (!lag.is_null()) json["lag"] = std::move(lag);
    nlohmann::json sync = sync_.StatusJson(*entry);
    if (!sync.is_null()) json["sync"] = std::move(sync);
    databases.push_back(std::move(json));
  }
  nlohmann::json counters_json = CountersJson(counters, *server_);
  node_->replication().AddCountersTo(&counters_json);
  sync_.AddCountersTo(&counters_json);
  if (const NodeForward* forward = node_->forward(); forward != nullptr) {
    counters_json.update({{"forward_locks", forward->counters().locks},
                          {"forwarded_transactions", forward->counters().accepted},
                          {"forward_refusals", forward->counters().refused},
                          {"forward_unknown", forward->counters().unknown}});
  }
  proxy_->AddCountersTo(&counters_json);
  const auto uptime =
      std::chrono::duration_cast<std::chrono::milliseconds>(SystemClock().Boot() - started_);
  nlohmann::json lease = lease_->StatusJson();
  if (!HasLease()) lease["problem"] = static_role_->problem();
  return {{"version", kVersion},
          {"pid", ::getpid()},
          {"node_id", Hex16(directory_->node_id())},
          {"cluster_id", directory_->cluster_id()},
          {"role", node_->primary() ? "primary" : "replica"},
          {"dir", config_.dir},
          {"uptime_ms", uptime.count()},
          {"databases", databases},
          {"waits", waits_.size()},
          {"lease", std::move(lease)},
          {"replication", node_->replication().StatusJson()},
          {"forwarding",
           node_->forward() == nullptr ? nlohmann::json() : node_->forward()->StatusJson()},
          {"archive", node_->archive().StatusJson()},
          {"proxy", proxy_->StatusJson()},
          {"counters", std::move(counters_json)}};
}

// Signals go to the main loop's descriptor; every thread inherits the mask.
void BlockSignals() {
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGTERM);
  sigaddset(&mask, SIGINT);
  sigaddset(&mask, SIGHUP);
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
  // Setting it also keeps it from growing.  What a burst of transactions is read into is below it:
  // to map it anew for each one, and to clear its pages, costs as much as to compress them.
  constexpr int kOwnMappingBytes = 4 << 20;
  constexpr int kUnusedBytes = 8 << 20;  // beyond these the system gets memory back
  ::mallopt(M_ARENA_MAX, kHeaps);
  ::mallopt(M_MMAP_THRESHOLD, kOwnMappingBytes);
  ::mallopt(M_TRIM_THRESHOLD, kUnusedBytes);
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
