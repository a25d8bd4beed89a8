#include "daemon/archive/opened_file.h"

#include <fmt/format.h>

#include <utility>

#include "common/status_macros.h"

namespace litefs::archive {

absl::Status AboutFile(const ArchiveFile& file, const absl::Status& status) {
  return absl::Status(status.code(),
                      fmt::format("{}: {}", file.name, std::string(status.message())));
}

absl::StatusOr<std::unique_ptr<OpenedFile>> OpenedFile::Open(UniqueFd fd, const ArchiveFile& file,
                                                             const crypto::AgeKeys& keys) {
  std::unique_ptr<OpenedFile> opened(new OpenedFile(file));
  opened->fd_ = std::move(fd);
  ASSIGN_OR_RETURN(ltx::FdSource source, ltx::FdSource::Open(opened->fd_.get(), file.name));
  opened->stored_ = std::make_unique<ltx::FdSource>(std::move(source));
  ltx::ByteSource* content = opened->stored_.get();
  if (file.encrypted) {
    absl::StatusOr<std::unique_ptr<crypto::AgeReader>> reader =
        crypto::AgeReader::Open(content, keys);
    if (!reader.ok()) return AboutFile(file, reader.status());
    opened->plain_ = *std::move(reader);
    content = opened->plain_.get();
  }
  if (!file.bundle) {
    opened->parts_ = {content};
    return opened;
  }
  absl::StatusOr<std::vector<SliceSource>> slices = ReadBundle(content);
  if (!slices.ok()) return AboutFile(file, slices.status());
  opened->slices_ = *std::move(slices);
  for (SliceSource& slice : opened->slices_) opened->parts_.push_back(&slice);
  return opened;
}

}  // namespace litefs::archive
