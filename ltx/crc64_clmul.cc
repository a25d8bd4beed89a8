// CRC-64 by carry-less multiplication (Gopal et al., "Fast CRC Computation for Generic Polynomials
// Using PCLMULQDQ").  Eight registers of 16 bytes stand for the message so far; to move one D bits
// further, its halves are multiplied by x^(D+64) and x^D modulo P.  The product of two reflected
// words comes out multiplied by x once too often, hence the exponents less one.  Where the CPU
// multiplies two pairs at once (VPCLMULQDQ), four registers of 32 bytes stand for the same.
//
// No special compiler flags: the functions carry their own target attribute.

#include "common/check.h"
#include "ltx/crc64.h"
#include "ltx/crc64_polynomial.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define LITEFS_CLMUL __attribute__((target("pclmul,sse4.1")))
#define LITEFS_CLMUL_WIDE __attribute__((target("pclmul,sse4.1,avx2,vpclmulqdq")))

namespace litefs::ltx {
namespace {

constexpr size_t kLanes = 8;
constexpr size_t kStride = kLanes * sizeof(__m128i);

// The low half of a register holds the earlier bytes and so the higher powers.
template <int kBits>
LITEFS_CLMUL inline __m128i Advance(__m128i v) {
  constexpr uint64_t kLow = internal::PowerOfX(kBits + 63);
  constexpr uint64_t kHigh = internal::PowerOfX(kBits - 1);
  const __m128i factors =
      _mm_set_epi64x(static_cast<long long>(kHigh), static_cast<long long>(kLow));
  return _mm_xor_si128(_mm_clmulepi64_si128(v, factors, 0x00),
                       _mm_clmulepi64_si128(v, factors, 0x11));
}

LITEFS_CLMUL inline __m128i Load(const std::byte* p) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}

// Eight registers, one after the other, in the last.
LITEFS_CLMUL inline __m128i Join(__m128i v[kLanes]) {
  for (size_t i = 0; i < 4; ++i) v[i] = _mm_xor_si128(Advance<512>(v[i]), v[i + 4]);
  for (size_t i = 0; i < 2; ++i) v[i] = _mm_xor_si128(Advance<256>(v[i]), v[i + 2]);
  return _mm_xor_si128(Advance<128>(v[0]), v[1]);
}

// One register for n >= kStride bytes, a multiple of kStride.
LITEFS_CLMUL __m128i FoldLanes(uint64_t state, const std::byte* p, size_t n) {
  __m128i v[kLanes];
  for (size_t i = 0; i < kLanes; ++i) v[i] = Load(p + 16 * i);
  v[0] = _mm_xor_si128(v[0], _mm_cvtsi64_si128(static_cast<long long>(state)));
  for (const std::byte* const end = p + n; (p += kStride) != end;) {
#pragma GCC unroll 8
    for (size_t i = 0; i < kLanes; ++i) {
      v[i] = _mm_xor_si128(Advance<8 * kStride>(v[i]), Load(p + 16 * i));
    }
  }
  return Join(v);
}

LITEFS_CLMUL_WIDE inline __m256i LoadPair(const std::byte* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}

// As FoldLanes.
LITEFS_CLMUL_WIDE __m128i FoldPairs(uint64_t state, const std::byte* p, size_t n) {
  constexpr uint64_t kLow = internal::PowerOfX(8 * kStride + 63);
  constexpr uint64_t kHigh = internal::PowerOfX(8 * kStride - 1);
  const __m256i factors = _mm256_broadcastsi128_si256(
      _mm_set_epi64x(static_cast<long long>(kHigh), static_cast<long long>(kLow)));
  __m256i w[kLanes / 2];
  for (size_t i = 0; i < kLanes / 2; ++i) w[i] = LoadPair(p + 32 * i);
  w[0] = _mm256_xor_si256(w[0],
                          _mm256_zextsi128_si256(_mm_cvtsi64_si128(static_cast<long long>(state))));
  for (const std::byte* const end = p + n; (p += kStride) != end;) {
#pragma GCC unroll 4
    for (size_t i = 0; i < kLanes / 2; ++i) {
      const __m256i moved = _mm256_xor_si256(_mm256_clmulepi64_epi128(w[i], factors, 0x00),
                                             _mm256_clmulepi64_epi128(w[i], factors, 0x11));
      w[i] = _mm256_xor_si256(moved, LoadPair(p + 32 * i));
    }
  }
  __m128i v[kLanes];
  for (size_t i = 0; i < kLanes / 2; ++i) {
    v[2 * i] = _mm256_castsi256_si128(w[i]);
    v[2 * i + 1] = _mm256_extracti128_si256(w[i], 1);
  }
  return Join(v);
}

bool HaveWideClmul() {
  static const bool kHave =
      HaveClmul() && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("vpclmulqdq");
  return kHave;
}

template <__m128i (*kFoldStrides)(uint64_t, const std::byte*, size_t)>
LITEFS_CLMUL uint64_t Fold(uint64_t crc, const std::byte* p, size_t n) {
  __m128i v;
  size_t done;
  if (n >= kStride) {
    done = n & ~(kStride - 1);
    v = kFoldStrides(~crc, p, done);
  } else {
    done = 16;
    v = _mm_xor_si128(Load(p), _mm_cvtsi64_si128(static_cast<long long>(~crc)));
  }
  for (; n - done >= 16; done += 16) v = _mm_xor_si128(Advance<128>(v), Load(p + done));
  const auto low = static_cast<uint64_t>(_mm_cvtsi128_si64(v));
  const auto high = static_cast<uint64_t>(_mm_extract_epi64(v, 1));
  const uint64_t state = internal::MultiplyX64(internal::MultiplyX64(low) ^ high);
  return Crc64Portable(~state, {p + done, n - done});
}

LITEFS_CLMUL uint64_t MultiplyAndReduce(uint64_t a, uint64_t b) {
  const __m128i v = _mm_clmulepi64_si128(_mm_cvtsi64_si128(static_cast<long long>(a)),
                                         _mm_cvtsi64_si128(static_cast<long long>(b)), 0x00);
  return internal::MultiplyX64(static_cast<uint64_t>(_mm_cvtsi128_si64(v))) ^
         static_cast<uint64_t>(_mm_extract_epi64(v, 1));
}

}  // namespace

bool HaveClmul() { return __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1"); }

uint64_t Crc64Clmul(uint64_t crc, std::span<const std::byte> data) {
  if (data.size() < 16) return Crc64Portable(crc, data);
  return HaveWideClmul() ? Fold<FoldPairs>(crc, data.data(), data.size())
                         : Fold<FoldLanes>(crc, data.data(), data.size());
}

uint64_t internal::Crc64NarrowClmul(uint64_t crc, std::span<const std::byte> data) {
  if (data.size() < 16) return Crc64Portable(crc, data);
  return Fold<FoldLanes>(crc, data.data(), data.size());
}

uint64_t internal::MultiplyClmul(uint64_t a, uint64_t b) { return MultiplyAndReduce(a, b); }

}  // namespace litefs::ltx

#else

namespace litefs::ltx {

bool HaveClmul() { return false; }

uint64_t Crc64Clmul(uint64_t, std::span<const std::byte>) {
  CHECK(false);
  return 0;
}

uint64_t internal::Crc64NarrowClmul(uint64_t, std::span<const std::byte>) {
  CHECK(false);
  return 0;
}

uint64_t internal::MultiplyClmul(uint64_t, uint64_t) {
  CHECK(false);
  return 0;
}

}  // namespace litefs::ltx

#endif
