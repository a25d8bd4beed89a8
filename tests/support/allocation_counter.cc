#include "tests/support/allocation_counter.h"

#include <cstdlib>
#include <new>

#ifdef LITEFS_COUNT_ALLOCATIONS

static thread_local uint64_t allocations = 0;

// Not inlined, or the compiler finds fault with a free() that it sees beside a new.
__attribute__((noinline)) void* operator new(size_t size) {
  ++allocations;
  if (void* const memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
__attribute__((noinline)) void operator delete(void* memory) noexcept { std::free(memory); }
__attribute__((noinline)) void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace litefs::test {

uint64_t AllocationCounter::Total() { return allocations; }

}  // namespace litefs::test

#endif
