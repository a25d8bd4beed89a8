// Keeps a signal handler that interrupts a hook's own work, and calls a hooked function, from
// waiting for the lock that the interrupted work holds.  Shim-safe.

#pragma once

namespace litefs::preload {

class Reentry {
 public:
  Reentry() : entered_(!inside) { inside = true; }
  ~Reentry() {
    if (entered_) inside = false;
  }
  Reentry(const Reentry&) = delete;
  Reentry& operator=(const Reentry&) = delete;

  // True if this thread was already inside: pass through.
  bool nested() const { return !entered_; }

 private:
  static inline constinit thread_local bool inside = false;
  const bool entered_;
};

}  // namespace litefs::preload
