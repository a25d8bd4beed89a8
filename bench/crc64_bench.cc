// CRC-64 by carry-less multiplication and portably, and what combining two checksums costs beside
// hashing a page.

#include <benchmark/benchmark.h>

#include <vector>

#include "ltx/crc64.h"

namespace litefs::ltx {
namespace {

template <uint64_t (*kCrc)(uint64_t, std::span<const std::byte>)>
void Crc(benchmark::State& state) {
  if (kCrc == Crc64Clmul && !HaveClmul()) {
    state.SkipWithError("no carry-less multiplication here");
    return;
  }
  const std::vector<std::byte> data(static_cast<size_t>(state.range(0)), std::byte{0x5a});
  uint64_t crc = 0;
  for (auto _ : state) benchmark::DoNotOptimize(crc = kCrc(crc, data));
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(Crc<Crc64Clmul>)->Name("Crc64Clmul")->RangeMultiplier(4)->Range(16, 64 << 10);
BENCHMARK(Crc<Crc64Portable>)->Name("Crc64Portable")->RangeMultiplier(4)->Range(16, 64 << 10);

void Combine(benchmark::State& state) {
  const Crc64Combiner combiner(4096);
  uint64_t crc = 1;
  for (auto _ : state) benchmark::DoNotOptimize(crc = combiner.Combine(crc, 2));
}
BENCHMARK(Combine)->Name("Crc64Combiner");

}  // namespace
}  // namespace litefs::ltx
