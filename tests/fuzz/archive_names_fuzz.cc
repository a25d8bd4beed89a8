// What object stores say: any name, listing or answer must not crash, and a name that counts is
// exactly the one that we would write.

#include <cstdint>
#include <string>

#include "common/check.h"
#include "daemon/archive/archive_file.h"
#include "daemon/archive/object_store.h"
#include "daemon/archive/s3_xml.h"
#include "daemon/archive/sftp_listing.h"
#include "daemon/archive/url_query.h"

namespace litefs::archive {
namespace {

void Names(std::string_view text) {
  if (const auto file = ParseArchiveName(text)) {
    CHECK(FormatArchiveName(*file) == text);
    CHECK(file->min_txid >= 1 && file->min_txid <= file->max_txid);
  }
  if (const auto file = ParseLitestreamName(text)) {
    CHECK(file->litestream && file->min_txid <= file->max_txid);
  }
  if (const auto claim = ParseEpochName(text)) {
    CHECK(EpochName(claim->database, claim->epoch) == text);
  }
  (void)CheckObjectName(text);
  (void)PercentDecode(text);
}

void Listings(std::string_view text) {
  if (const auto entries = ParseSftpListing(text); entries.ok()) {
    for (const DirectoryEntry& entry : *entries) {
      CHECK(!entry.name.empty() && entry.name.find('/') >= entry.name.size() - 1);
    }
  }
  (void)ParseS3Error(text);
  (void)ParseListPage(text);
  (void)ParseUploadsPage(text);
  (void)ParseUploadId(text);
  (void)ParseDeleteResult(text);
}

}  // namespace
}  // namespace litefs::archive

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  litefs::archive::Names(text);
  litefs::archive::Listings(text);
  return 0;
}
