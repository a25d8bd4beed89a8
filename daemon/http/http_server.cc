#include "daemon/http/http_server.h"

#include <fmt/format.h>
#include <httplib.h>

#include <charconv>
#include <thread>

#include "common/hex.h"
#include "common/json_text.h"
#include "daemon/http/metrics_text.h"

namespace litefs::http {
namespace {

using Json = nlohmann::json;

constexpr size_t kThreads = EventFeed::kMaxListeners + 8;
constexpr size_t kMaxRequestBytes = 64 << 10;
constexpr std::chrono::milliseconds kAnswerTimeout{30'000};
constexpr std::chrono::milliseconds kRoleTimeout{120'000};
// A listener that has gone is noticed when something is sent to it.
constexpr std::chrono::seconds kHeartbeat{15};
constexpr char kJsonType[] = "application/json";
constexpr char kMetricsType[] = "text/plain; version=0.0.4; charset=utf-8";

int HttpStatus(int error) {
  switch (error) {
    case 0:
      return 200;
    case EINVAL:
      return 400;
    case ENOENT:
      return 404;
    case EBUSY:
    case EPERM:
    case EEXIST:
      return 409;
    default:
      return 503;
  }
}

void Say(httplib::Response& response, int status, const Json& json) {
  response.status = status;
  response.set_content(JsonText(json) + "\n", kJsonType);
}

Json Problem(const std::string& text) { return {{"error", text}}; }

// HOST of "HOST:PORT".
std::string HostOf(const std::string& header) {
  const size_t colon = header.rfind(':');
  return header.find(']', colon == std::string::npos ? 0 : colon) == std::string::npos
             ? header.substr(0, colon)
             : header;
}

bool IsLoopback(const std::string& host) {
  return host == "localhost" || host == "[::1]" || host == "::1" || host.starts_with("127.");
}

// A page of another site must not read or command the node through a browser on this machine: its
// requests carry an Origin, or a Host whose name somebody has pointed at us.
bool IsFromPageElsewhere(const httplib::Request& request, bool loopback) {
  const std::string host = request.get_header_value("Host");
  if (loopback && !host.empty() && !IsLoopback(HostOf(host))) return true;
  const std::string origin = request.get_header_value("Origin");
  return !origin.empty() && origin != "http://" + host;
}

uint64_t NumberParameter(const httplib::Request& request, const char* name, uint64_t otherwise) {
  if (!request.has_param(name)) return otherwise;
  const std::string text = request.get_param_value(name);
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? value : otherwise;
}

}  // namespace

struct HttpServer::Implementation {
  explicit Implementation(Options given) : options(std::move(given)) {}

  void Route();
  // Asks the node and waits.
  Answer Ask(const Json& request, std::chrono::milliseconds timeout = kAnswerTimeout) EXCLUDES(mu);
  void Health(const httplib::Request& request, httplib::Response& response);
  void Events(httplib::Response& response);
  bool SendEvent(EventFeed::Listener& listener, httplib::DataSink& sink);
  Json Describe(const Event& event);
  Json NodeEvent(const char* type);

  const Options options;
  httplib::Server server;
  int port = 0;
  std::thread thread;
  Mutex mu;
  CondVar changed;
  bool stopping GUARDED_BY(mu) = false;
};

HttpServer::Answer HttpServer::Implementation::Ask(const Json& request,
                                                   std::chrono::milliseconds timeout) {
  struct Slot {
    bool answered = false;
    Answer answer;
  };
  const auto slot = std::make_shared<Slot>();
  options.ask(request, [this, slot](Answer answer) {
    MutexLock lock(mu);
    slot->answer = std::move(answer);
    slot->answered = true;
    changed.NotifyAll();
  });
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  MutexLock lock(mu);
  while (!slot->answered && !stopping) {
    if (!changed.WaitUntil(mu, deadline)) break;
  }
  if (slot->answered) return std::move(slot->answer);
  return {.error = EAGAIN,
          .json = Problem(stopping ? "the daemon is ending" : "the daemon does not answer")};
}

Json HttpServer::Implementation::NodeEvent(const char* type) {
  const Json status = Ask({{"request", "status"}}).json;
  return {{"type", type},
          {"data",
           {{"isPrimary", status.value("role", "") == "primary"},
            {"nodeID", status.value("node_id", "")}}}};
}

Json HttpServer::Implementation::Describe(const Event& event) {
  if (event.kind == Event::Kind::kRole) return NodeEvent("primaryChange");
  if (event.kind == Event::Kind::kLost) {
    return {{"type", "lost"}, {"data", {{"events", event.lost}}}};
  }
  return {{"type", "tx"},
          {"db", event.database},
          {"data", {{"txID", Hex16(event.max_txid)}, {"minTxID", Hex16(event.min_txid)}}}};
}

bool HttpServer::Implementation::SendEvent(EventFeed::Listener& listener, httplib::DataSink& sink) {
  const std::optional<Event> event = listener.Next(kHeartbeat);
  if (!event && options.events->closed()) {
    sink.done();
    return true;
  }
  const std::string line = JsonText(event ? Describe(*event) : Json{{"type", "heartbeat"}}) + "\n";
  return sink.is_writable() && sink.write(line.data(), line.size());
}

void HttpServer::Implementation::Events(httplib::Response& response) {
  const std::shared_ptr<EventFeed::Listener> listener = options.events->Listen();
  if (listener == nullptr) {
    Say(response, 503, Problem(fmt::format("more than {} listen", EventFeed::kMaxListeners)));
    return;
  }
  response.set_chunked_content_provider(
      "application/x-ndjson",
      [this, listener, greeted = false](size_t, httplib::DataSink& sink) mutable {
        if (greeted) return SendEvent(*listener, sink);
        greeted = true;
        const std::string line = JsonText(NodeEvent("init")) + "\n";
        return sink.write(line.data(), line.size());
      });
}

// For load balancers: 200 or 503.  role=primary|replica asks for one; lag_ms and lag_transactions
// are what a replica may be behind.
void HttpServer::Implementation::Health(const httplib::Request& request,
                                        httplib::Response& response) {
  const Json status = Ask({{"request", "status"}}).json;
  const std::string role = status.value("role", "");
  const std::string wanted = request.get_param_value("role");
  Json said = {{"role", role}};
  std::string problem;
  if (role.empty()) {
    problem = status.value("error", "no answer");
  } else if (!wanted.empty() && wanted != role) {
    problem = fmt::format("this node is a {}", role);
  } else if (role == "primary" && !status.value("lease", Json::object()).value("holds", true)) {
    problem = "this node does not hold the lease: apps cannot write";
  } else if (role == "replica") {
    const Json replication = status.value("replication", Json::object());
    for (const char* key : {"lag_ms", "lag_transactions"}) {
      const Json value = replication.value(key, Json());
      if (value.is_number()) said[key] = value;
      const uint64_t allowed = NumberParameter(request, key, UINT64_MAX);
      const double lag = value.is_number() ? value.get<double>() : -1;
      if (allowed != UINT64_MAX && (lag < 0 || lag > static_cast<double>(allowed))) {
        problem = fmt::format("{} is {}", key, lag < 0 ? "unknown" : fmt::format("{}", lag));
      }
    }
    if (problem.empty() && !replication.value("connected", false)) {
      problem = "not connected to the primary";
    }
  }
  for (const Json& database : status.value("databases", Json::array())) {
    if (const std::string error = database.value("error", ""); !error.empty()) {
      said["errors"].push_back(database.value("name", "") + ": " + error);
    }
  }
  if (!problem.empty()) said["error"] = problem;
  Say(response, problem.empty() ? 200 : 503, said);
}

void HttpServer::Implementation::Route() {
  using Request = httplib::Request;
  using Response = httplib::Response;
  const auto relay = [this](Json request, Response& response) {
    const Answer answer = Ask(request);
    Say(response, HttpStatus(answer.error), answer.json);
  };
  server.Get("/status", [relay](const Request&, Response& response) {
    relay({{"request", "status"}}, response);
  });
  server.Get("/metrics", [this](const Request&, Response& response) {
    const Answer answer = Ask({{"request", "status"}});
    if (answer.error != 0) return Say(response, HttpStatus(answer.error), answer.json);
    response.set_content(MetricsText(answer.json), kMetricsType);
  });
  for (const char* const what : {"promote", "demote", "handoff"}) {
    server.Post(std::string("/") + what, [this, what](const Request& request, Response& response) {
      const Answer answer = Ask({{"request", what},
                                 {"force", request.get_param_value("force") == "true"},
                                 {"node", request.get_param_value("node")}},
                                kRoleTimeout);
      Say(response, HttpStatus(answer.error), answer.json);
    });
  }
  server.Get("/health",
             [this](const Request& request, Response& response) { Health(request, response); });
  server.Get("/events", [this](const Request&, Response& response) { Events(response); });
  server.Get("/positions", [this](const Request&, Response& response) {
    const Answer answer = Ask({{"request", "status"}});
    if (answer.error != 0) return Say(response, HttpStatus(answer.error), answer.json);
    Json positions = Json::object();
    for (const Json& database : answer.json.value("databases", Json::array())) {
      positions[database.value("name", "")] = {{"txid", database.value("txid", "")},
                                               {"checksum", database.value("checksum", "")}};
    }
    Say(response, 200, positions);
  });
  const bool loopback = IsLoopback(options.host);
  server.set_pre_routing_handler([loopback](const Request& request, Response& response) {
    if (!IsFromPageElsewhere(request, loopback)) {
      return httplib::Server::HandlerResponse::Unhandled;
    }
    Say(response, 403, Problem("requests from other sites' pages are refused"));
    return httplib::Server::HandlerResponse::Handled;
  });
  server.set_error_handler([](const Request& request, Response& response) {
    if (!response.body.empty()) return;
    Say(response, response.status,
        Problem(
            fmt::format("{} {}: see docs/HTTP.md", request.method, request.path.substr(0, 200))));
  });
}

HttpServer::HttpServer(Options options)
    : implementation_(std::make_unique<Implementation>(std::move(options))) {}

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(Options options) {
  std::unique_ptr<HttpServer> made(new HttpServer(std::move(options)));
  Implementation& it = *made->implementation_;
  it.server.new_task_queue = [] { return new httplib::ThreadPool(kThreads); };
  it.server.set_payload_max_length(kMaxRequestBytes);
  it.server.set_keep_alive_max_count(1);  // an idle connection would be polled
  it.server.set_read_timeout(5);
  it.server.set_write_timeout(5);
  // No SO_REUSEPORT, which httplib sets: a second daemon must be told that the port is taken.
  it.server.set_socket_options([](socket_t socket) {
    const int on = 1;
    ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  });
  it.Route();
  const Options& given = it.options;
  const bool bound = given.port != 0 ? it.server.bind_to_port(given.host, given.port)
                                     : (it.port = it.server.bind_to_any_port(given.host)) > 0;
  if (!bound) {
    return absl::AlreadyExistsError(
        fmt::format("http.listen: cannot listen on {}:{} (in use, or no address of this machine)",
                    given.host, given.port));
  }
  if (given.port != 0) it.port = given.port;
  it.thread = std::thread([&it] { it.server.listen_after_bind(); });
  while (!it.server.is_running()) std::this_thread::yield();  // else stop() could come too early
  return made;
}

HttpServer::~HttpServer() {
  Implementation& it = *implementation_;
  {
    MutexLock lock(it.mu);
    it.stopping = true;
    it.changed.NotifyAll();
  }
  it.options.events->Close();
  it.server.stop();
  if (it.thread.joinable()) it.thread.join();
}

int HttpServer::port() const { return implementation_->port; }

}  // namespace litefs::http
