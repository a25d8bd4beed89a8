#include "daemon/archive/restorer.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/hex.h"
#include "common/status_macros.h"
#include "daemon/archive/fetcher.h"
#include "daemon/archive/opened_file.h"
#include "daemon/archive/page_merger.h"

namespace litefs::archive {
namespace {

// first and last: of the LTX files in file.
absl::Status CheckName(const ArchiveFile& file, const ltx::FileInfo& first,
                       const ltx::FileInfo* last) {
  const auto wrong = [&](std::string_view what) {
    return absl::DataLossError(
        fmt::format("{}: its {} is not what its name says", file.name, what));
  };
  if (first.header.min_txid != file.min_txid) return wrong("first transaction");
  if (!file.litestream && !file.is_snapshot() &&
      LinkOf({file.min_txid - 1, first.header.pre_apply}) != file.before) {
    return wrong("beginning");
  }
  if (last == nullptr) return absl::OkStatus();
  if (last->header.max_txid != file.max_txid) return wrong("last transaction");
  if (file.litestream) return absl::OkStatus();
  if (LinkOf({file.max_txid, last->trailer.post_apply}) != file.after) return wrong("end");
  if (last->header.timestamp_ms != file.timestamp_ms) return wrong("time");
  return absl::OkStatus();
}

// How many of the parts of plan's last file are wanted.
absl::StatusOr<size_t> PartsWanted(const RestorePlan& plan, const OpenedFile& opened) {
  size_t wanted = 0;
  ltx::TxId reached = 0;
  for (ltx::ByteSource* part : opened.parts()) {
    ASSIGN_OR_RETURN(const auto decoder, ltx::Decoder::Open(part));
    const ltx::Header& header = decoder->header();
    if (plan.stop_txid && header.max_txid > *plan.stop_txid) break;
    if (plan.stop_ms && header.timestamp_ms > *plan.stop_ms) break;
    reached = header.max_txid;
    ++wanted;
  }
  if (plan.stop_txid && reached != *plan.stop_txid) {
    return absl::NotFoundError(fmt::format(
        "transaction {} was stored together with its neighbours; restore {} or {}",
        Hex16(*plan.stop_txid), reached == 0 ? "an earlier one" : Hex16(reached), "a later one"));
  }
  if (wanted == 0 && plan.files.size() == 1) {
    return absl::NotFoundError("the archive begins later than that");
  }
  return wanted;
}

// Adds what is wanted of one file, the newest part first.
absl::Status AddFile(const OpenedFile& opened, size_t wanted, PageMerger* merger) {
  ltx::FileInfo last;
  ltx::FileInfo first;
  const bool whole = wanted == opened.parts().size();
  for (size_t i = wanted; i-- > 0;) {
    absl::StatusOr<ltx::FileInfo> info = merger->AddOlder(*opened.parts()[i]);
    if (!info.ok()) return AboutFile(opened.file(), info.status());
    if (i + 1 == wanted) last = *info;
    first = *info;
  }
  if (wanted == 0) return absl::OkStatus();
  return CheckName(opened.file(), first, whole ? &last : nullptr);
}

}  // namespace

absl::StatusOr<Restored> Restore(const RestorePlan& plan, const RestoreOptions& options, int fd,
                                 const std::string& name) {
  const std::vector<ArchiveFile> newest_first(plan.files.rbegin(), plan.files.rend());
  Fetcher fetcher({.store = options.store,
                   .temporary_directory = options.temporary_directory,
                   .threads = options.threads,
                   .progress = options.progress},
                  newest_first);
  PageMerger merger(fd, name);
  const bool partial = plan.stop_txid || plan.stop_ms;
  for (size_t i = 0; i < newest_first.size(); ++i) {
    ASSIGN_OR_RETURN(UniqueFd fetched, fetcher.Next());
    ASSIGN_OR_RETURN(const auto opened,
                     OpenedFile::Open(std::move(fetched), newest_first[i], *options.keys));
    size_t wanted = opened->parts().size();
    if (i == 0 && partial) {
      ASSIGN_OR_RETURN(wanted, PartsWanted(plan, *opened));
    }
    RETURN_IF_ERROR(AddFile(*opened, wanted, &merger));
  }
  RETURN_IF_ERROR(merger.Finish());
  const ltx::FileInfo& end = merger.newest();
  if (!partial && end.header.max_txid != plan.txid) {
    return absl::DataLossError(fmt::format("{}: the files lead to {}, not {}", name,
                                           Hex16(end.header.max_txid), Hex16(plan.txid)));
  }
  return Restored{.position = {end.header.max_txid, end.trailer.post_apply},
                  .timestamp_ms = end.header.timestamp_ms,
                  .page_bytes = end.header.page_bytes,
                  .size_pages = end.header.commit,
                  .fetched_bytes = plan.size_bytes};
}

absl::Status VerifyArchiveFile(const ArchiveFile& file, const RestoreOptions& options) {
  Fetcher fetcher({.store = options.store,
                   .temporary_directory = options.temporary_directory,
                   .threads = 2,
                   .progress = options.progress},
                  {file});
  ASSIGN_OR_RETURN(UniqueFd fetched, fetcher.Next());
  ASSIGN_OR_RETURN(const auto opened, OpenedFile::Open(std::move(fetched), file, *options.keys));
  ltx::FileInfo first;
  ltx::FileInfo last;
  for (size_t i = 0; i < opened->parts().size(); ++i) {
    absl::StatusOr<ltx::FileInfo> info = ltx::VerifyFile(*opened->parts()[i]);
    if (!info.ok()) return AboutFile(file, info.status());
    const bool follows = i == 0 || (info->header.min_txid == last.header.max_txid + 1 &&
                                    info->header.pre_apply == last.trailer.post_apply);
    if (!follows) return absl::DataLossError(file.name + ": its files do not follow each other");
    if (i == 0) first = *info;
    last = *info;
  }
  return CheckName(file, first, &last);
}

}  // namespace litefs::archive
