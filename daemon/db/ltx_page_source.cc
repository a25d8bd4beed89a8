#include "daemon/db/ltx_page_source.h"

#include <algorithm>
#include <array>
#include <limits>

#include "common/status_macros.h"

namespace litefs::db {

absl::Status LtxPageSource::Add(UniqueFd fd, const std::string& name) {
  auto file = std::make_unique<File>();
  ASSIGN_OR_RETURN(ltx::FdSource source, ltx::FdSource::Open(fd.get(), name));
  file->source = std::make_unique<ltx::FdSource>(std::move(source));
  file->fd = std::move(fd);
  std::array<std::byte, ltx::kHeaderBytes> header;
  RETURN_IF_ERROR(file->source->ReadAt(header, 0));
  ASSIGN_OR_RETURN(file->header, ltx::DecodeHeader(header));
  if (!files_.empty() && file->header.page_bytes != last().page_bytes) {
    return absl::FailedPreconditionError("the page size changes");
  }
  std::array<std::byte, ltx::kTrailerBytes> trailer;
  RETURN_IF_ERROR(file->source->ReadAt(trailer, file->source->size() - ltx::kTrailerBytes));
  file->post_apply = ltx::DecodeTrailer(trailer).post_apply;
  ASSIGN_OR_RETURN(file->index, ltx::ReadPageIndex(*file->source));
  files_.push_back(std::move(file));
  return absl::OkStatus();
}

void LtxPageSource::Finish() {
  // From the newest file to the oldest: a page counts while no later file made the database
  // smaller.
  ltx::PageNo smallest = std::numeric_limits<ltx::PageNo>::max();
  for (size_t f = files_.size(); f-- > 0;) {
    smallest = std::min(smallest, files_[f]->header.commit);
    for (const ltx::PageIndexEntry& entry : files_[f]->index) {
      if (entry.pgno <= smallest) pages_.push_back({f, entry});
    }
    ltx::PageIndex().swap(files_[f]->index);
  }
  std::stable_sort(pages_.begin(), pages_.end(),
                   [](const Page& a, const Page& b) { return a.entry.pgno < b.entry.pgno; });
  const auto same = [](const Page& a, const Page& b) { return a.entry.pgno == b.entry.pgno; };
  pages_.erase(std::unique(pages_.begin(), pages_.end(), same), pages_.end());
}

uint64_t LtxPageSource::bytes() const {
  uint64_t bytes = 0;
  for (const auto& file : files_) bytes += file->source->size();
  return bytes;
}

absl::Status LtxPageSource::Read(size_t i, std::span<std::byte> page) {
  const Page& found = pages_[i];
  return ltx::ReadPage(*files_[found.file]->source, {found.entry}, found.entry.pgno, page);
}

}  // namespace litefs::db
