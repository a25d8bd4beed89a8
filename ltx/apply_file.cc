// Before anything is written, one pass over source and database side by side computes the checksums
// of the database as it is and as it would be.

#include "ltx/apply_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <limits>
#include <vector>

#include "common/endian.h"
#include "common/posix_io.h"
#include "common/sqlite_format.h"
#include "common/status_macros.h"
#include "ltx/crc64.h"
#include "ltx/encoder.h"
#include "ltx/page_checksum.h"

namespace litefs::ltx {
namespace {

absl::Status CheckSize(const std::string& path, uint64_t size, uint32_t page_bytes) {
  if (size % page_bytes == 0 && size / page_bytes <= std::numeric_limits<PageNo>::max()) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(
      fmt::format("{}: {} bytes are not a number of pages of {}", path, size, page_bytes));
}

// The checksums of a database before and after a delta is applied.
class Preview {
 public:
  // The size of old is a multiple of the page size.
  Preview(const Header& header, FdSource* old)
      : header_(header),
        old_(old),
        old_page_count_(old->size() / header.page_bytes),
        lock_page_(sqlite::LockPage(header.page_bytes)),
        checksummer_(header.page_bytes),
        page_(header.page_bytes),
        zero_crc_(Crc64(0, page_)) {}

  // Pages come in ascending order.
  absl::Status Add(PageNo pgno, std::span<const std::byte> page) {
    RETURN_IF_ERROR(PassOver(pgno - uint64_t{1}));
    if (pgno <= old_page_count_) RETURN_IF_ERROR(ReadOldPage(pgno));
    after_ = TogglePage(after_, PageChecksum(pgno, page));
    next_ = pgno + uint64_t{1};
    return absl::OkStatus();
  }
  absl::Status Finish() { return PassOver(std::max<uint64_t>(old_page_count_, header_.commit)); }

  Checksum before() const { return before_; }
  Checksum after() const { return after_; }

 private:
  // Pages next_..last, which the file does not have: they stay, are cut off, or come as zeros.
  absl::Status PassOver(uint64_t last) {
    for (; next_ <= last; ++next_) {
      const auto pgno = static_cast<PageNo>(next_);
      if (pgno == lock_page_) continue;
      if (next_ <= old_page_count_) {
        RETURN_IF_ERROR(ReadOldPage(pgno));
        if (pgno <= header_.commit) after_ = TogglePage(after_, old_checksum_);
      } else {
        after_ = TogglePage(after_, checksummer_.FromCrc(pgno, zero_crc_));
      }
    }
    return absl::OkStatus();
  }

  absl::Status ReadOldPage(PageNo pgno) {
    RETURN_IF_ERROR(old_->ReadAt(page_, (pgno - uint64_t{1}) * page_.size()));
    old_checksum_ = PageChecksum(pgno, page_);
    before_ = TogglePage(before_, old_checksum_);
    return absl::OkStatus();
  }

  const Header& header_;
  FdSource* const old_;
  const uint64_t old_page_count_;
  const PageNo lock_page_;
  const PageChecksummer checksummer_;
  std::vector<std::byte> page_;
  const uint64_t zero_crc_;
  uint64_t next_ = 1;
  Checksum old_checksum_ = 0;
  Checksum before_ = kEmptyDatabaseChecksum;
  Checksum after_ = kEmptyDatabaseChecksum;
};

absl::Status CheckPreview(const Header& header, const Trailer& trailer, Checksum before,
                          Checksum after) {
  if (before != header.pre_apply) {
    return absl::FailedPreconditionError(
        fmt::format("pre-apply: database has checksum {:016x}, file goes on from {:016x}", before,
                    header.pre_apply));
  }
  if (after != trailer.post_apply) {
    return absl::DataLossError(
        fmt::format("post-apply: database would have checksum {:016x}, file says {:016x}", after,
                    trailer.post_apply));
  }
  return absl::OkStatus();
}

// A delta that changes the page size (VACUUM, or another file in the database's place) holds every
// page.
absl::Status CheckRewrite(ByteSource& source, const std::string& path, const Header& header,
                          uint32_t old_page_bytes) {
  ASSIGN_OR_RETURN(const Checksum before, FileChecksum(path, old_page_bytes));
  Checksum after = kEmptyDatabaseChecksum;
  const auto add = [&after](PageNo pgno, std::span<const std::byte> page) {
    after = TogglePage(after, PageChecksum(pgno, page));
    return absl::OkStatus();
  };
  ASSIGN_OR_RETURN(const FileInfo info, DecodeFile(source, add));
  const bool has_lock_page = header.commit >= sqlite::LockPage(header.page_bytes);
  if (info.page_count + (has_lock_page ? 1 : 0) != header.commit) {
    return absl::DataLossError(
        fmt::format("page size: changes from {} to {}, and only {} of {} pages "
                    "are there",
                    old_page_bytes, header.page_bytes, info.page_count, header.commit));
  }
  return CheckPreview(header, info.trailer, before, after);
}

// Everything about a delta that can be known before it is written.
absl::Status CheckDelta(ByteSource& source, int fd, const std::string& path, const Header& header) {
  if (!header.has_checksums()) return VerifyFile(source).status();
  ASSIGN_OR_RETURN(FdSource old, FdSource::Open(fd, path));
  RETURN_IF_ERROR(CheckSize(path, old.size(), header.page_bytes));
  Preview preview(header, &old);
  ASSIGN_OR_RETURN(const FileInfo info,
                   DecodeFile(source, [&preview](PageNo pgno, std::span<const std::byte> page) {
                     return preview.Add(pgno, page);
                   }));
  RETURN_IF_ERROR(preview.Finish());
  return CheckPreview(header, info.trailer, preview.before(), preview.after());
}

absl::Status SetSize(int fd, uint64_t size, const std::string& path) {
  if (::ftruncate(fd, static_cast<off_t>(size)) == 0) return absl::OkStatus();
  return ErrnoStatus("set size of " + path, errno);
}

}  // namespace

absl::StatusOr<FileInfo> ApplyFile(ByteSource& source, const std::string& database_path) {
  ASSIGN_OR_RETURN(const auto decoder, Decoder::Open(&source));
  const Header& header = decoder->header();
  UniqueFd fd;
  if (header.is_snapshot()) {
    RETURN_IF_ERROR(VerifyFile(source).status());
    ASSIGN_OR_RETURN(fd, OpenFile(database_path, O_RDWR | O_CREAT));
    RETURN_IF_ERROR(SetSize(fd.get(), 0, database_path));
  } else {
    ASSIGN_OR_RETURN(fd, OpenFile(database_path, O_RDWR));
    const absl::StatusOr<uint32_t> old_page_bytes = ReadPageBytes(database_path);
    if (header.has_checksums() && old_page_bytes.ok() && *old_page_bytes != header.page_bytes) {
      RETURN_IF_ERROR(CheckRewrite(source, database_path, header, *old_page_bytes));
      RETURN_IF_ERROR(SetSize(fd.get(), 0, database_path));
    } else {
      RETURN_IF_ERROR(CheckDelta(source, fd.get(), database_path, header));
    }
  }
  const uint64_t page_bytes = header.page_bytes;
  ASSIGN_OR_RETURN(
      const FileInfo info, DecodeFile(source, [&](PageNo pgno, std::span<const std::byte> page) {
        return WriteAt(fd.get(), page, (pgno - uint64_t{1}) * page_bytes, database_path);
      }));
  RETURN_IF_ERROR(SetSize(fd.get(), header.commit * page_bytes, database_path));
  RETURN_IF_ERROR(SyncData(fd.get(), database_path));
  return info;
}

absl::StatusOr<uint32_t> ReadPageBytes(const std::string& database_path) {
  ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile(database_path, O_RDONLY));
  std::array<std::byte, sqlite::kHeaderBytes> bytes;
  ASSIGN_OR_RETURN(const size_t n, ReadAt(fd.get(), bytes, 0, database_path));
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), n);
  if (n == bytes.size() && text.starts_with(sqlite::kMagic)) {
    const uint16_t field = LoadBig16(bytes.data() + sqlite::kPageSizeOffset);
    const uint32_t page_bytes = field == 1 ? sqlite::kMaxPageBytes : field;
    if (std::has_single_bit(page_bytes) && page_bytes >= sqlite::kMinPageBytes) return page_bytes;
  }
  return absl::FailedPreconditionError(database_path + ": not an SQLite database file");
}

absl::StatusOr<FileInfo> EncodeDatabase(const std::string& database_path, ByteSink* sink, TxId txid,
                                        int64_t timestamp_ms, bool checksums) {
  ASSIGN_OR_RETURN(const uint32_t page_bytes, ReadPageBytes(database_path));
  ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile(database_path, O_RDONLY));
  ASSIGN_OR_RETURN(FdSource source, FdSource::Open(fd.get(), database_path));
  RETURN_IF_ERROR(CheckSize(database_path, source.size(), page_bytes));
  FileInfo info;
  info.header = {.flags = checksums ? 0 : kFlagNoChecksum,
                 .page_bytes = page_bytes,
                 .commit = static_cast<PageNo>(source.size() / page_bytes),
                 .min_txid = 1,
                 .max_txid = txid,
                 .timestamp_ms = timestamp_ms};
  Encoder encoder;
  RETURN_IF_ERROR(encoder.Begin(sink, info.header));
  const PageChecksummer checksummer(page_bytes);
  Checksum database = kEmptyDatabaseChecksum;
  std::vector<std::byte> page(page_bytes);
  for (uint64_t pgno = 1; pgno <= info.header.commit; ++pgno) {
    if (pgno == sqlite::LockPage(page_bytes)) continue;
    RETURN_IF_ERROR(source.ReadAt(page, (pgno - 1) * page_bytes));
    const uint64_t page_crc = Crc64(0, page);
    database = TogglePage(database, checksummer.FromCrc(static_cast<PageNo>(pgno), page_crc));
    RETURN_IF_ERROR(encoder.AddPageWithCrc(static_cast<PageNo>(pgno), page, page_crc));
    ++info.page_count;
  }
  ASSIGN_OR_RETURN(info.trailer, encoder.Finish(checksums ? database : 0));
  return info;
}

}  // namespace litefs::ltx
