// Which files of an archive lead to a moment of a database, at the fewest bytes.  Pure.
//
// The files are edges of a graph whose nodes are positions (transaction and link); a snapshot is an
// edge from nothing.  The plan is the cheapest path to the target, where each file costs its size
// and a little for the request.
//
// Two histories can be in one archive (docs/ARCHIVE.md, "Epochs").  The *line* is what leads to
// the newest position of the highest epoch; what is not on it is chosen only if the line does not
// have the moment asked for.

#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "daemon/archive/archive_file.h"

namespace litefs::archive {

// What one file costs besides its bytes: a request of its own.
inline constexpr uint64_t kRequestCostBytes = 4096;

struct RestoreTarget {
  std::optional<ltx::TxId> txid = std::nullopt;
  std::optional<int64_t> timestamp_ms =
      std::nullopt;  // the last transaction not after it; neither: the newest
  std::optional<uint32_t> epoch = std::nullopt;  // only what was archived until then
};

struct RestorePlan {
  std::vector<ArchiveFile> files;  // in their order; the first is a snapshot
  // Only the beginning of the last file, a bundle, is wanted.
  std::optional<ltx::TxId> stop_txid = std::nullopt;
  std::optional<int64_t> stop_ms = std::nullopt;
  ltx::TxId txid = 0;  // reached, unless stop_ms says that it may be less
  uint64_t size_bytes = 0;
};

// files: all of one database.  kNotFound: no file, or the archive does not hold that moment; the
// message says which it holds.
absl::StatusOr<RestorePlan> PlanRestore(std::span<const ArchiveFile> files,
                                        const RestoreTarget& target);

// The files that lead on from (txid, link) to the newest position of the line, at the fewest bytes;
// none if it is that.  kNotFound: nothing leads on from there.
absl::StatusOr<RestorePlan> PlanContinuation(std::span<const ArchiveFile> files, ltx::TxId txid,
                                             Link link);

// The files, not in kept, that the cheapest ways to files of kept go through, where no way within
// kept leads to them.
std::vector<ArchiveFile> FilesLeadingTo(std::span<const ArchiveFile> kept,
                                        std::span<const ArchiveFile> files);

// The files of the line, ascending by max_txid; of one range and level only one.
std::vector<ArchiveFile> FilesOnLine(std::span<const ArchiveFile> files);

}  // namespace litefs::archive
