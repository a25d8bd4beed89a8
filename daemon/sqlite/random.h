// Random numbers for nonces and salts.  Any thread.

#pragma once

#include <sys/random.h>

#include <cstdint>

#include "common/check.h"

namespace litefs::sqlite {

inline uint32_t RandomUint32() {
  uint32_t v;
  // Never short or interrupted for so few bytes (getrandom(2)).
  CHECK(::getrandom(&v, sizeof(v), 0) == sizeof(v));
  return v;
}

}  // namespace litefs::sqlite
