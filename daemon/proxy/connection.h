// Connection: one client of the proxy, from its first request to its last.  Belongs to the proxy's
// thread.

#pragma once

#include <boost/beast/http/message.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "daemon/proxy/exchange.h"
#include "daemon/proxy/peer.h"
#include "daemon/proxy/proxy_options.h"

namespace litefs::proxy {

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  // Called once, in the end: let go of the connection, which must be kept until then.
  using Closed = std::function<void(const std::shared_ptr<Connection>&)>;
  // Both pointers must outlive the connection.
  Connection(const ProxyOptions* options, ProxyCounters* counters, Socket socket, Closed closed);
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void Start();

 private:
  using Status = boost::beast::http::status;

  void AwaitRequest(std::chrono::seconds limit);
  void ReadHeader();
  void OnHeader(ErrorCode error);
  void Route();
  void OnWaited(int error);
  void OnPrimaryUrl(std::string url);
  void PassOn(bool with_cookie);
  void OnPosition(ltx::TxId txid);
  void OnPassedOn(const Exchange::Outcome& outcome);
  void Reply(Status status, const std::string& text, const std::string& location = "");
  void OnReplied(ErrorCode error);
  void Linger();
  void Drain();
  void Close();
  template <typename T>
  std::function<void(T)> Here(void (Connection::*then)(T));

  const ProxyOptions& options_;
  ProxyCounters& counters_;
  const Closed closed_;
  Peer client_;
  std::optional<Parser<true>> request_;
  std::optional<boost::beast::http::response<boost::beast::http::string_body>> reply_;
  std::function<void(std::string)> give_cookie_;
};

}  // namespace litefs::proxy
