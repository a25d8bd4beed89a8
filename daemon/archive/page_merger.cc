#include "daemon/archive/page_merger.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "common/hex.h"
#include "common/posix_io.h"
#include "common/sqlite_format.h"
#include "common/status_macros.h"

namespace litefs::archive {
namespace {

constexpr size_t kRunBytes = 256 << 10;

}  // namespace

absl::StatusOr<ltx::FileInfo> PageMerger::AddOlder(ltx::ByteSource& source) {
  ASSIGN_OR_RETURN(const auto decoder, ltx::Decoder::Open(&source));
  ltx::FileInfo info{.header = decoder->header(), .trailer = {}, .encoding = decoder->encoding()};
  const uint32_t page_bytes = info.header.page_bytes;
  if (!started_) {
    newest_.header = info.header;
    limit_ = info.header.commit;
    written_.assign(size_t{limit_} + 1, false);
    checksummer_ = ltx::PageChecksummer(page_bytes);
  }
  // A change of page size is a transaction with every page: nothing older shows through.
  const bool counts = page_bytes == newest_.header.page_bytes;
  std::vector<std::byte> page(page_bytes);
  for (ltx::PageNo pgno = 0;; ++info.page_count) {
    ASSIGN_OR_RETURN(const bool more, decoder->Next(&pgno, page));
    if (!more) break;
    if (!counts || pgno > limit_ || written_[pgno]) continue;
    RETURN_IF_ERROR(Take(pgno, page, decoder->page_crc()));
  }
  RETURN_IF_ERROR(FlushRun());
  info.trailer = decoder->trailer();
  if (started_) RETURN_IF_ERROR(CheckFollows(info));
  if (!started_) newest_ = info;
  started_ = true;
  oldest_ = info;
  limit_ = std::min(limit_, info.header.commit);
  return info;
}

absl::Status PageMerger::CheckFollows(const ltx::FileInfo& older) const {
  const ltx::Header& next = oldest_.header;
  if (older.header.has_checksums() != next.has_checksums()) {
    return absl::DataLossError("files with and without checksums in one history");
  }
  // Litestream's files may overlap.
  const bool adjacent = next.has_checksums() ? older.header.max_txid + 1 == next.min_txid
                                             : older.header.max_txid + 1 >= next.min_txid;
  if (adjacent && (!next.has_checksums() || older.trailer.post_apply == next.pre_apply)) {
    return absl::OkStatus();
  }
  return absl::DataLossError(fmt::format(
      "it ends at {}/{}, and the next file begins at {}/{}", Hex16(older.header.max_txid),
      Hex16(older.trailer.post_apply), Hex16(next.min_txid - 1), Hex16(next.pre_apply)));
}

absl::Status PageMerger::Take(ltx::PageNo pgno, std::span<const std::byte> page,
                              uint64_t page_crc) {
  written_[pgno] = true;
  checksum_ = ltx::TogglePage(checksum_, checksummer_.FromCrc(pgno, page_crc));
  const size_t pages = run_.size() / page.size();
  if (!run_.empty() && (pgno != run_first_ + pages || run_.size() >= kRunBytes)) {
    RETURN_IF_ERROR(FlushRun());
  }
  if (run_.empty()) run_first_ = pgno;
  run_.insert(run_.end(), page.begin(), page.end());
  return absl::OkStatus();
}

absl::Status PageMerger::FlushRun() {
  if (run_.empty()) return absl::OkStatus();
  RETURN_IF_ERROR(WriteAt(fd_, run_, uint64_t{run_first_ - 1} * newest_.header.page_bytes, name_));
  run_.clear();
  return absl::OkStatus();
}

absl::Status PageMerger::Finish() {
  if (!started_) return absl::FailedPreconditionError("no file was added");
  if (!oldest_.header.is_snapshot()) return absl::DataLossError("no snapshot to begin from");
  const ltx::Header& header = newest_.header;
  if (::ftruncate(fd_, static_cast<off_t>(uint64_t{header.commit} * header.page_bytes)) != 0) {
    return ErrnoStatus(name_, errno);
  }
  // What nobody wrote since the database was last shorter is zeros.
  const std::vector<std::byte> zeros(header.page_bytes);
  const uint64_t zero_crc = ltx::Crc64(0, zeros);
  for (uint64_t pgno = 1; pgno <= header.commit; ++pgno) {
    if (written_[pgno] || pgno == sqlite::LockPage(header.page_bytes)) continue;
    checksum_ =
        ltx::TogglePage(checksum_, checksummer_.FromCrc(static_cast<ltx::PageNo>(pgno), zero_crc));
  }
  if (header.has_checksums() && checksum_ != newest_.trailer.post_apply) {
    return absl::DataLossError(fmt::format("post-apply: the content has checksum {}, not {}",
                                           Hex16(checksum_), Hex16(newest_.trailer.post_apply)));
  }
  return absl::OkStatus();
}

}  // namespace litefs::archive
