// BellPacer: when the daemon sleeps, and when it looks by itself.

#include "daemon/session/bell_pacer.h"

#include <gtest/gtest.h>

namespace litefs::session {
namespace {

constexpr int64_t kUs = 1000, kMs = 1000 * kUs;

TEST(BellPacerTest, ACommitThatComesAloneLetsItSleep) {
  BellPacer pacer;
  EXPECT_EQ(pacer.Looked(0, 100 * kUs, false), 0);
  EXPECT_EQ(pacer.Looked(2 * kMs, 2 * kMs + 100 * kUs, false), 0);  // 500 a second
  EXPECT_EQ(pacer.Looked(20 * kMs, 20 * kMs + 100 * kUs, false), 0);
}

TEST(BellPacerTest, CommitsThatComeFasterAreLookedAtByTheMillisecond) {
  BellPacer pacer;
  EXPECT_EQ(pacer.Looked(0, 100 * kUs, false), 0);
  EXPECT_EQ(pacer.Looked(400 * kUs, 500 * kUs, false), kMs - 100 * kUs);
  EXPECT_EQ(pacer.Looked(1400 * kUs, 1600 * kUs, false), kMs - 200 * kUs);
  EXPECT_EQ(pacer.Looked(4 * kMs, 4 * kMs + 100 * kUs, false), 0);  // and no longer
}

TEST(BellPacerTest, ALookThatTookLongIsFollowedByNoPauseButForWritersThatOutrunIt) {
  BellPacer pacer;
  EXPECT_EQ(pacer.Looked(0, 2 * kMs, false), 0);
  EXPECT_EQ(pacer.Looked(1 * kMs, 4 * kMs, false), 0);
}

TEST(BellPacerTest, WritersThatOutrunItGetTheProcessor) {
  BellPacer pacer;
  EXPECT_EQ(pacer.Looked(0, 10 * kUs, true), BellPacer::kIntervalNs);
  EXPECT_EQ(pacer.Looked(2 * kMs, 2 * kMs + 500 * kUs, true), 2 * kMs);
  EXPECT_EQ(pacer.Looked(5 * kMs, 8 * kMs, true), BellPacer::kLongestNs);
}

}  // namespace
}  // namespace litefs::session
