#include "daemon/archive/archive_writer.h"

#include <fcntl.h>

#include "common/posix_io.h"
#include "common/status_macros.h"
#include "daemon/archive/fetcher.h"
#include "ltx/compactor.h"
#include "ltx/encoder.h"

namespace litefs::archive {
namespace {

constexpr size_t kCopyBytes = 256 << 10;

absl::Status Encrypt(int from, uint64_t size, const crypto::AgeLock& lock, ltx::ByteSink* to,
                     const std::string& name) {
  ASSIGN_OR_RETURN(const auto writer, crypto::AgeWriter::Begin(to, lock));
  std::vector<std::byte> buffer(kCopyBytes);
  for (uint64_t offset = 0; offset < size;) {
    const std::span<std::byte> part =
        std::span(buffer).first(std::min<uint64_t>(kCopyBytes, size - offset));
    RETURN_IF_ERROR(ReadExactAt(from, part, offset, name));
    RETURN_IF_ERROR(writer->Append(part));
    offset += part.size();
  }
  return writer->Finish();
}

// The same pages without checksums.
absl::StatusOr<ltx::FileInfo> WithoutChecksums(ltx::ByteSource& source, ltx::ByteSink* sink) {
  ASSIGN_OR_RETURN(const auto decoder, ltx::Decoder::Open(&source));
  ltx::FileInfo info{.header = decoder->header(), .trailer = {}, .encoding = ltx::Encoding::kV3};
  info.header.flags = ltx::kFlagNoChecksum;
  info.header.pre_apply = 0;
  info.header.node_id = 0;
  ltx::Encoder encoder;
  RETURN_IF_ERROR(encoder.Begin(sink, info.header));
  std::vector<std::byte> page(info.header.page_bytes);
  for (ltx::PageNo pgno = 0;; ++info.page_count) {
    ASSIGN_OR_RETURN(const bool more, decoder->Next(&pgno, page));
    if (!more) break;
    RETURN_IF_ERROR(encoder.AddPageWithCrc(pgno, page, decoder->page_crc()));
  }
  ASSIGN_OR_RETURN(info.trailer, encoder.Finish(0));
  return info;
}

}  // namespace

absl::Status ArchiveWriter::Put(const std::string& path, ArchiveFile* file) {
  ASSIGN_OR_RETURN(UniqueFd fd, OpenFile(path, O_RDONLY));
  ASSIGN_OR_RETURN(uint64_t size, FileSize(fd.get(), path));
  file->encrypted = encrypts();
  file->name = FormatArchiveName(*file);
  if (encrypts()) {
    ASSIGN_OR_RETURN(UniqueFd encrypted, TemporaryFile(spool_->directory()));
    ltx::FdSink sink(encrypted.get(), file->name);
    RETURN_IF_ERROR(Encrypt(fd.get(), size, *lock_, &sink, path));
    RETURN_IF_ERROR(sink.Flush());
    fd = std::move(encrypted);
    ASSIGN_OR_RETURN(size, FileSize(fd.get(), path));
  }
  file->size_bytes = size;
  const absl::Status status = store_->PutFile(file->name, fd.get(), size, {.if_none_match = true});
  if (!status.ok() && !absl::IsAlreadyExists(status)) return status;
  files_ += 1;
  bytes_ += size;
  return absl::OkStatus();
}

absl::StatusOr<ltx::FileInfo> WriteMerged(std::span<ltx::ByteSource* const> inputs,
                                          const std::string& path, bool checksums) {
  ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile(path, O_RDWR | O_CREAT | O_TRUNC, 0600));
  ltx::FdSink sink(fd.get(), path);
  ASSIGN_OR_RETURN(ltx::FileInfo info, ltx::Compact(inputs, &sink));
  RETURN_IF_ERROR(sink.Flush());
  if (checksums || !info.header.has_checksums()) return info;
  const std::string plain_path = path + ".2.tmp";
  ASSIGN_OR_RETURN(const UniqueFd plain, OpenFile(plain_path, O_RDWR | O_CREAT | O_TRUNC, 0600));
  ltx::FdSink plain_sink(plain.get(), plain_path);
  ASSIGN_OR_RETURN(ltx::FdSource source, ltx::FdSource::Open(fd.get(), path));
  ASSIGN_OR_RETURN(info, WithoutChecksums(source, &plain_sink));
  RETURN_IF_ERROR(plain_sink.Flush());
  RETURN_IF_ERROR(Rename(plain_path, path));
  return info;
}

}  // namespace litefs::archive
