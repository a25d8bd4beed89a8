#include "daemon/archive/seeder.h"

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>

#include "common/hex.h"
#include "common/log.h"
#include "common/posix_io.h"
#include "common/status_macros.h"
#include "daemon/archive/catalog.h"
#include "daemon/archive/destination.h"
#include "daemon/archive/fetcher.h"
#include "ltx/apply_file.h"
#include "ltx/encoder.h"

namespace litefs::archive {

absl::StatusOr<ltx::FileInfo> EncodeSnapshot(const std::string& path, const Restored& restored,
                                             bool checksums, ltx::ByteSink* sink) {
  if (restored.size_pages != 0) {
    return ltx::EncodeDatabase(path, sink, restored.position.txid, restored.timestamp_ms,
                               checksums);
  }
  ltx::FileInfo info;  // a deleted database
  info.header = {.flags = checksums ? 0 : ltx::kFlagNoChecksum,
                 .page_bytes = restored.page_bytes,
                 .commit = 0,
                 .min_txid = 1,
                 .max_txid = restored.position.txid,
                 .timestamp_ms = restored.timestamp_ms};
  ltx::Encoder encoder;
  RETURN_IF_ERROR(encoder.Begin(sink, info.header));
  ASSIGN_OR_RETURN(info.trailer, encoder.Finish(ltx::kEmptyDatabaseChecksum));
  return info;
}

absl::StatusOr<UniqueFd> RestoreAsSnapshot(const RestorePlan& plan, const RestoreOptions& options,
                                           const std::string& name, uint64_t* size) {
  ASSIGN_OR_RETURN(const UniqueFd content, TemporaryFile(options.temporary_directory));
  ASSIGN_OR_RETURN(const Restored restored, Restore(plan, options, content.get(), name));
  ASSIGN_OR_RETURN(UniqueFd snapshot, TemporaryFile(options.temporary_directory));
  ltx::FdSink sink(snapshot.get(), name);
  ASSIGN_OR_RETURN(const ltx::FileInfo info,
                   EncodeSnapshot(fmt::format("/proc/self/fd/{}", content.get()), restored,
                                  /*checksums=*/true, &sink));
  RETURN_IF_ERROR(sink.Flush());
  if (restored.position.checksum != 0 && info.trailer.post_apply != restored.position.checksum) {
    return absl::DataLossError(name + ": the snapshot has another checksum than its source");
  }
  ASSIGN_OR_RETURN(*size, FileSize(snapshot.get(), name));
  return snapshot;
}

absl::Status SeedDatabases(const SeedOptions& options) {
  ASSIGN_OR_RETURN(const auto store, OpenObjectStore(options.config.store));
  ASSIGN_OR_RETURN(const crypto::AgeKeys keys, ReadKeys(options.config.identity_file));
  ASSIGN_OR_RETURN(const Catalog catalog, ReadCatalog(*store, ""));
  const std::vector<std::string>& globs = options.config.databases;
  for (const auto& [name, listing] : catalog) {
    const bool counts = std::any_of(globs.begin(), globs.end(), [&, &db = name](const auto& glob) {
      return ::fnmatch(glob.c_str(), db.c_str(), 0) == 0;
    });
    if (name.empty() || !counts || !options.is_wanted(name)) continue;
    ASSIGN_OR_RETURN(const RestorePlan plan, PlanRestore(listing.files, {}));
    uint64_t size = 0;
    ASSIGN_OR_RETURN(const UniqueFd snapshot,
                     RestoreAsSnapshot(plan,
                                       {.store = store.get(),
                                        .keys = &keys,
                                        .temporary_directory = options.temporary_directory,
                                        .progress = nullptr},
                                       name, &size));
    RETURN_IF_ERROR(options.receive(name, snapshot.get(), size));
    LogInfo("archive",
            fmt::format("db={} seeded txid={} from {}", name, Hex16(plan.txid), store->Describe()));
  }
  return absl::OkStatus();
}

}  // namespace litefs::archive
