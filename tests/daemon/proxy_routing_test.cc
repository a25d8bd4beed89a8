// Where the proxy sends a request, and its cookie.

#include <gtest/gtest.h>

#include "daemon/proxy/routing.h"

namespace litefs::proxy {
namespace {

const std::vector<std::string> kPassthrough = {"*.png", "/static/*"};

Route To(std::string_view method, std::string_view target, ltx::TxId txid, bool primary) {
  return RouteOf(Request{.method = method, .target = target, .txid = txid}, primary, kPassthrough);
}

TEST(ProxyRouting, ReadsWaitOnAReplicaForWhatTheClientWrote) {
  EXPECT_EQ(To("GET", "/", 5, false), Route::kAfterWait);
  EXPECT_EQ(To("HEAD", "/", 5, false), Route::kAfterWait);
  EXPECT_EQ(To("GET", "/", 0, false), Route::kTarget);
  EXPECT_EQ(To("GET", "/", 5, true), Route::kTarget);
}

TEST(ProxyRouting, WritesGoToThePrimary) {
  for (const char* method : {"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW", "get"}) {
    EXPECT_EQ(To(method, "/", 5, false), Route::kToPrimary) << method;
    EXPECT_EQ(To(method, "/", 0, true), Route::kWithCookie) << method;
  }
}

TEST(ProxyRouting, SomePathsGoStraight) {
  EXPECT_EQ(To("GET", "/a/b.png?x=1", 5, false), Route::kTarget);
  EXPECT_EQ(To("POST", "/static/x", 5, false), Route::kTarget);
  EXPECT_EQ(To("POST", "/x?a=.png", 5, false), Route::kToPrimary) << "the path counts";
}

TEST(ProxyRouting, FindsTheTransactionInTheCookies) {
  EXPECT_EQ(TxIdOf("__txid=000000000000002a"), 42);
  EXPECT_EQ(TxIdOf("a=b; __txid=000000000000002a; c=d"), 42);
  EXPECT_EQ(TxIdOf(" a=b ;__txid=000000000000002a"), 42);
  for (const char* none :
       {"", ";", "=", "__txid", "__txid=", "__txid=2a", "x__txid=000000000000002a",
        "__txid=000000000000002A/", "__txid=000000000000002g", "__txid=-1;;;"}) {
    EXPECT_EQ(TxIdOf(none), 0) << none;
  }
}

TEST(ProxyRouting, MakesACookieThatItFindsAgain) {
  const std::string cookie = CookieOf(42);
  EXPECT_EQ(TxIdOf(cookie), 42);
  EXPECT_NE(cookie.find("; HttpOnly"), std::string::npos);
}

TEST(ProxyRouting, TakesAnAddressApart) {
  EXPECT_EQ(AddressOf("http://a.example:80")->host, "a.example");
  EXPECT_EQ(AddressOf("http://a.example:80")->port, "80");
  EXPECT_EQ(AddressOf("http://[::1]:8080")->host, "::1");
  for (const char* bad : {"", "https://a:1", "http://a", "http://:80", "http://a:"}) {
    EXPECT_FALSE(AddressOf(bad).has_value()) << bad;
  }
}

}  // namespace
}  // namespace litefs::proxy
