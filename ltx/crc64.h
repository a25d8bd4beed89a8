// CRC-64/GO-ISO: polynomial x^64+x^4+x^3+x+1, reflected, initial and final value all ones
// (docs/LTX.md section 3).  Chooses carry-less multiplication where the CPU has it.  Any thread.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace litefs::ltx {

// The checksum of what had checksum crc, followed by data.  crc 0 is that of nothing.
uint64_t Crc64(uint64_t crc, std::span<const std::byte> data);

// The two implementations behind Crc64, for tests and benchmarks.  Same result for every input.
uint64_t Crc64Portable(uint64_t crc, std::span<const std::byte> data);
uint64_t Crc64Clmul(uint64_t crc, std::span<const std::byte> data);  // REQUIRES: HaveClmul()
bool HaveClmul();

// The checksum of A followed by B, from the checksums of both and the length of B in bytes.
uint64_t Crc64Combine(uint64_t crc_a, uint64_t crc_b, uint64_t length_b);

// Crc64Combine for many B of one length, in a few nanoseconds each.
class Crc64Combiner {
 public:
  Crc64Combiner() : Crc64Combiner(0) {}
  explicit Crc64Combiner(uint64_t length_b);
  uint64_t Combine(uint64_t crc_a, uint64_t crc_b) const;

 private:
  uint64_t factor_;  // x^(8 * length_b), or that divided by x for MultiplyClmul
};

}  // namespace litefs::ltx
