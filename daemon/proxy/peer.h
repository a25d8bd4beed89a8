// Peer: a TCP connection that speaks HTTP, the client's or the app's, with what was read of it and
// not used yet.  Belongs to the proxy's thread.

#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>

namespace litefs::proxy {

using Executor = boost::asio::io_context::executor_type;
using Socket = boost::asio::basic_stream_socket<boost::asio::ip::tcp, Executor>;
using Stream = boost::beast::basic_stream<boost::asio::ip::tcp, Executor>;
using ErrorCode = boost::system::error_code;
template <bool kIsRequest>
using Parser = boost::beast::http::parser<kIsRequest, boost::beast::http::buffer_body>;

inline constexpr size_t kMaxHeaderBytes = 32 << 10;
// Not boost::none: Beast of Boost 1.74 then takes every length for too long.
inline constexpr uint64_t kNoBodyLimit = std::numeric_limits<uint64_t>::max();
inline constexpr size_t kPieceBytes = 16 << 10;           // of a body, passed on at a time
inline constexpr std::chrono::seconds kProgressTime{60};  // for each piece to or from the client

struct Peer {
  explicit Peer(Stream given) : stream(std::move(given)) {}

  // No delay; a host that has gone without a word is noticed within two minutes.
  void Tune();
  // What runs on the stream ends with an error.
  void Close();

  Stream stream;
  boost::beast::flat_buffer buffer{kMaxHeaderBytes + 4096};
};

}  // namespace litefs::proxy
