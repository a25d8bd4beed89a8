#include "daemon/session/task_queue.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <utility>

namespace litefs::session {

TaskQueue::TaskQueue() : wakeup_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

void TaskQueue::Post(Task task) {
  {
    MutexLock lock(mu_);
    posted_.push_back(std::move(task));
  }
  Wake();
}

void TaskQueue::Wake() {
  const uint64_t one = 1;
  (void)!::write(wakeup_.get(), &one, sizeof(one));
}

TaskQueue::Timer TaskQueue::After(std::chrono::milliseconds delay, Task task) {
  const Timer timer{.due = std::chrono::steady_clock::now() + delay, .id = ++last_timer_};
  timed_.emplace(timer, std::move(task));
  return timer;
}

void TaskQueue::RunPosted() {
  uint64_t count;
  (void)!::read(wakeup_.get(), &count, sizeof(count));
  std::deque<Task> tasks;
  {
    MutexLock lock(mu_);
    tasks.swap(posted_);
  }
  for (const Task& task : tasks) task();
}

void TaskQueue::RunDue(Time now) {
  while (!timed_.empty() && timed_.begin()->first.due <= now) {
    const Task task = std::move(timed_.extract(timed_.begin()).mapped());
    task();
  }
}

std::optional<TaskQueue::Time> TaskQueue::next_due() const {
  if (timed_.empty()) return std::nullopt;
  return timed_.begin()->first.due;
}

}  // namespace litefs::session
