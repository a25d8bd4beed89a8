// Mutex and CondVar: std::mutex with clang's thread-safety attributes, and the GUARDED_BY family.
//
// Not absl::Mutex: Debian's library is not built with ThreadSanitizer, which then reports a race
// for every access that it protects; std::mutex is understood by both checkers.

#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

#include "absl/base/thread_annotations.h"  // GUARDED_BY, NO_THREAD_SAFETY_ANALYSIS

#if defined(__clang__)
#define LITEFS_THREAD_ATTRIBUTE(x) __attribute__((x))
#else
#define LITEFS_THREAD_ATTRIBUTE(x)
#endif
#define CAPABILITY(x) LITEFS_THREAD_ATTRIBUTE(capability(x))
#define SCOPED_CAPABILITY LITEFS_THREAD_ATTRIBUTE(scoped_lockable)
#define REQUIRES(...) LITEFS_THREAD_ATTRIBUTE(requires_capability(__VA_ARGS__))
#define EXCLUDES(...) LITEFS_THREAD_ATTRIBUTE(locks_excluded(__VA_ARGS__))
#define ACQUIRE(...) LITEFS_THREAD_ATTRIBUTE(acquire_capability(__VA_ARGS__))
#define RELEASE(...) LITEFS_THREAD_ATTRIBUTE(release_capability(__VA_ARGS__))

namespace litefs {

class CAPABILITY("mutex") Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;
  void Lock() ACQUIRE() { mu_.lock(); }
  void Unlock() RELEASE() { mu_.unlock(); }

 private:
  friend class CondVar;
  std::mutex mu_;
};

class SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mu) ACQUIRE(mu) : mu_(mu) { mu_.Lock(); }
  ~MutexLock() RELEASE() { mu_.Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mu_;
};

class CondVar {
 public:
  // Waits until notified (or spuriously woken).  REQUIRES: the caller holds mu.
  void Wait(Mutex& mu) REQUIRES(mu) {
    std::unique_lock<std::mutex> lock(mu.mu_, std::adopt_lock);
    cv_.wait(lock);
    lock.release();
  }
  // As Wait, at most until deadline.  Returns false when the deadline has passed.
  bool WaitUntil(Mutex& mu, std::chrono::steady_clock::time_point deadline) REQUIRES(mu) {
    std::unique_lock<std::mutex> lock(mu.mu_, std::adopt_lock);
    const bool in_time = cv_.wait_until(lock, deadline) == std::cv_status::no_timeout;
    lock.release();
    return in_time;
  }
  void NotifyAll() { cv_.notify_all(); }

 private:
  std::condition_variable cv_;
};

}  // namespace litefs
