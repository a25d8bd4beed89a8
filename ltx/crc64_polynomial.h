// Arithmetic modulo P = x^64 + x^4 + x^3 + x + 1 over GF(2), for Crc64.  Polynomials are reflected:
// bit i of a word is the coefficient of x^(63 - i), so that multiplying by x shifts right.
//
// P has so few terms that no tables are needed.  Since x^64 = x^4 + x^3 + x + 1, multiplying by
// x^64 (what a CRC does to its state for 8 bytes of input) takes four shifts for the product, and
// four more to reduce the three words' overflow, which has degree 3 at most and so fits at once.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace litefs::ltx::internal {

inline constexpr uint64_t kPolynomial = 0xd800000000000000;  // x^4 + x^3 + x + 1, reflected
inline constexpr uint64_t kOne = uint64_t{1} << 63;
inline constexpr uint64_t kX = kOne >> 1;

// high * x^64 for a polynomial of degree < 60: no overflow.
template <typename Word>
constexpr Word ReduceHigh(Word high) {
  return high ^ (high >> 1) ^ (high >> 3) ^ (high >> 4);
}

// a * x^64
constexpr uint64_t MultiplyX64(uint64_t a) {
  return ReduceHigh(a) ^ ReduceHigh((a << 63) ^ (a << 61) ^ (a << 60));
}

// a * x^512, by x^512 = (x^64)^8 = x^32 + x^24 + x^8 + 1.  Word: uint64_t or a vector of them.
template <typename Word>
constexpr Word MultiplyX512(Word a) {
  const Word high = (a << 56) ^ (a << 40) ^ (a << 32);
  return a ^ (a >> 8) ^ (a >> 24) ^ (a >> 32) ^ ReduceHigh(high);
}

// a * b, four bits of b a step.
constexpr uint64_t Multiply(uint64_t a, uint64_t b) {
  uint64_t multiple[16] = {};  // of a, by the polynomial whose reflected bits are the index
  for (int i = 3, bit = 3; i >= 0; --i, --bit) {
    for (int j = 0; j < 16; ++j) multiple[j] ^= (j >> bit & 1) != 0 ? a : 0;
    a = a >> 1 ^ ((a & 1) != 0 ? kPolynomial : 0);
  }
  uint64_t product = 0;
  for (int i = 0; i < 64; i += 4) {
    product = product >> 4 ^ ReduceHigh(product << 60) ^ multiple[b >> i & 15];
  }
  return product;
}

// x^exponent
constexpr uint64_t PowerOfX(uint64_t exponent) {
  uint64_t power = kOne;
  for (uint64_t square = kX; exponent != 0; exponent >>= 1) {
    if ((exponent & 1) != 0) power = Multiply(power, square);
    square = Multiply(square, square);
  }
  return power;
}

// 1/x, since x * (x^63 + x^3 + x^2 + 1) = 1.
inline constexpr uint64_t kInverseX = 1 | kOne >> 3 | kOne >> 2 | kOne;
static_assert(Multiply(kInverseX, kX) == kOne);
static_assert(PowerOfX(64) == kPolynomial && MultiplyX64(kOne) == kPolynomial);
static_assert(MultiplyX512(uint64_t{0x123456789abcdef1}) ==
              Multiply(0x123456789abcdef1, PowerOfX(512)));

// a * b * x by carry-less multiplication.  REQUIRES: HaveClmul()
uint64_t MultiplyClmul(uint64_t a, uint64_t b);

// Crc64Clmul as it is on a CPU without VPCLMULQDQ.  REQUIRES: HaveClmul()
uint64_t Crc64NarrowClmul(uint64_t crc, std::span<const std::byte> data);

}  // namespace litefs::ltx::internal
