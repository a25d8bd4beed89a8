#include "ltx/page_checksum.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <vector>

#include "common/check.h"
#include "common/endian.h"
#include "common/posix_io.h"
#include "common/sqlite_format.h"
#include "common/status_macros.h"

namespace litefs::ltx {
namespace {

constexpr size_t kReadBytes = 256 << 10;  // at least one page

uint64_t PageNoCrc(PageNo pgno) {
  std::array<std::byte, 4> prefix;
  StoreBig32(prefix.data(), pgno);
  return Crc64(0, prefix);
}

}  // namespace

Checksum PageChecksum(PageNo pgno, std::span<const std::byte> page) {
  return kChecksumFlag | Crc64(PageNoCrc(pgno), page);
}

Checksum PageChecksummer::FromCrc(PageNo pgno, uint64_t page_crc) const {
  return kChecksumFlag | combiner_.Combine(PageNoCrc(pgno), page_crc);
}

absl::StatusOr<Checksum> FileChecksum(const std::string& path, uint32_t page_bytes) {
  CHECK(page_bytes >= sqlite::kMinPageBytes && page_bytes <= sqlite::kMaxPageBytes);
  ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile(path, O_RDONLY));
  ASSIGN_OR_RETURN(const uint64_t size, FileSize(fd.get(), path));
  if (size % page_bytes != 0) {
    return absl::FailedPreconditionError(
        fmt::format("{}: {} bytes are no multiple of the page size {}", path, size, page_bytes));
  }
  std::vector<std::byte> buffer(std::min<uint64_t>(size, kReadBytes));
  Checksum checksum = kEmptyDatabaseChecksum;
  PageNo pgno = 0;
  for (uint64_t offset = 0; offset < size; offset += buffer.size()) {
    buffer.resize(std::min<uint64_t>(buffer.size(), size - offset));
    RETURN_IF_ERROR(ReadExactAt(fd.get(), buffer, offset, path));
    for (std::span<const std::byte> rest = buffer; !rest.empty(); rest = rest.subspan(page_bytes)) {
      if (++pgno == sqlite::LockPage(page_bytes)) continue;
      checksum = TogglePage(checksum, PageChecksum(pgno, rest.first(page_bytes)));
    }
  }
  return checksum;
}

}  // namespace litefs::ltx
