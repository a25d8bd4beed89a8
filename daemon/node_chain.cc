#include "daemon/node_chain.h"

#include <fcntl.h>
#include <fmt/format.h>

#include "common/log.h"
#include "common/posix_io.h"
#include "common/status_macros.h"

namespace litefs {
namespace {

absl::Status NoSuchDatabase(const std::string& name) {
  return absl::NotFoundError("no database " + name);
}

replication::ChainFile Describe(UniqueFd fd, const db::LtxFileRef& file) {
  return {.fd = std::move(fd),
          .size_bytes = file.size_bytes,
          .min_txid = file.min_txid,
          .max_txid = file.max_txid,
          .pre_apply = file.pre_apply,
          .post_apply = file.post_apply,
          .committed_ms = static_cast<uint64_t>(file.timestamp_ms),
          .end_bytes = file.end_bytes};
}

std::optional<db::LtxFileRef> LastServed(const store::Store::Entry& entry) {
  if (entry.replica != nullptr) return entry.replica->served();
  const absl::StatusOr<db::LtxFileRef> last = entry.database->log().Last();
  return last.ok() ? std::optional(*last) : std::nullopt;
}

}  // namespace

std::vector<replication::ChainTip> ServedChain::States() {
  std::vector<replication::ChainTip> tips;
  for (store::Store::Entry* entry : store_->All()) {
    const std::optional<db::LtxFileRef> last = LastServed(*entry);
    if (!last) continue;
    tips.push_back({.name = entry->database->name(),
                    .position = last->end(),
                    .committed_ms = static_cast<uint64_t>(last->timestamp_ms),
                    .end_bytes = last->end_bytes});
  }
  return tips;
}

absl::StatusOr<replication::ChainFile> ServedChain::FileAfter(const std::string& database,
                                                              const ltx::Position& from) {
  store::Store::Entry* const entry = store_->Find(database);
  if (entry == nullptr) return NoSuchDatabase(database);
  const absl::StatusOr<db::LtxFileRef> next = entry->database->log().FileAfter(from);
  if (absl::IsNotFound(next.status())) {
    const bool between_chains = entry->database->log().file_count() == 0 && LastServed(*entry);
    if (between_chains) return absl::UnavailableError("the chain is being replaced");
  }
  RETURN_IF_ERROR(next.status());
  const db::LtxFileRef& file = *next;
  absl::StatusOr<UniqueFd> fd = entry->database->log().OpenForReading(file);
  if (absl::IsNotFound(fd.status())) {  // pruned since
    return absl::OutOfRangeError(ltx::FormatPosition(from) + " is not in the chain any more");
  }
  RETURN_IF_ERROR(fd.status());
  return Describe(*std::move(fd), file);
}

absl::StatusOr<replication::ChainFile> ServedChain::Snapshot(const std::string& database) {
  store::Store::Entry* const entry = store_->Find(database);
  if (entry == nullptr) return NoSuchDatabase(database);
  db::LtxFileRef file;
  ASSIGN_OR_RETURN(UniqueFd fd, entry->database->Snapshot(&file));
  LogInfo("snapshot", fmt::format("db={} position={} bytes={}", database,
                                  ltx::FormatPosition(file.end()), file.size_bytes));
  return Describe(std::move(fd), file);
}

absl::StatusOr<replication::ChainFile> ServedChain::Delta(const std::string& database,
                                                          const replication::PageSums& base) {
  store::Store::Entry* const entry = store_->Find(database);
  if (entry == nullptr) return NoSuchDatabase(database);
  db::LtxFileRef file;
  ASSIGN_OR_RETURN(UniqueFd fd, entry->database->Delta(base.page_bytes, base.pages, &file));
  LogInfo("snapshot", fmt::format("db={} position={} bytes={} only what differs", database,
                                  ltx::FormatPosition(file.end()), file.size_bytes));
  return Describe(std::move(fd), file);
}

std::vector<replication::DatabaseState> ReplicaChain::States() {
  std::vector<replication::DatabaseState> states;
  for (store::Store::Entry* entry : store_->All()) {
    states.push_back({entry->database->name(), entry->replica->stored_position()});
  }
  return states;
}

absl::StatusOr<ltx::Position> ReplicaChain::Receive(const std::string& database, int file_fd,
                                                    uint64_t size_bytes) {
  ASSIGN_OR_RETURN(store::Store::Entry* const entry,
                   store_->FindOrCreate(database, /*in_use=*/false));
  ASSIGN_OR_RETURN(const ltx::Position position, entry->replica->Receive(file_fd, size_bytes));
  applier_->Notify();
  on_stored_(database, position.txid);
  return position;
}

absl::StatusOr<replication::PageSums> ReplicaChain::Sums(const std::string& database,
                                                         uint64_t max_pages) {
  store::Store::Entry* const entry = store_->Find(database);
  if (entry == nullptr) return replication::PageSums();
  replication::PageSums sums;
  ASSIGN_OR_RETURN(sums.pages, entry->replica->PageSums(max_pages, &sums.page_bytes));
  return sums;
}

absl::StatusOr<ltx::Position> ReplicaChain::ReceiveBytes(const std::string& database,
                                                         std::span<const std::byte> ltx_file) {
  ASSIGN_OR_RETURN(store::Store::Entry* const entry,
                   store_->FindOrCreate(database, /*in_use=*/false));
  ltx::SpanSource source(ltx_file);
  ASSIGN_OR_RETURN(const ltx::Position position, entry->replica->Receive(source));
  applier_->Notify();
  on_stored_(database, position.txid);
  return position;
}

absl::Status ReplicaChain::Sync(const std::string& database) {
  store::Store::Entry* const entry = store_->Find(database);
  return entry == nullptr ? absl::OkStatus() : entry->replica->SyncStored();
}

absl::Status ReplicaChain::Drop(const std::string& database) {
  // (I2) A deletion is a transaction of the chain.  That the primary does not know the database at
  // all is none: its .litefs/ may have been removed, and the file here may be the last copy.
  LogWarn("replication", fmt::format("db={} is gone from the primary and kept here", database));
  return absl::OkStatus();
}

absl::StatusOr<UniqueFd> ReplicaChain::SpoolFile() {
  return OpenFile(temporary_, O_TMPFILE | O_RDWR);  // it may become a file of the log
}

}  // namespace litefs
