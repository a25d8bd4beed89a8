// Wakeup: an eventfd that lets any thread wake a thread that sits in Poll.

#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include "common/check.h"
#include "common/unique_fd.h"

namespace litefs::replication {

class Wakeup {
 public:
  Wakeup() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) { CHECK(fd_.valid()); }

  int fd() const { return fd_.get(); }
  // Any thread.  Never blocks: a full counter is awake already.
  void Signal() {
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t n = ::write(fd_.get(), &one, sizeof(one));
  }
  // The woken thread.
  void Clear() {
    uint64_t count;
    [[maybe_unused]] const ssize_t n = ::read(fd_.get(), &count, sizeof(count));
  }

 private:
  UniqueFd fd_;
};

}  // namespace litefs::replication
