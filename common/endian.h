// Big- and little-endian loads and stores on unaligned memory.  Shim-safe.

#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

namespace litefs {

static_assert(std::endian::native == std::endian::little, "x86-64 and aarch64 Linux only");

inline uint16_t LoadBig16(const void* p) {
  uint16_t v;
  std::memcpy(&v, p, sizeof(v));
  return __builtin_bswap16(v);
}
inline uint32_t LoadBig32(const void* p) {
  uint32_t v;
  std::memcpy(&v, p, sizeof(v));
  return __builtin_bswap32(v);
}
inline uint64_t LoadBig64(const void* p) {
  uint64_t v;
  std::memcpy(&v, p, sizeof(v));
  return __builtin_bswap64(v);
}
inline uint32_t LoadLittle32(const void* p) {
  uint32_t v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}
inline uint64_t LoadLittle64(const void* p) {
  uint64_t v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}
inline void StoreBig16(void* p, uint16_t v) {
  v = __builtin_bswap16(v);
  std::memcpy(p, &v, sizeof(v));
}
inline void StoreBig32(void* p, uint32_t v) {
  v = __builtin_bswap32(v);
  std::memcpy(p, &v, sizeof(v));
}
inline void StoreBig64(void* p, uint64_t v) {
  v = __builtin_bswap64(v);
  std::memcpy(p, &v, sizeof(v));
}
inline void StoreLittle32(void* p, uint32_t v) { std::memcpy(p, &v, sizeof(v)); }
inline void StoreLittle64(void* p, uint64_t v) { std::memcpy(p, &v, sizeof(v)); }

}  // namespace litefs
