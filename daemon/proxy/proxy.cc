#include "daemon/proxy/proxy.h"

#include <fmt/format.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <set>
#include <string>
#include <thread>
#include <utility>

#include "common/log.h"
#include "daemon/proxy/connection.h"

namespace litefs::proxy {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;

constexpr size_t kMaxConnections = 1024;
constexpr std::chrono::milliseconds kAcceptPause{100};  // when there are no descriptors

}  // namespace

struct Proxy::Implementation {
  explicit Implementation(ProxyOptions given)
      : options(std::move(given)), acceptor(io), pause(io) {}

  absl::Status Bind();
  void Accept();
  void Begin(Socket socket);

  const ProxyOptions options;
  ProxyCounters counters;
  asio::io_context io{1};
  asio::basic_socket_acceptor<tcp, Executor> acceptor;
  asio::steady_timer pause;
  std::set<std::shared_ptr<Connection>> connections;
  std::thread thread;
};

absl::Status Proxy::Implementation::Bind() {
  ErrorCode error;
  tcp::resolver resolver(io);
  const auto found =
      resolver.resolve(options.host, std::to_string(options.port), tcp::resolver::passive, error);
  if (!error && found.empty()) error = asio::error::host_not_found;
  if (!error) {
    const tcp::endpoint endpoint = found.begin()->endpoint();
    acceptor.open(endpoint.protocol(), error);
    if (!error) acceptor.set_option(asio::socket_base::reuse_address(true), error);
    if (!error) acceptor.bind(endpoint, error);
  }
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (!error) return absl::OkStatus();
  return absl::AlreadyExistsError(
      fmt::format("proxy.addr {}:{}: {}", options.host, options.port, error.message()));
}

void Proxy::Implementation::Accept() {
  acceptor.async_accept([this](ErrorCode error, Socket socket) {
    if (error == asio::error::operation_aborted) return;
    if (!error) {
      Begin(std::move(socket));
      return Accept();
    }
    pause.expires_after(kAcceptPause);
    pause.async_wait([this](ErrorCode) { Accept(); });
  });
}

void Proxy::Implementation::Begin(Socket socket) {
  if (connections.size() >= kMaxConnections) {
    ++counters.refused_connections;
    return;  // closed at once
  }
  const auto closed = [this](const std::shared_ptr<Connection>& connection) {
    connections.erase(connection);
    counters.connections = connections.size();
  };
  const auto connection =
      std::make_shared<Connection>(&options, &counters, std::move(socket), closed);
  connections.insert(connection);
  counters.connections = connections.size();
  connection->Start();
}

Proxy::Proxy(ProxyOptions options)
    : implementation_(std::make_unique<Implementation>(std::move(options))) {}

absl::StatusOr<std::unique_ptr<Proxy>> Proxy::Start(ProxyOptions options) {
  std::unique_ptr<Proxy> proxy(new Proxy(std::move(options)));
  Implementation& implementation = *proxy->implementation_;
  if (const absl::Status status = implementation.Bind(); !status.ok()) return status;
  implementation.Accept();
  implementation.thread = std::thread([&implementation] { implementation.io.run(); });
  LogInfo("proxy",
          fmt::format("listening on {}:{} for {}:{}", implementation.options.host, proxy->port(),
                      implementation.options.target_host, implementation.options.target_port));
  return proxy;
}

Proxy::~Proxy() {
  implementation_->io.stop();
  if (implementation_->thread.joinable()) implementation_->thread.join();
}

int Proxy::port() const {
  ErrorCode error;
  return implementation_->acceptor.local_endpoint(error).port();
}

const ProxyCounters& Proxy::counters() const { return implementation_->counters; }

}  // namespace litefs::proxy
