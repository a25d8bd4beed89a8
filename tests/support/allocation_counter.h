// AllocationCounter: how often this thread has asked operator new for memory since the counter was
// made.  Libraries in C are not counted.

#pragma once

#include <cstdint>

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
