// AllocationCounter: how often this thread has asked operator new for memory since the counter was
// made.  Libraries in C are not counted.  Not where a sanitizer has its own operator new: tests
// that count are left out there (LITEFS_COUNT_ALLOCATIONS).

#pragma once

#include <cstdint>

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define LITEFS_COUNT_ALLOCATIONS
#endif

namespace litefs::test {

class AllocationCounter {
 public:
  AllocationCounter() : begin_(Total()) {}
  uint64_t count() const { return Total() - begin_; }

 private:
  static uint64_t Total();
  const uint64_t begin_;
};

}  // namespace litefs::test
