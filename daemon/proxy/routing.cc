#include "daemon/proxy/routing.h"

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>

#include "common/hex.h"

namespace litefs::proxy {
namespace {

// As LiteFS has it.
constexpr int kCookieSeconds = 300;

std::string_view Trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

}  // namespace

Route RouteOf(const Request& request, bool is_primary,
              const std::vector<std::string>& passthrough) {
  const std::string path(request.target.substr(0, request.target.find('?')));
  const bool passes = std::any_of(
      passthrough.begin(), passthrough.end(),
      [&](const std::string& glob) { return ::fnmatch(glob.c_str(), path.c_str(), 0) == 0; });
  if (passes) return Route::kTarget;
  const bool reads = request.method == "GET" || request.method == "HEAD";
  if (!reads) return is_primary ? Route::kWithCookie : Route::kToPrimary;
  return is_primary || request.txid == 0 ? Route::kTarget : Route::kAfterWait;
}

ltx::TxId TxIdOf(std::string_view cookie_header) {
  while (!cookie_header.empty()) {
    const size_t end = std::min(cookie_header.find(';'), cookie_header.size());
    const std::string_view cookie = Trimmed(cookie_header.substr(0, end));
    cookie_header.remove_prefix(std::min(end + 1, cookie_header.size()));
    const size_t equals = cookie.find('=');
    if (equals == std::string_view::npos || cookie.substr(0, equals) != kTxIdCookie) continue;
    // Hexadecimal digits are checked as in a position.
    const std::string whole =
        std::string(cookie.substr(equals + 1)) + "/" + Hex16(ltx::kEmptyDatabaseChecksum);
    const auto position = ltx::ParsePosition(whole);
    return position.has_value() ? position->txid : 0;
  }
  return 0;
}

std::string CookieOf(ltx::TxId txid) {
  return fmt::format("{}={}; Path=/; Max-Age={}; HttpOnly", kTxIdCookie, Hex16(txid),
                     kCookieSeconds);
}

std::optional<Address> AddressOf(std::string_view url) {
  constexpr std::string_view kScheme = "http://";
  if (!url.starts_with(kScheme)) return std::nullopt;
  url.remove_prefix(kScheme.size());
  const size_t colon = url.rfind(':');
  if (colon == std::string_view::npos || colon == 0 || colon + 1 == url.size()) {
    return std::nullopt;
  }
  std::string_view host = url.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  return Address{.host = std::string(host), .port = std::string(url.substr(colon + 1))};
}

}  // namespace litefs::proxy
