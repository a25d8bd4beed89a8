// CHECK(condition): an invariant of our own code.  Always on; a violation logs the place and
// aborts the daemon.  Never for bad input (return a Status) and never in the shim.

#pragma once

#include <cstdio>
#include <cstdlib>

namespace litefs {

[[noreturn]] inline void CheckFailed(const char* file, int line, const char* condition) {
  std::fprintf(stderr, "%s:%d: CHECK failed: %s\n", file, line, condition);
  std::abort();
}

}  // namespace litefs

#define CHECK(condition)                                                     \
  do {                                                                       \
    if (!(condition)) ::litefs::CheckFailed(__FILE__, __LINE__, #condition); \
  } while (false)
