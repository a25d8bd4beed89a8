#include "daemon/proxy/connection.h"

#include <fmt/format.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/rfc7230.hpp>
#include <boost/beast/http/serializer.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <cerrno>
#include <chrono>
#include <memory>
#include <vector>

#include "common/hex.h"

namespace litefs::proxy {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;
using boost::system::error_code;
using std::chrono::seconds;

constexpr uint32_t kMaxHeaderBytes = 64 << 10;
constexpr size_t kReadAheadBytes = 4096;
constexpr seconds kHeaderTime{10};    // for a whole header, and for a client's first byte
constexpr seconds kIdleTime{60};      // between two requests
constexpr seconds kProgressTime{60};  // for each piece of a body
constexpr seconds kConnectTime{10};
constexpr seconds kAnswerTime{600};  // for the app to begin its answer
constexpr seconds kLingerTime{2};    // for what a client sends after our last answer
constexpr seconds kAskTime{30};      // beyond options.wait

// The coroutine goes on with the error in *error.
auto With(error_code& error) { return asio::redirect_error(asio::use_awaitable, error); }

bool IsUpgrade(const http::fields& fields) {
  return fields.count(http::field::upgrade) != 0 &&
         http::token_list(fields[http::field::connection]).exists("upgrade");
}

// What is between two neighbours only (RFC 9110, 7.6.1).  How long the body is Beast knows.
void StripHopByHop(http::fields& fields) {
  std::vector<std::string> named;
  for (const auto token : http::token_list(fields[http::field::connection])) {
    named.emplace_back(token.data(), token.size());
  }
  for (const std::string& name : named) {
    const http::field field = http::string_to_field(name);
    const bool needed = field == http::field::transfer_encoding || field == http::field::host ||
                        field == http::field::content_length;
    if (!needed) fields.erase(name);
  }
  for (const http::field field :
       {http::field::connection, http::field::keep_alive, http::field::proxy_connection,
        http::field::te, http::field::trailer, http::field::upgrade}) {
    fields.erase(field);
  }
}

std::string Text(const nlohmann::json& json, const char* key) {
  const auto found = json.is_object() ? json.find(key) : json.end();
  return found != json.end() && found->is_string() ? found->get<std::string>() : "";
}

// Not in place: GCC 12 fails on lists of initializers beside co_await.
nlohmann::json Question(const char* request, const std::string& database) {
  return {{"request", request}, {"database", database}};
}

void Close(beast::tcp_stream& stream) {
  error_code ignored;
  stream.socket().shutdown(tcp::socket::shutdown_both, ignored);
  stream.close();
}

}  // namespace

Connection::Connection(const ProxyOptions* options, tcp::socket socket)
    : options_(*options), client_(Stream(std::move(socket))) {
  error_code ignored;
  client_.stream.socket().set_option(tcp::no_delay(true), ignored);
  client_.stream.socket().set_option(asio::socket_base::keep_alive(true), ignored);
}

asio::awaitable<void> Connection::Serve() {
  client_.stream.expires_after(kHeaderTime);
  while (co_await ServeRequest()) client_.stream.expires_after(kIdleTime);
  co_await Linger();
}

// What the client still sends is read for a moment, or its kernel might drop our last answer.
asio::awaitable<void> Connection::Linger() {
  error_code error;
  client_.stream.socket().shutdown(tcp::socket::shutdown_send, error);
  client_.stream.expires_after(kLingerTime);
  while (!error) co_await client_.stream.async_read_some(asio::buffer(chunk_), With(error));
  Close(client_.stream);
}

asio::awaitable<bool> Connection::ServeRequest() {
  error_code error;
  if (client_.buffer.size() == 0) {
    const size_t n = co_await client_.stream.async_read_some(
        client_.buffer.prepare(kReadAheadBytes), With(error));
    if (error) co_return false;
    client_.buffer.commit(n);
  }
  RequestParser request;
  request.header_limit(kMaxHeaderBytes);
  request.body_limit(boost::none);
  client_.stream.expires_after(kHeaderTime);  // for all of it, however it trickles in
  co_await http::async_read_header(client_.stream, client_.buffer, request, With(error));
  if (error == http::error::header_limit || error == http::error::buffer_overflow) {
    co_return co_await Fail(http::status::request_header_fields_too_large,
                            "the header is too long");
  }
  if (error && error != http::error::end_of_stream &&
      error.category() == http::make_error_code(http::error::bad_method).category()) {
    co_return co_await Fail(http::status::bad_request, error.message());
  }
  if (error) co_return false;
  keep_alive_ = request.get().keep_alive();
  version_ = request.get().version() >= 11 ? 11 : 10;
  co_return co_await Route(request);
}

// ---- Where it goes
// -----------------------------------------------------------------------------------

asio::awaitable<bool> Connection::Route(RequestParser& request) {
  const auto& header = request.get();
  const auto cookie = header[http::field::cookie];
  const auto method = header.method_string();
  const Request asked{.method = {method.data(), method.size()},
                      .target = {header.target().data(), header.target().size()},
                      .txid = TxIdOf({cookie.data(), cookie.size()})};
  const Address app{options_.target_host, std::to_string(options_.target_port)};
  switch (RouteOf(asked, options_.is_primary(), options_.passthrough)) {
    case proxy::Route::kTarget:
      co_return co_await PassOn(request, app, false, false);
    case proxy::Route::kWithCookie:
      co_return co_await PassOn(request, app, true, false);
    case proxy::Route::kToPrimary:
      co_return co_await ToPrimary(request);
    case proxy::Route::kAfterWait:
      break;
  }
  nlohmann::json wait = Question("wait", options_.database);
  wait["txid"] = Hex16(asked.txid);
  wait["timeout_ms"] = options_.wait.count();
  const auto answer = co_await Ask(std::move(wait));
  if (!answer.has_value() || answer->error == ETIMEDOUT || answer->error == EAGAIN) {
    co_return co_await Fail(http::status::gateway_timeout,
                            "this replica has not got what you have written yet");
  }
  co_return co_await PassOn(request, app, false, false);
}

asio::awaitable<bool> Connection::ToPrimary(RequestParser& request) {
  nlohmann::json question = Question("primary-proxy", options_.database);
  const auto answer = co_await Ask(std::move(question));
  const std::string url = answer.has_value() ? Text(answer->json, "proxy") : "";
  const std::optional<Address> primary = AddressOf(url);
  if (!primary.has_value()) {
    co_return co_await Fail(http::status::service_unavailable, "the primary is not known");
  }
  if (request.get().count(kForwardedHeader) != 0) {  // the role is changing
    co_return co_await Fail(http::status::service_unavailable, "this node is not the primary");
  }
  if (options_.redirect) {
    const auto target = request.get().target();
    co_return co_await Fail(http::status::temporary_redirect, "the primary is at " + url,
                            url + std::string(target.data(), target.size()));
  }
  co_return co_await PassOn(request, *primary, false, true);
}

asio::awaitable<bool> Connection::Fail(http::status status, std::string text,
                                       std::string location) {
  http::response<http::string_body> response(status, version_);
  response.set(http::field::content_type, "text/plain");
  if (!location.empty()) response.set(http::field::location, location);
  if (status == http::status::service_unavailable) response.set(http::field::retry_after, "1");
  response.body() = text + "\n";
  response.keep_alive(false);  // the request's body was not read
  response.prepare_payload();
  error_code error;
  client_.stream.expires_after(kProgressTime);
  co_await http::async_write(client_.stream, response, With(error));
  co_return false;
}

// Nothing if the node does not answer.
asio::awaitable<std::optional<ProxyOptions::Answer>> Connection::Ask(nlohmann::json request) {
  struct Shared {
    std::optional<ProxyOptions::Answer> answer;
    asio::steady_timer* timer = nullptr;  // null: nobody waits
  };
  const auto executor = client_.stream.get_executor();
  asio::steady_timer timer(executor, options_.wait + kAskTime);
  const auto shared = std::make_shared<Shared>();
  shared->timer = &timer;
  options_.ask(request, [shared, executor](ProxyOptions::Answer answer) {
    const auto boxed = std::make_shared<ProxyOptions::Answer>(std::move(answer));
    asio::post(executor, [shared, boxed] {
      if (shared->timer == nullptr) return;
      shared->answer = std::move(*boxed);
      shared->timer->cancel();
    });
  });
  error_code ignored;
  co_await timer.async_wait(With(ignored));
  shared->timer = nullptr;
  co_return std::move(shared->answer);
}

// ---- To a server and back
// -----------------------------------------------------------------------------------

asio::awaitable<error_code> Connection::Connect(Peer& server, const Address& to) {
  error_code error;
  tcp::resolver resolver(server.stream.get_executor());
  const auto found = co_await resolver.async_resolve(to.host, to.port, With(error));
  if (error) co_return error;
  server.stream.expires_after(kConnectTime);
  co_await server.stream.async_connect(found, With(error));
  if (error) co_return error;
  server.stream.socket().set_option(tcp::no_delay(true), error);
  co_return error_code();
}

asio::awaitable<bool> Connection::PassOn(RequestParser& request, Address to, bool with_cookie,
                                         bool forwarded) {
  Peer server{Stream(client_.stream.get_executor())};
  error_code error = co_await Connect(server, to);
  if (error) {
    co_return co_await Fail(
        http::status::bad_gateway,
        fmt::format("{}:{} cannot be reached: {}", to.host, to.port, error.message()));
  }
  // A server that refuses a body may answer before it has read it.
  error = co_await SendRequest(request, server, forwarded);
  const bool goes_on = co_await Answer(request, server, with_cookie);
  Close(server.stream);
  co_return goes_on && !error;
}

asio::awaitable<error_code> Connection::SendRequest(RequestParser& request, Peer& server,
                                                    bool forwarded) {
  auto& header = request.get();
  const bool upgrade = IsUpgrade(header);
  const std::string protocol(header[http::field::upgrade]);
  StripHopByHop(header);
  header.set(http::field::connection, upgrade ? "upgrade" : "close");
  if (upgrade) header.set(http::field::upgrade, protocol);
  if (forwarded) header.set(kForwardedHeader, "1");
  error_code error;
  if (beast::iequals(header[http::field::expect], "100-continue")) {
    header.erase(http::field::expect);
    http::response<http::empty_body> go_on(http::status::continue_, 11);
    client_.stream.expires_after(kProgressTime);
    co_await http::async_write(client_.stream, go_on, With(error));
    if (error) co_return error;
  }
  co_return co_await Relay(client_, request, server.stream);
}

// The header of the final answer.
asio::awaitable<error_code> Connection::ReadAnswer(Peer& server, bool head,
                                                   std::optional<ResponseParser>* answer) {
  error_code error;
  server.stream.expires_after(kAnswerTime);
  do {
    answer->emplace();
    (*answer)->header_limit(kMaxHeaderBytes);
    (*answer)->body_limit(boost::none);
    (*answer)->skip(head);
    co_await http::async_read_header(server.stream, server.buffer, **answer, With(error));
  } while (!error && (*answer)->get().result_int() < 200 &&
           (*answer)->get().result() != http::status::switching_protocols);
  co_return error;
}

asio::awaitable<bool> Connection::Answer(RequestParser& request, Peer& server, bool with_cookie) {
  const bool head = request.get().method() == http::verb::head;
  std::optional<ResponseParser> answer;
  error_code error = co_await ReadAnswer(server, head, &answer);
  if (error) {
    co_return co_await Fail(http::status::bad_gateway, "no answer: " + error.message());
  }
  auto& header = answer->get();
  if (header.result() == http::status::switching_protocols) {
    http::response_serializer<http::buffer_body> serializer(header);
    client_.stream.expires_after(kProgressTime);
    co_await http::async_write_header(client_.stream, serializer, With(error));
    if (!error) co_await Tunnel(server);
    co_return false;
  }
  StripHopByHop(header);
  if (with_cookie) {
    nlohmann::json question = Question("pos", options_.database);
    const auto position = co_await Ask(std::move(question));
    const std::string txid = position.has_value() ? Text(position->json, "txid") : "";
    if (!txid.empty()) {
      header.insert(http::field::set_cookie,
                    CookieOf(TxIdOf(std::string(kTxIdCookie) + "=" + txid)));
    }
  }
  // A body whose end is the connection's, or of chunks, as this client understands it.
  if (answer->need_eof() && version_ == 11) header.chunked(true);
  if (version_ == 10 && (answer->need_eof() || header.chunked())) {
    header.chunked(false);
    keep_alive_ = false;
  }
  header.version(version_);
  header.keep_alive(keep_alive_);
  if (head || header.result() == http::status::no_content ||
      header.result() == http::status::not_modified) {
    http::response_serializer<http::buffer_body> serializer(header);
    client_.stream.expires_after(kProgressTime);
    co_await http::async_write_header(client_.stream, serializer, With(error));
  } else {
    error = co_await Relay(server, *answer, client_.stream);
  }
  co_return !error && keep_alive_ && request.is_done();
}

// The header, then the body piece by piece as it comes.
template <bool kIsRequest>
asio::awaitable<error_code> Connection::Relay(Peer& from,
                                              http::parser<kIsRequest, http::buffer_body>& parser,
                                              Stream& to) {
  http::serializer<kIsRequest, http::buffer_body> serializer(parser.get());
  auto& body = parser.get().body();
  error_code error;
  to.expires_after(kProgressTime);
  co_await http::async_write_header(to, serializer, With(error));
  while (!error && !serializer.is_done()) {
    body.data = nullptr;
    body.size = 0;
    if (!parser.is_done()) {
      body.data = chunk_.data();
      body.size = chunk_.size();
      from.stream.expires_after(kProgressTime);
      co_await http::async_read_some(from.stream, from.buffer, parser, With(error));
      if (error == http::error::need_buffer) error = {};
      if (error) break;
      body.data = chunk_.data();
      body.size = chunk_.size() - body.size;
    }
    body.more = !parser.is_done();
    if (body.size == 0 && body.more) continue;
    to.expires_after(kProgressTime);
    co_await http::async_write(to, serializer, With(error));
    if (error == http::error::need_buffer) error = {};
  }
  co_return error;
}

// ---- Another protocol: web sockets
// -----------------------------------------------------------------------------------

asio::awaitable<void> Connection::Pump(Peer& from, Peer& to) {
  std::array<char, kChunkBytes> chunk;
  error_code error;
  co_await asio::async_write(to.stream, from.buffer.data(), With(error));
  from.buffer.clear();
  while (!error) {
    const size_t n = co_await from.stream.async_read_some(asio::buffer(chunk), With(error));
    if (!error) co_await asio::async_write(to.stream, asio::buffer(chunk.data(), n), With(error));
  }
}

// Both ways, until one side has closed.
asio::awaitable<void> Connection::Tunnel(Peer& server) {
  client_.stream.expires_never();
  server.stream.expires_never();
  const auto executor = client_.stream.get_executor();
  asio::steady_timer both_ended(executor, asio::steady_timer::time_point::max());
  bool other_ended = false;
  asio::co_spawn(
      executor,
      [&]() -> asio::awaitable<void> {
        co_await Pump(server, client_);
        Close(server.stream);
        Close(client_.stream);
        other_ended = true;
        both_ended.cancel();
      },
      asio::detached);
  co_await Pump(client_, server);
  Close(server.stream);
  Close(client_.stream);
  error_code ignored;
  while (!other_ended) co_await both_ended.async_wait(With(ignored));
}

}  // namespace litefs::proxy
