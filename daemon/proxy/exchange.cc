#include "daemon/proxy/exchange.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <boost/beast/core/string.hpp>
#include <boost/beast/http/rfc7230.hpp>
#include <cerrno>
#include <utility>
#include <vector>

namespace litefs::proxy {
namespace {

namespace http = boost::beast::http;
using boost::asio::ip::tcp;
using std::chrono::seconds;

constexpr seconds kConnectTime{10};
constexpr seconds kAnswerTime{600};  // for the app to begin its answer, and for each piece of it

// Of the protocols that HTTP can be left for, the one that apps use.  Not h2c: later requests would
// pass unseen.
bool IsWebSocket(const http::fields& fields) {
  return boost::beast::iequals(fields[http::field::upgrade], "websocket") &&
         http::token_list(fields[http::field::connection]).exists("upgrade");
}

// What is between two neighbours only (RFC 9110, 7.6.1), but for the body's framing, which Beast
// keeps right.
void StripHopByHop(http::fields* fields) {
  std::vector<std::string> named;
  for (const auto token : http::token_list((*fields)[http::field::connection])) {
    named.emplace_back(token.data(), token.size());
  }
  for (const std::string& name : named) {
    const http::field field = http::string_to_field(name);
    const bool needed = field == http::field::transfer_encoding || field == http::field::host ||
                        field == http::field::content_length;
    if (!needed) fields->erase(name);
  }
  for (const http::field field :
       {http::field::connection, http::field::keep_alive, http::field::proxy_connection,
        http::field::te, http::field::trailer, http::field::upgrade}) {
    fields->erase(field);
  }
}

bool HasNoBody(http::status status) {
  return status == http::status::no_content || status == http::status::not_modified;
}

}  // namespace

Exchange::Exchange(Parts parts)
    : parts_(std::move(parts)),
      resolver_(parts_.client->stream.get_executor()),
      server_(Stream(parts_.client->stream.get_executor())),
      head_(parts_.request->get().method() == http::verb::head),
      version_(parts_.request->get().version()),
      keep_alive_(parts_.request->get().keep_alive()),
      upgrade_(IsWebSocket(parts_.request->get())) {}

void Exchange::Start() {
  resolver_.async_resolve(
      parts_.host, std::to_string(parts_.port),
      [self = shared_from_this()](ErrorCode error, const tcp::resolver::results_type& found) {
        if (error) return self->CannotConnect(error);
        self->Connect(found);
      });
}

void Exchange::Connect(const tcp::resolver::results_type& found) {
  server_.stream.expires_after(kConnectTime);
  server_.stream.async_connect(found,
                               [self = shared_from_this()](ErrorCode error, const tcp::endpoint&) {
                                 if (error) return self->CannotConnect(error);
                                 self->server_.Tune();
                                 self->SendRequest();
                                 self->ReadAnswer();
                               });
}

void Exchange::CannotConnect(ErrorCode error) {
  Finish({End::kFailed, http::status::bad_gateway,
          fmt::format("the app at {}:{} cannot be reached: {}", parts_.host, parts_.port,
                      error.message())});
}

// ---- The request

void Exchange::SendRequest() {
  auto& header = parts_.request->get();
  StripHopByHop(&header);
  header.set(http::field::connection, upgrade_ ? "upgrade" : "close");
  if (upgrade_) header.set(http::field::upgrade, "websocket");
  request_runs_ = true;
  request_relay_.emplace(RequestRelay::Parts{.from = parts_.client,
                                             .parser = parts_.request,
                                             .to = &server_.stream,
                                             .source_time = kProgressTime});
  request_relay_->Start(shared_from_this(), [this](RequestRelay::Failed failed, ErrorCode error) {
    OnRequestSent(failed, error);
  });
}

void Exchange::OnRequestSent(RequestRelay::Failed failed, ErrorCode error) {
  request_sent_ = failed == RequestRelay::Failed::kNothing;
  if (failed == RequestRelay::Failed::kSource && !outcome_) {
    const bool malformed = error.category() == http::make_error_code(http::error{}).category() &&
                           error != http::error::partial_message && !answer_relay_;
    Finish(malformed ? Outcome{End::kFailed, http::status::bad_request, error.message()}
                     : Outcome{End::kClose});
  }
  // An app that refuses a body may have answered before it has read it.
  if (request_sent_ && !upgrade_ && !outcome_) return WatchClient();
  EndRequest();
}

// An app need not work for a client that has gone.
void Exchange::WatchClient() {
  if (parts_.client->buffer.size() != 0) return EndRequest();  // its next request
  parts_.client->stream.socket().async_wait(
      Socket::wait_read, [self = shared_from_this()](ErrorCode error) {
        char byte = 0;
        const int socket = self->parts_.client->stream.socket().native_handle();
        const bool gone =
            !error && !self->outcome_ && ::recv(socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
        if (gone) self->Finish({End::kClose});
        self->EndRequest();
      });
}

// ---- The answer

void Exchange::ReadAnswer() {
  answer_runs_ = true;
  answer_.emplace();
  answer_->header_limit(kMaxHeaderBytes);
  answer_->body_limit(kNoBodyLimit);
  answer_->skip(head_);
  server_.stream.expires_after(kAnswerTime);
  http::async_read_header(
      server_.stream, server_.buffer, *answer_,
      [self = shared_from_this()](ErrorCode error, size_t) { self->OnAnswer(error); });
}

void Exchange::OnAnswer(ErrorCode error) {
  const http::status status = answer_->get().result();
  const bool switches = !error && status == http::status::switching_protocols;
  if (error || (switches && (!upgrade_ || !request_sent_))) {
    Finish({End::kFailed, http::status::bad_gateway,
            fmt::format("the app at {}:{} gave no answer: {}", parts_.host, parts_.port,
                        error ? error.message() : "it left HTTP without having been asked")});
    return EndAnswer();
  }
  if (switches) return StartTunnel();
  if (http::to_status_class(status) == http::status_class::informational) return PassInterim();
  AmendAnswer();
  if (parts_.cookie == nullptr) return SendAnswer();
  parts_.cookie([self = shared_from_this()](const std::string& cookie) {
    if (!cookie.empty()) self->answer_->get().insert(http::field::set_cookie, cookie);
    self->SendAnswer();
  });
}

Exchange::AnswerRelay::Parts Exchange::AnswerParts(bool header_only) {
  return {.from = &server_,
          .parser = &*answer_,
          .to = &parts_.client->stream,
          .source_time = kAnswerTime,
          .header_only = header_only};
}

// 100 Continue and its like, which clients of HTTP/1.0 do not know.
void Exchange::PassInterim() {
  if (version_ < 11) return ReadAnswer();
  answer_relay_.emplace(AnswerParts(true));
  answer_relay_->Start(shared_from_this(), [this](AnswerRelay::Failed failed, ErrorCode) {
    answer_relay_.reset();
    if (failed == AnswerRelay::Failed::kNothing) return ReadAnswer();
    Finish({End::kClose});
    EndAnswer();
  });
}

// As this client understands it.  Where its request ends is not known before it was sent.
void Exchange::AmendAnswer() {
  auto& header = answer_->get();
  StripHopByHop(&header);
  bool keep_alive = keep_alive_ && request_sent_;
  if (version_ >= 11) {
    if (answer_->need_eof()) header.chunked(true);
  } else if (answer_->need_eof() || header.chunked()) {
    header.chunked(false);  // it ends with the connection
    keep_alive = false;
  }
  header.version(version_);
  header.keep_alive(keep_alive);
}

void Exchange::SendAnswer() {
  answer_relay_.emplace(AnswerParts(head_ || HasNoBody(answer_->get().result())));
  answer_relay_->Start(shared_from_this(), [this](AnswerRelay::Failed failed, ErrorCode) {
    const bool again = failed == AnswerRelay::Failed::kNothing && answer_->get().keep_alive();
    Finish({again ? End::kDone : End::kClose});
    EndAnswer();
  });
}

void Exchange::StartTunnel() {
  answer_relay_.emplace(AnswerParts(true));
  answer_relay_->Start(shared_from_this(), [this](AnswerRelay::Failed failed, ErrorCode) {
    if (failed != AnswerRelay::Failed::kNothing) {
      Finish({End::kClose});
      return EndAnswer();
    }
    tunnel_.emplace(parts_.client, &server_);
    tunnel_->Start(shared_from_this(), [this] {
      Finish({End::kClose});
      EndAnswer();
    });
  });
}

// ---- The end

// The first outcome counts.  What still runs is made to end.
void Exchange::Finish(Outcome outcome) {
  if (outcome_) return;
  outcome_ = std::move(outcome);
  server_.Close();
  if (request_runs_) parts_.client->stream.cancel();  // its reading
  Report();
}

void Exchange::EndRequest() {
  request_runs_ = false;
  Report();
}

void Exchange::EndAnswer() {
  answer_runs_ = false;
  Report();
}

void Exchange::Report() {
  if (!outcome_ || request_runs_ || answer_runs_) return;
  parts_.done(*std::exchange(outcome_, Outcome{}));
}

}  // namespace litefs::proxy
