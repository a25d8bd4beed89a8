// Any bytes: decoding and random access must not crash, leak or hang; what the decoder accepts must
// come out the same when it is written and read again.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/check.h"
#include "ltx/decoder.h"
#include "ltx/encoder.h"
#include "ltx/page_index.h"

namespace litefs::ltx {
namespace {

struct Decoded {
  FileInfo info;
  std::map<PageNo, std::vector<std::byte>> pages;
};

absl::StatusOr<Decoded> Decode(ByteSource& source) {
  Decoded decoded;
  auto info = DecodeFile(source, [&decoded](PageNo pgno, std::span<const std::byte> page) {
    decoded.pages[pgno].assign(page.begin(), page.end());
    return absl::OkStatus();
  });
  if (!info.ok()) return info.status();
  decoded.info = *info;
  return decoded;
}

void CheckRoundTrip(const Decoded& decoded) {
  Header header = decoded.info.header;
  header.flags &= kFlagNoChecksum;
  std::string file;
  StringSink sink(&file);
  Encoder encoder;
  CHECK(encoder.Begin(&sink, header).ok());
  for (const auto& [pgno, page] : decoded.pages) CHECK(encoder.AddPage(pgno, page).ok());
  CHECK(encoder.Finish(decoded.info.trailer.post_apply).ok());
  SpanSource source(file);
  const auto again = Decode(source);
  CHECK(again.ok());
  CHECK(again->info.header == header);
  CHECK(again->info.trailer.post_apply == decoded.info.trailer.post_apply);
  CHECK(again->pages == decoded.pages);
}

void ReadThroughIndex(ByteSource& source) {
  const auto index = ReadPageIndex(source);
  if (!index.ok()) return;
  std::vector<std::byte> page(4096);
  for (const PageIndexEntry& entry : *index) (void)ReadPage(source, *index, entry.pgno, page);
}

}  // namespace
}  // namespace litefs::ltx

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  litefs::ltx::SpanSource source(std::as_bytes(std::span(data, size)));
  const auto decoded = litefs::ltx::Decode(source);
  if (decoded.ok()) litefs::ltx::CheckRoundTrip(*decoded);
  litefs::ltx::ReadThroughIndex(source);
  return 0;
}
