// TaskQueue: what a loop is given to do, from any thread or at a later time.  Its descriptor is
// readable when something was posted.

#pragma once

#include <chrono>
#include <compare>
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
  // Of a task that waits for its time.  The default one is of none.
  struct Timer {
    Time due{};
    uint64_t id = 0;
    friend auto operator<=>(const Timer&, const Timer&) = default;
  };

  // Any thread: task is run by the loop, soon.
  void Post(Task task) EXCLUDES(mu_);
  // Any thread: wakes the loop.
  void Wake();

  // The loop's thread.
  bool valid() const { return wakeup_.valid(); }
  int fd() const { return wakeup_.get(); }
  Timer After(std::chrono::milliseconds delay, Task task);
  // The task will not be run; nothing, if it has been.
  void Cancel(const Timer& timer) { timed_.erase(timer); }
  void RunPosted() EXCLUDES(mu_);
  void RunDue(Time now);
  // When RunDue has something to do; nullopt: nothing waits.
  std::optional<Time> next_due() const;

  TaskQueue();

 private:
  UniqueFd wakeup_;
  std::map<Timer, Task> timed_;
  uint64_t last_timer_ = 0;
  Mutex mu_;
  std::deque<Task> posted_ GUARDED_BY(mu_);
};

}  // namespace litefs::session
