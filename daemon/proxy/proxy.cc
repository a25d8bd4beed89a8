#include "daemon/proxy/proxy.h"

#include <fmt/format.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <exception>
#include <string>
#include <thread>
#include <utility>

#include "common/log.h"
#include "daemon/proxy/connection.h"

namespace litefs::proxy {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

constexpr size_t kMaxConnections = 1024;
constexpr std::chrono::milliseconds kAcceptPause{100};  // when there are no descriptors

}  // namespace

struct Proxy::Implementation {
  explicit Implementation(ProxyOptions given) : options(std::move(given)), acceptor(io) {}

  absl::Status Bind();
  asio::awaitable<void> Accept();
  asio::awaitable<void> Serve(tcp::socket socket);

  const ProxyOptions options;
  asio::io_context io{1};
  tcp::acceptor acceptor;
  size_t connections = 0;
  std::thread thread;
};

absl::Status Proxy::Implementation::Bind() {
  error_code error;
  tcp::resolver resolver(io);
  const auto found =
      resolver.resolve(options.host, std::to_string(options.port), tcp::resolver::passive, error);
  if (!error && found.empty()) error = asio::error::host_not_found;
  if (!error) {
    const tcp::endpoint endpoint = found.begin()->endpoint();
    acceptor.open(endpoint.protocol(), error);
    if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor.bind(endpoint, error);
  }
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (!error) return absl::OkStatus();
  return absl::AlreadyExistsError(
      fmt::format("proxy.listen {}:{}: {}", options.host, options.port, error.message()));
}

asio::awaitable<void> Proxy::Implementation::Accept() {
  asio::steady_timer pause(io);
  while (true) {
    error_code error;
    tcp::socket socket =
        co_await acceptor.async_accept(asio::redirect_error(asio::use_awaitable, error));
    if (error == asio::error::operation_aborted) co_return;
    if (error) {
      pause.expires_after(kAcceptPause);
      co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, error));
      continue;
    }
    if (connections >= kMaxConnections) continue;  // closed at once
    asio::co_spawn(io, Serve(std::move(socket)), [](const std::exception_ptr& failed) {
      if (failed == nullptr) return;
      try {
        std::rethrow_exception(failed);
      } catch (const std::exception& exception) {  // the libraries'; ours has none
        LogError("proxy", exception.what());
      }
    });
  }
}

asio::awaitable<void> Proxy::Implementation::Serve(tcp::socket socket) {
  ++connections;
  Connection connection(&options, std::move(socket));
  co_await connection.Serve();
  --connections;
}

Proxy::Proxy(ProxyOptions options)
    : implementation_(std::make_unique<Implementation>(std::move(options))) {}

absl::StatusOr<std::unique_ptr<Proxy>> Proxy::Start(ProxyOptions options) {
  std::unique_ptr<Proxy> proxy(new Proxy(std::move(options)));
  Implementation& implementation = *proxy->implementation_;
  if (const absl::Status status = implementation.Bind(); !status.ok()) return status;
  asio::co_spawn(implementation.io, implementation.Accept(), asio::detached);
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
  error_code error;
  return implementation_->acceptor.local_endpoint(error).port();
}

}  // namespace litefs::proxy
