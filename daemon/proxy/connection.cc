#include "daemon/proxy/connection.h"

#include <fmt/format.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/write.hpp>
#include <cerrno>
#include <string_view>
#include <utility>

#include "common/hex.h"
#include "daemon/proxy/routing.h"

namespace litefs::proxy {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using std::chrono::seconds;

constexpr size_t kReadAheadBytes = 4096;
constexpr seconds kHeaderTime{10};  // for a whole header, and for a client's first byte
constexpr seconds kIdleTime{60};    // between two requests
constexpr seconds kLingerTime{2};   // for what a client sends after our last answer

std::string_view View(boost::beast::string_view text) { return {text.data(), text.size()}; }

// What the app might understand otherwise than we do; nullptr: nothing.
const char* DefectOf(const Parser<true>& request) {
  const auto& header = request.get();
  const std::string_view target = View(header.target());
  if (!target.starts_with('/') && target != "*") return "the target is not a path";
  const bool encoded = header.count(http::field::transfer_encoding) != 0;
  if (encoded && (!request.chunked() || header.version() < 11)) {
    return "the body's end is not known";
  }
  return nullptr;
}

}  // namespace

Connection::Connection(const ProxyOptions* options, ProxyCounters* counters, Socket socket,
                       Closed closed)
    : options_(*options),
      counters_(*counters),
      closed_(std::move(closed)),
      client_(Stream(std::move(socket))) {}

void Connection::Start() {
  client_.Tune();
  AwaitRequest(kHeaderTime);
}

void Connection::AwaitRequest(seconds limit) {
  if (client_.buffer.size() != 0) return ReadHeader();
  client_.stream.expires_after(limit);
  client_.stream.async_read_some(client_.buffer.prepare(kReadAheadBytes),
                                 [self = shared_from_this()](ErrorCode error, size_t n) {
                                   if (error) return self->Close();
                                   self->client_.buffer.commit(n);
                                   self->ReadHeader();
                                 });
}

void Connection::ReadHeader() {
  request_.emplace();
  request_->header_limit(kMaxHeaderBytes);
  request_->body_limit(kNoBodyLimit);
  client_.stream.expires_after(kHeaderTime);  // for all of it, however it trickles in
  http::async_read_header(
      client_.stream, client_.buffer, *request_,
      [self = shared_from_this()](ErrorCode error, size_t) { self->OnHeader(error); });
}

void Connection::OnHeader(ErrorCode error) {
  const bool malformed = error.category() == http::make_error_code(http::error{}).category();
  const bool gone = error == http::error::end_of_stream || error == http::error::partial_message;
  if (error && (!malformed || gone)) return Close();
  ++counters_.requests;
  if (error == http::error::header_limit || error == http::error::buffer_overflow) {
    return Reply(Status::request_header_fields_too_large,
                 fmt::format("the header has more than {} bytes", kMaxHeaderBytes));
  }
  if (error) return Reply(Status::bad_request, error.message());
  if (const char* const defect = DefectOf(*request_)) return Reply(Status::bad_request, defect);
  Route();
}

// ---- Where it goes

void Connection::Route() {
  const auto& header = request_->get();
  const Request asked{.method = View(header.method_string()),
                      .target = View(header.target()),
                      .txid = TxIdOf(View(header[http::field::cookie]))};
  switch (RouteOf(asked, options_.is_primary(), options_.passthrough)) {
    case proxy::Route::kTarget:
      return PassOn(false);
    case proxy::Route::kWithCookie:
      return PassOn(true);
    case proxy::Route::kRedirect:
      return options_.primary_url(Here(&Connection::OnPrimaryUrl));
    case proxy::Route::kAfterWait:
      ++counters_.waits;
      return options_.wait(asked.txid, Here(&Connection::OnWaited));
  }
}

void Connection::OnWaited(int error) {
  if (error == 0) return PassOn(false);
  if (error == EAGAIN) return Reply(Status::service_unavailable, "too many requests wait");
  ++counters_.wait_timeouts;
  Reply(Status::gateway_timeout, "this replica has not got yet what you have written");
}

void Connection::OnPrimaryUrl(std::string url) {
  if (url.empty()) return Reply(Status::service_unavailable, "the primary is not known");
  ++counters_.redirects;
  const std::string target(View(request_->get().target()));
  Reply(Status::temporary_redirect, "the primary is at " + url, url + target);
}

void Connection::PassOn(bool with_cookie) {
  Exchange::Parts parts{.client = &client_,
                        .request = &*request_,
                        .host = options_.target_host,
                        .port = options_.target_port,
                        .done = [this](const Exchange::Outcome& outcome) { OnPassedOn(outcome); }};
  if (with_cookie) {
    parts.cookie = [this](std::function<void(std::string)> give) {
      give_cookie_ = std::move(give);
      options_.position(Here(&Connection::OnPosition));
    };
  }
  std::make_shared<Exchange>(std::move(parts))->Start();
}

void Connection::OnPosition(ltx::TxId txid) {
  std::exchange(give_cookie_, nullptr)(txid == 0 ? "" : CookieOf(txid));
}

void Connection::OnPassedOn(const Exchange::Outcome& outcome) {
  switch (outcome.end) {
    case Exchange::End::kDone:
      return AwaitRequest(kIdleTime);
    case Exchange::End::kClose:
      return Linger();
    case Exchange::End::kFailed:
      return Reply(outcome.status, outcome.problem);
  }
}

// What the node answers, on whatever thread, is dealt with on ours, if we are still there.
template <typename T>
std::function<void(T)> Connection::Here(void (Connection::*then)(T)) {
  return [weak = weak_from_this(), then](T value) {
    std::shared_ptr<Connection> self = weak.lock();
    if (self == nullptr) return;
    const Executor executor = self->client_.stream.get_executor();
    asio::post(executor, [self = std::move(self), then, value = std::move(value)]() mutable {
      ((*self).*then)(std::move(value));
    });
  };
}

// ---- Answers of our own, and the end

void Connection::Reply(Status status, const std::string& text, const std::string& location) {
  if (status == Status::bad_gateway) ++counters_.bad_gateways;
  const bool bad = http::to_status_class(status) == http::status_class::client_error;
  if (bad) ++counters_.bad_requests;
  const auto& request = request_->get();
  const bool in_order = !bad && request_->is_done();  // else the next one is not to be found
  reply_.emplace(status, in_order ? request.version() : 11);
  reply_->set(http::field::content_type, "text/plain; charset=utf-8");
  if (!location.empty()) reply_->set(http::field::location, location);
  if (status == Status::service_unavailable) reply_->set(http::field::retry_after, "1");
  reply_->body() = text + "\n";
  reply_->keep_alive(in_order && request.keep_alive());
  reply_->prepare_payload();
  if (request.method() == http::verb::head) reply_->body().clear();
  client_.stream.expires_after(kProgressTime);
  http::async_write(client_.stream, *reply_, [self = shared_from_this()](ErrorCode error, size_t) {
    self->OnReplied(error);
  });
}

void Connection::OnReplied(ErrorCode error) {
  if (error) return Close();
  if (reply_->keep_alive()) return AwaitRequest(kIdleTime);
  Linger();
}

// What the client still sends is read for a moment, or its kernel might drop our last answer.
void Connection::Linger() {
  ErrorCode ignored;
  client_.stream.socket().shutdown(Socket::shutdown_send, ignored);
  client_.stream.expires_after(kLingerTime);
  Drain();
}

void Connection::Drain() {
  client_.buffer.clear();
  client_.stream.async_read_some(client_.buffer.prepare(kReadAheadBytes),
                                 [self = shared_from_this()](ErrorCode error, size_t) {
                                   if (error) return self->Close();
                                   self->Drain();
                                 });
}

void Connection::Close() {
  client_.Close();
  closed_(shared_from_this());
}

}  // namespace litefs::proxy
