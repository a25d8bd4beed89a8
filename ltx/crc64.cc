// The CRC of a message is message * x^64 modulo P, with the ones of initial and final value.
// Crc64Portable keeps eight words that stand for the message so far: eight bytes further on, the
// whole is multiplied by x^512 and the next 64 bytes are added, all words alike and independently
// (two a vector register).  At the end the eight words are a message of 64 bytes like any other.

#include "ltx/crc64.h"

#include "common/endian.h"
#include "ltx/crc64_polynomial.h"

namespace litefs::ltx {
namespace {

using Vector = uint64_t __attribute__((vector_size(16)));

bool UseClmul() {
  static const bool kUse = HaveClmul();
  return kUse;
}

Vector LoadVector(const std::byte* p) {
  Vector v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}

// The state after fewer than 8 bytes more.
uint64_t AddTail(uint64_t state, const std::byte* p, size_t n) {
  if (n == 0) return state;
  uint64_t last = 0;
  std::memcpy(&last, p, n);
  state ^= last;
  return state >> (8 * n) ^ internal::MultiplyX64(state << (64 - 8 * n));
}

// The state after n >= 64 bytes, a multiple of 64.
uint64_t AddBlocks(uint64_t state, const std::byte* p, size_t n) {
  Vector a = LoadVector(p), b = LoadVector(p + 16);
  Vector c = LoadVector(p + 32), d = LoadVector(p + 48);
  a[0] ^= state;
  for (const std::byte* const end = p + n; (p += 64) != end;) {
    a = internal::MultiplyX512(a) ^ LoadVector(p);
    b = internal::MultiplyX512(b) ^ LoadVector(p + 16);
    c = internal::MultiplyX512(c) ^ LoadVector(p + 32);
    d = internal::MultiplyX512(d) ^ LoadVector(p + 48);
  }
  state = 0;
  for (const Vector v : {a, b, c, d}) {
    state = internal::MultiplyX64(state ^ v[0]);
    state = internal::MultiplyX64(state ^ v[1]);
  }
  return state;
}

}  // namespace

uint64_t Crc64Portable(uint64_t crc, std::span<const std::byte> data) {
  uint64_t state = ~crc;
  const std::byte* p = data.data();
  size_t n = data.size();
  if (n >= 64) {
    const size_t blocks = n & ~size_t{63};
    state = AddBlocks(state, p, blocks);
    p += blocks;
    n -= blocks;
  }
  for (; n >= 8; p += 8, n -= 8) state = internal::MultiplyX64(state ^ LoadLittle64(p));
  return ~AddTail(state, p, n);
}

uint64_t Crc64(uint64_t crc, std::span<const std::byte> data) {
  // Below two folds of 128 bytes the set-up costs more than it saves.
  return data.size() >= 64 && UseClmul() ? Crc64Clmul(crc, data) : Crc64Portable(crc, data);
}

uint64_t Crc64Combine(uint64_t crc_a, uint64_t crc_b, uint64_t length_b) {
  return Crc64Combiner(length_b).Combine(crc_a, crc_b);
}

Crc64Combiner::Crc64Combiner(uint64_t length_b) {
  // length_b * 8 may overflow, so the exponent counts bytes of x^8.
  uint64_t power = internal::kOne;
  for (uint64_t square = internal::kOne >> 8; length_b != 0; length_b >>= 1) {
    if ((length_b & 1) != 0) power = internal::Multiply(power, square);
    square = internal::Multiply(square, square);
  }
  factor_ = UseClmul() ? internal::Multiply(power, internal::kInverseX) : power;
}

uint64_t Crc64Combiner::Combine(uint64_t crc_a, uint64_t crc_b) const {
  const uint64_t shifted =
      UseClmul() ? internal::MultiplyClmul(crc_a, factor_) : internal::Multiply(crc_a, factor_);
  return shifted ^ crc_b;
}

}  // namespace litefs::ltx
