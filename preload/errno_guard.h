// Shim-safe.
#pragma once

#include <cerrno>

namespace litefs::preload {

// Restores errno on scope exit, so that a hook's own work is invisible to the application.
class ErrnoGuard {
 public:
  ErrnoGuard() : saved_(errno) {}
  ~ErrnoGuard() { errno = saved_; }
  ErrnoGuard(const ErrnoGuard&) = delete;
  ErrnoGuard& operator=(const ErrnoGuard&) = delete;

 private:
  const int saved_;
};

}  // namespace litefs::preload
