// Any bytes as a bundle: it is refused, or its files lie one after the other from its beginning to
// its footer, which is the one that we would write; and each of them can be decoded or is refused.

#include <cstdint>
#include <cstring>
#include <vector>

#include "common/check.h"
#include "daemon/archive/bundle.h"
#include "ltx/decoder.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using litefs::archive::SliceSource;
  litefs::ltx::SpanSource source(std::as_bytes(std::span(data, size)));
  auto files = litefs::archive::ReadBundle(&source);
  if (!files.ok()) return 0;
  std::vector<uint64_t> sizes;
  uint64_t sum = 0;
  for (SliceSource& file : *files) {
    sizes.push_back(file.size());
    sum += file.size();
    (void)litefs::ltx::VerifyFile(file);
    std::vector<std::byte> content(file.size() + 1);
    CHECK(!file.ReadAt(content, 0).ok());
    content.pop_back();
    CHECK(file.ReadAt(content, 0).ok());
    CHECK(content.empty() ||
          std::memcmp(content.data(), data + sum - file.size(), content.size()) == 0);
  }
  const std::vector<std::byte> footer = litefs::archive::BundleFooter(sizes);
  CHECK(sum + footer.size() == size);
  CHECK(std::memcmp(footer.data(), data + sum, footer.size()) == 0);
  return 0;
}
