#include "daemon/proxy/routing.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/hex.h"

namespace litefs::proxy {
namespace {

constexpr int kCookieSeconds = 300;

std::string_view Trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

}  // namespace

Route RouteOf(const Request& request, bool is_primary,
              const std::vector<std::string>& passthrough) {
  const std::string_view path = request.target.substr(0, request.target.find('?'));
  const bool passes = std::any_of(passthrough.begin(), passthrough.end(),
                                  [&](const std::string& glob) { return MatchesGlob(glob, path); });
  if (passes) return Route::kTarget;
  const bool reads = request.method == "GET" || request.method == "HEAD";
  if (!reads) return is_primary ? Route::kWithCookie : Route::kRedirect;
  return is_primary || request.txid == 0 ? Route::kTarget : Route::kAfterWait;
}

// The first occurrence of each part between two stars will do.
bool MatchesGlob(std::string_view glob, std::string_view path) {
  size_t star = glob.find('*');
  if (star == std::string_view::npos) return glob == path;
  if (!path.starts_with(glob.substr(0, star))) return false;
  path.remove_prefix(star);
  glob.remove_prefix(star + 1);
  while ((star = glob.find('*')) != std::string_view::npos) {
    const size_t found = path.find(glob.substr(0, star));
    if (found == std::string_view::npos) return false;
    path.remove_prefix(found + star);
    glob.remove_prefix(star + 1);
  }
  return path.ends_with(glob);
}

ltx::TxId TxIdOf(std::string_view cookie_header) {
  while (!cookie_header.empty()) {
    const size_t end = std::min(cookie_header.find(';'), cookie_header.size());
    const std::string_view cookie = Trimmed(cookie_header.substr(0, end));
    cookie_header.remove_prefix(std::min(end + 1, cookie_header.size()));
    const size_t equals = cookie.find('=');
    if (equals == std::string_view::npos || cookie.substr(0, equals) != kTxIdCookie) continue;
    return ParseHex16(cookie.substr(equals + 1)).value_or(0);
  }
  return 0;
}

std::string CookieOf(ltx::TxId txid) {
  return fmt::format("{}={}; Path=/; Max-Age={}; HttpOnly", kTxIdCookie, Hex16(txid),
                     kCookieSeconds);
}

}  // namespace litefs::proxy
