// The HTTP API's parts that need no socket; tests/system/http_test.py has the rest.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "daemon/http/event_feed.h"
#include "daemon/http/metrics_text.h"

namespace litefs::http {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;
using ::testing::Not;

Event Transaction(uint64_t txid) {
  return {.database = "app.db", .min_txid = txid, .max_txid = txid};
}

TEST(EventFeed, GivesEachListenerWhatCameSinceItCame) {
  EventFeed feed;
  feed.Publish(Transaction(1));
  const auto first = feed.Listen();
  feed.Publish(Transaction(2));
  const auto second = feed.Listen();
  feed.Publish(Transaction(3));
  EXPECT_EQ(first->Next(milliseconds(0))->max_txid, 2u);
  EXPECT_EQ(first->Next(milliseconds(0))->max_txid, 3u);
  EXPECT_EQ(first->Next(milliseconds(0)), std::nullopt);
  EXPECT_EQ(second->Next(milliseconds(0))->max_txid, 3u);
}

TEST(EventFeed, TellsASlowListenerHowMuchItMissed) {
  EventFeed feed;
  const auto listener = feed.Listen();
  for (uint64_t i = 1; i <= EventFeed::kMaxQueued + 10; ++i) feed.Publish(Transaction(i));
  const auto lost = listener->Next(milliseconds(0));
  ASSERT_TRUE(lost.has_value());
  EXPECT_EQ(lost->kind, Event::Kind::kLost);
  EXPECT_EQ(lost->lost, EventFeed::kMaxQueued + 10);
  feed.Publish(Transaction(7));
  EXPECT_EQ(listener->Next(milliseconds(0))->max_txid, 7u);
}

TEST(EventFeed, TakesNoMoreListenersThanItSays) {
  EventFeed feed;
  std::vector<std::unique_ptr<EventFeed::Listener>> listeners;
  for (size_t i = 0; i < EventFeed::kMaxListeners; ++i) {
    listeners.push_back(feed.Listen());
    ASSERT_NE(listeners.back(), nullptr);
  }
  EXPECT_EQ(feed.Listen(), nullptr);
  listeners.pop_back();
  EXPECT_NE(feed.Listen(), nullptr);
}

TEST(EventFeed, ClosingWakesWhoWaits) {
  EventFeed feed;
  const auto listener = feed.Listen();
  std::thread waiter([&] { EXPECT_EQ(listener->Next(std::chrono::minutes(10)), std::nullopt); });
  feed.Close();
  waiter.join();
  EXPECT_EQ(feed.Listen(), nullptr);
}

TEST(Metrics, HaveTheNodesNumbers) {
  const nlohmann::json status = {
      {"version", "1"},
      {"role", "replica"},
      {"uptime_ms", 1500},
      {"databases",
       {{{"name", "a\"b.db"},
         {"txid", "000000000000002a"},
         {"pages", 7},
         {"reconciled", 3},
         {"lag", {{"ms", 2500}}},
         {"sync", {{"degraded", true}}}}}},
      {"replication",
       {{"connected", true},
        {"replicas",
         {{{"node_id", "n1"},
           {"last_seen_ms", 250},
           {"databases", {{{"name", "app.db"}, {"txid", "0000000000000010"}}}}}}}}},
      {"counters", {{"drains", 5}, {"reconciled", 3}}}};
  const std::string text = MetricsText(status);
  EXPECT_THAT(text, HasSubstr("litefs_is_primary 0\n"));
  EXPECT_THAT(text, HasSubstr("litefs_uptime_seconds 1.5\n"));
  EXPECT_THAT(text, HasSubstr("# TYPE litefs_reconciled_total counter\n"));
  EXPECT_THAT(text, HasSubstr("litefs_database_txid{db=\"a\\\"b.db\"} 42\n"));
  EXPECT_THAT(text, HasSubstr("litefs_sync_degraded{db=\"a\\\"b.db\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("litefs_lag_seconds{db=\"a\\\"b.db\"} 2.5\n"));
  EXPECT_THAT(text, HasSubstr("litefs_connected 1\n"));
  EXPECT_THAT(text, HasSubstr("litefs_replica_last_seen_seconds{node=\"n1\"} 0.25\n"));
  EXPECT_THAT(text, HasSubstr("litefs_replica_txid{node=\"n1\",db=\"app.db\"} 16\n"));
  EXPECT_THAT(text, HasSubstr("litefs_drains_total 5\n"));
  EXPECT_THAT(text, Not(HasSubstr("litefs_reconciled_total 3\n")));  // declared once, by database
  EXPECT_THAT(text, Not(HasSubstr("litefs_sessions")));              // not in this status
}

TEST(Metrics, OfNoStatusAtAllAreStillText) {
  EXPECT_THAT(MetricsText(nlohmann::json()), HasSubstr("litefs_info"));
}

TEST(Metrics, LabelsCannotBreakOut) { EXPECT_EQ(EscapeLabel("a\\b\"c\nd"), "a\\\\b\\\"c\\nd"); }

}  // namespace
}  // namespace litefs::http
