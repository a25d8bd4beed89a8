// Where a request to the proxy goes, and the cookie by which a client reads its writes.  Pure
// functions.

#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ltx/types.h"

namespace litefs::proxy {

inline constexpr char kTxIdCookie[] = "__txid";
// On a request that another node's proxy has forwarded: it goes no further.
inline constexpr char kForwardedHeader[] = "LiteFS-Forwarded";

enum class Route {
  kTarget,      // straight to the app
  kAfterWait,   // when the database has reached the client's transaction
  kWithCookie,  // to the app; its answer gets the cookie
  kToPrimary,
};

struct Request {
  std::string_view method;
  std::string_view target;  // path and query
  ltx::TxId txid = 0;       // of the client's cookie; 0: none
};
Route RouteOf(const Request& request, bool is_primary, const std::vector<std::string>& passthrough);

// The transaction in a Cookie header; 0 if there is none, or no such number.
ltx::TxId TxIdOf(std::string_view cookie_header);
// The Set-Cookie header's value.
std::string CookieOf(ltx::TxId txid);

struct Address {
  std::string host;
  std::string port;
};
// Of http://HOST:PORT, HOST maybe [IPv6]; nullopt for anything else.
std::optional<Address> AddressOf(std::string_view url);

}  // namespace litefs::proxy
