// Connection: one client of the proxy, from its first request to its last.  Belongs to the proxy's
// thread.

#pragma once

#include <array>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/parser.hpp>
#include <optional>
#include <string>
#include <utility>

#include "daemon/proxy/proxy_options.h"
#include "daemon/proxy/routing.h"

namespace litefs::proxy {

class Connection {
 public:
  // options must outlive the connection.
  Connection(const ProxyOptions* options, boost::asio::ip::tcp::socket socket);
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // Until the client has gone, or its connection is closed.
  boost::asio::awaitable<void> Serve();

 private:
  template <typename T>
  using Awaitable = boost::asio::awaitable<T>;
  using Stream = boost::beast::tcp_stream;
  using RequestParser = boost::beast::http::request_parser<boost::beast::http::buffer_body>;
  using ResponseParser = boost::beast::http::response_parser<boost::beast::http::buffer_body>;
  // A side that is spoken to, with what was read of it and not used yet.
  struct Peer {
    explicit Peer(Stream given) : stream(std::move(given)) {}
    Stream stream;
    boost::beast::flat_buffer buffer{kMaxBufferBytes};
  };
  static constexpr size_t kMaxBufferBytes = 80 << 10;
  static constexpr size_t kChunkBytes = 16 << 10;

  // Those of bool return whether the connection goes on.
  Awaitable<bool> ServeRequest();
  Awaitable<void> Linger();
  Awaitable<bool> Route(RequestParser& request);
  Awaitable<bool> ToPrimary(RequestParser& request);
  Awaitable<bool> PassOn(RequestParser& request, Address to, bool with_cookie, bool forwarded);
  Awaitable<bool> Answer(RequestParser& request, Peer& server, bool with_cookie);
  Awaitable<bool> Fail(boost::beast::http::status status, std::string text,
                       std::string location = "");

  Awaitable<boost::system::error_code> Connect(Peer& server, const Address& to);
  Awaitable<boost::system::error_code> SendRequest(RequestParser& request, Peer& server,
                                                   bool forwarded);
  Awaitable<boost::system::error_code> ReadAnswer(Peer& server, bool head,
                                                  std::optional<ResponseParser>* answer);
  template <bool kIsRequest>
  Awaitable<boost::system::error_code> Relay(
      Peer& from, boost::beast::http::parser<kIsRequest, boost::beast::http::buffer_body>& parser,
      Stream& to);
  Awaitable<void> Tunnel(Peer& server);
  Awaitable<void> Pump(Peer& from, Peer& to);
  Awaitable<std::optional<ProxyOptions::Answer>> Ask(nlohmann::json request);

  const ProxyOptions& options_;
  Peer client_;
  bool keep_alive_ = false;
  unsigned version_ = 11;
  std::array<char, kChunkBytes> chunk_;
};

}  // namespace litefs::proxy
