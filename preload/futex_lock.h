// A mutex of one word over raw futex calls: constant-initialised, no cancellation point, and simply
// forgotten in a forked child.  Shim-safe.

#pragma once

#include <linux/futex.h>

#include <atomic>
#include <cstdint>

#include "common/raw_syscall.h"

namespace litefs::preload {

class FutexLock {
 public:
  void Lock() {
    uint32_t seen = kFree;
    if (word_.compare_exchange_strong(seen, kHeld, std::memory_order_acquire)) return;
    while (word_.exchange(kContended, std::memory_order_acquire) != kFree) {
      RawSyscall(SYS_futex, &word_, FUTEX_WAIT_PRIVATE, kContended, nullptr, nullptr, 0);
    }
  }
  void Unlock() {
    if (word_.exchange(kFree, std::memory_order_release) == kContended) {
      RawSyscall(SYS_futex, &word_, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
    }
  }
  // In a forked child, which has none of the threads that could hold it.
  void Forget() { word_.store(kFree, std::memory_order_relaxed); }

 private:
  static constexpr uint32_t kFree = 0;
  static constexpr uint32_t kHeld = 1;
  static constexpr uint32_t kContended = 2;
  std::atomic<uint32_t> word_{kFree};
};

class FutexLockHolder {
 public:
  explicit FutexLockHolder(FutexLock& lock) : lock_(lock) { lock_.Lock(); }
  ~FutexLockHolder() { lock_.Unlock(); }
  FutexLockHolder(const FutexLockHolder&) = delete;
  FutexLockHolder& operator=(const FutexLockHolder&) = delete;

 private:
  FutexLock& lock_;
};

}  // namespace litefs::preload
