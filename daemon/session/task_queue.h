// TaskQueue: what a loop is given to do, from any thread or at a later time.  Its descriptor is
// readable when something was posted.

#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>

#include "common/mutex.h"
#include "common/unique_fd.h"

namespace litefs::session {

class TaskQueue {
 public:
  using Task = std::function<void()>;
  using Time = std::chrono::steady_clock::time_point;

  // Any thread: task is run by the loop, soon.
  void Post(Task task) EXCLUDES(mu_);
  // Any thread: wakes the loop.
  void Wake();

  // The loop's thread.
  bool valid() const { return wakeup_.valid(); }
  int fd() const { return wakeup_.get(); }
  void After(std::chrono::milliseconds delay, Task task);
  void RunPosted() EXCLUDES(mu_);
  void RunDue(Time now);
  // When RunDue has something to do; nullopt: nothing waits.
  std::optional<Time> next_due() const;

  TaskQueue();

 private:
  UniqueFd wakeup_;
  std::multimap<Time, Task> timed_;
  Mutex mu_;
  std::deque<Task> posted_ GUARDED_BY(mu_);
};

}  // namespace litefs::session
