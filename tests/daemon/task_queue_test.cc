// TaskQueue: what is posted from other threads, what waits for its time, and what is cancelled.

#include "daemon/session/task_queue.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <chrono>
#include <string>
#include <thread>

namespace litefs::session {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

TEST(TaskQueue, RunsWhatOtherThreadsPostInTheirOrder) {
  TaskQueue tasks;
  std::string order;
  std::thread([&] {
    tasks.Post([&] { order += 'a'; });
    tasks.Post([&] { order += 'b'; });
  }).join();
  pollfd readable{.fd = tasks.fd(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(::poll(&readable, 1, 0), 1);
  tasks.RunPosted();
  EXPECT_EQ(order, "ab");
  EXPECT_EQ(::poll(&readable, 1, 0), 0);
}

TEST(TaskQueue, RunsWhatIsDueAndNotWhatWasCancelled) {
  TaskQueue tasks;
  std::string order;
  tasks.After(milliseconds(2000), [&] { order += 'c'; });
  const TaskQueue::Timer cancelled = tasks.After(milliseconds(1000), [&] { order += 'x'; });
  tasks.After(milliseconds(1000), [&] { order += 'a'; });
  tasks.Cancel(cancelled);
  tasks.Cancel({});  // of none
  const auto now = steady_clock::now();
  tasks.RunDue(now);
  EXPECT_EQ(order, "");
  ASSERT_TRUE(tasks.next_due().has_value());
  EXPECT_LE(*tasks.next_due(), now + milliseconds(1000));
  tasks.RunDue(now + milliseconds(1500));
  EXPECT_EQ(order, "a");
  tasks.RunDue(now + milliseconds(2500));
  EXPECT_EQ(order, "ac");
  EXPECT_FALSE(tasks.next_due().has_value());
  tasks.Cancel(cancelled);  // it has gone
}

TEST(TaskQueue, ATaskMayCancelAndAdd) {
  TaskQueue tasks;
  int ran = 0;
  TaskQueue::Timer other;
  tasks.After(milliseconds(1), [&] {
    tasks.Cancel(other);
    tasks.After(milliseconds(0), [&] { ++ran; });
  });
  other = tasks.After(milliseconds(2), [&] { ran += 100; });
  tasks.RunDue(steady_clock::now() + milliseconds(500));
  EXPECT_EQ(ran, 1);
}

}  // namespace
}  // namespace litefs::session
