// Where the proxy sends a request, its cookie, and its globs.

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

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
    EXPECT_EQ(To(method, "/", 5, false), Route::kRedirect) << method;
    EXPECT_EQ(To(method, "/", 0, true), Route::kWithCookie) << method;
  }
}

TEST(ProxyRouting, SomePathsGoStraight) {
  EXPECT_EQ(To("GET", "/a/b.png?x=1", 5, false), Route::kTarget);
  EXPECT_EQ(To("POST", "/static/x", 5, false), Route::kTarget);
  EXPECT_EQ(To("POST", "/x?a=.png", 5, false), Route::kRedirect) << "the path counts";
}

TEST(ProxyGlob, AStarIsAnyNumberOfCharacters) {
  for (const char* glob : {"/a/b.c", "*", "**", "/*", "*c", "/a*", "/a*b*c", "*a*", "/a/b.c*"}) {
    EXPECT_TRUE(MatchesGlob(glob, "/a/b.c")) << glob;
  }
  for (const char* glob : {"", "/a/b", "b*", "*b", "/a/*/b.c", "/a/b.c*c", "*b.c*c", "/a/b?c",
                           "/a/b[.]c", "/A/*", "/a/b.c/"}) {
    EXPECT_FALSE(MatchesGlob(glob, "/a/b.c")) << glob;
  }
  EXPECT_FALSE(MatchesGlob("/aba*aba", "/aba")) << "no character counts twice";
  EXPECT_TRUE(MatchesGlob("*ab*ab", "ababab"));
}

// Where one tries every place for every star this takes hours.
TEST(ProxyGlob, IsQuickOnWhatAStrangerMadeUp) {
  std::string glob;
  for (int i = 0; i < 20; ++i) glob += "*a";
  const auto start = std::chrono::steady_clock::now();
  EXPECT_FALSE(MatchesGlob(glob + "*b", std::string(32768, 'a')));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

TEST(ProxyCookie, IsFoundAmongOthers) {
  EXPECT_EQ(TxIdOf("__txid=000000000000002a"), 42);
  EXPECT_EQ(TxIdOf("__txid=000000000000002A"), 42);
  EXPECT_EQ(TxIdOf("a=b; __txid=000000000000002a; c=d"), 42);
  EXPECT_EQ(TxIdOf(" a=b ;__txid=000000000000002a"), 42);
  EXPECT_EQ(TxIdOf("__txid=ffffffffffffffff"), ~ltx::TxId{0});
  for (const char* none :
       {"", ";", "=", "__txid", "__txid=", "__txid=2a", "x__txid=000000000000002a",
        "__txid=000000000000002a/", "__txid=000000000000002g", "__txid=-1;;;"}) {
    EXPECT_EQ(TxIdOf(none), 0) << none;
  }
}

TEST(ProxyCookie, IsUnderstoodAgain) {
  EXPECT_EQ(CookieOf(42), "__txid=000000000000002a; Path=/; Max-Age=300; HttpOnly");
  EXPECT_EQ(TxIdOf(CookieOf(42)), 42);
}

}  // namespace
}  // namespace litefs::proxy
