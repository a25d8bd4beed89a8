// Exchange: one request, passed on to the app, and its answer, passed back, both at the same time
// and piece by piece; or a web socket, until it is closed.  On a connection of its own to the app.
// Belongs to the proxy's thread.

#pragma once

#include <boost/beast/http/status.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "daemon/proxy/message_relay.h"
#include "daemon/proxy/peer.h"
#include "daemon/proxy/tunnel.h"

namespace litefs::proxy {

class Exchange : public std::enable_shared_from_this<Exchange> {
 public:
  enum class End {
    kDone,    // the client may ask again
    kClose,   // the client's connection has no further use
    kFailed,  // nothing of an answer was sent: status and problem say what to answer
  };
  struct Outcome {
    End end = End::kClose;
    boost::beast::http::status status{};
    std::string problem{};
  };
  struct Parts {
    Peer* client = nullptr;
    Parser<true>* request = nullptr;  // has read the header
    std::string host{};               // the app's
    int port = 0;
    // Tells, later or at once, what the answer is given as Set-Cookie; empty: nothing.  Null: none.
    std::function<void(std::function<void(std::string)>)> cookie{};
    // Called once.  The client's stream and the request are left alone from then on.
    std::function<void(Outcome)> done{};
  };
  // All must outlive the exchange, but for its destructor.
  explicit Exchange(Parts parts);
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  void Start();

 private:
  using RequestRelay = MessageRelay<true>;
  using AnswerRelay = MessageRelay<false>;

  void Connect(const boost::asio::ip::tcp::resolver::results_type& found);
  void SendRequest();
  void OnRequestSent(RequestRelay::Failed failed, ErrorCode error);
  void WatchClient();
  void ReadAnswer();
  void OnAnswer(ErrorCode error);
  AnswerRelay::Parts AnswerParts(bool header_only);
  void PassInterim();
  void AmendAnswer();
  void SendAnswer();
  void StartTunnel();

  void CannotConnect(ErrorCode error);
  void Finish(Outcome outcome);
  void EndRequest();
  void EndAnswer();
  void Report();

  const Parts parts_;
  boost::asio::ip::basic_resolver<boost::asio::ip::tcp, Executor> resolver_;
  Peer server_;
  const bool head_;
  const unsigned version_;  // the client's
  const bool keep_alive_;
  const bool upgrade_;
  std::optional<RequestRelay> request_relay_;
  std::optional<Parser<false>> answer_;
  std::optional<AnswerRelay> answer_relay_;
  std::optional<Tunnel> tunnel_;
  bool request_sent_ = false;
  // What still runs; `done` waits for both.
  bool request_runs_ = false;
  bool answer_runs_ = false;
  std::optional<Outcome> outcome_;
};

}  // namespace litefs::proxy
