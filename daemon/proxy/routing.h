// Where a request to the proxy goes, and the cookie by which a client reads its writes; both as
// LiteFS has them.  Pure functions.

#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "ltx/types.h"

namespace litefs::proxy {

inline constexpr char kTxIdCookie[] = "__txid";

enum class Route {
  kTarget,      // straight to the app
  kAfterWait,   // to the app, when the database has reached the client's transaction
  kWithCookie,  // to the app; its answer gets the cookie
  kRedirect,    // to the primary
};

struct Request {
  std::string_view method;
  std::string_view target;  // path and query
  ltx::TxId txid = 0;       // of the client's cookie; 0: none
};
Route RouteOf(const Request& request, bool is_primary, const std::vector<std::string>& passthrough);

// '*' stands for any characters, '/' too; every other character for itself.  At most as many
// steps as the path has bytes times the glob.
bool MatchesGlob(std::string_view glob, std::string_view path);

// The transaction in a Cookie header; 0 if there is none, or no such number.
ltx::TxId TxIdOf(std::string_view cookie_header);
// The Set-Cookie header's value.
std::string CookieOf(ltx::TxId txid);

}  // namespace litefs::proxy
