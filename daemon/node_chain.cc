#include "daemon/node_chain.h"

#include <fcntl.h>
#include <fmt/format.h>

#include "common/log.h"
#include "common/posix_io.h"
#include "common/status_macros.h"
#include "daemon/db/incoming_file.h"

namespace litefs {
namespace {

absl::Status NoSuchDatabase(const std::string& name) {
  return absl::NotFoundError("no database " + name);
}

// Files that are verified while they arrive, each by threads of its own.
constexpr size_t kMaxArrivals = 8;

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

// A database's snapshot as replication reads it.
class GrowingSnapshot final : public db::SnapshotObserver {
 public:
  GrowingSnapshot(const std::string& database, replication::SnapshotReader* reader)
      : database_(database), reader_(reader) {}
  void Begin(UniqueFd fd, const db::LtxFileRef& file) override {
    LogInfo("snapshot", fmt::format("db={} position={} bytes={}", database_,
                                    ltx::FormatPosition(file.end()), file.size_bytes));
    reader_->Begin(Describe(std::move(fd), file));
  }
  void Grow(uint64_t ready_bytes) override { reader_->Grow(ready_bytes); }

 private:
  const std::string& database_;
  replication::SnapshotReader* const reader_;
};

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

absl::Status ServedChain::Snapshot(const std::string& database,
                                   replication::SnapshotReader* reader) {
  store::Store::Entry* const entry = store_->Find(database);
  if (entry == nullptr) return NoSuchDatabase(database);
  GrowingSnapshot growing(database, reader);
  return entry->database->StreamSnapshot(&growing);
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

absl::StatusOr<ltx::Position> ReplicaChain::Take(
    const std::string& database,
    const std::function<absl::StatusOr<ltx::Position>(db::ReplicaDatabase&)>& receive) {
  ASSIGN_OR_RETURN(store::Store::Entry* const entry,
                   store_->FindOrCreate(database, /*in_use=*/false));
  ASSIGN_OR_RETURN(const ltx::Position position, receive(*entry->replica));
  applier_->Notify();
  on_stored_(database, position.txid);
  return position;
}

absl::StatusOr<ltx::Position> ReplicaChain::Receive(const std::string& database, int file_fd,
                                                    uint64_t size_bytes) {
  return Take(database,
              [&](db::ReplicaDatabase& replica) { return replica.Receive(file_fd, size_bytes); });
}

// A file that is verified while it arrives.
class ReplicaChain::IncomingDatabase final : public replication::Arrival {
 public:
  IncomingDatabase(ReplicaChain* chain, std::string database, int fd, uint64_t size_bytes,
                   std::shared_ptr<db::IncomingFile> file)
      : chain_(chain),
        database_(std::move(database)),
        fd_(fd),
        size_bytes_(size_bytes),
        file_(std::move(file)) {
    ++chain_->arrivals_;
  }
  ~IncomingDatabase() override { --chain_->arrivals_; }

  absl::Status Arrived(uint64_t bytes) override { return file_->Arrived(bytes); }
  absl::StatusOr<ltx::Position> Receive() override {
    return chain_->Take(database_, [this](db::ReplicaDatabase& replica) {
      return replica.Receive(fd_, size_bytes_, file_);
    });
  }

 private:
  ReplicaChain* const chain_;
  const std::string database_;
  const int fd_;
  const uint64_t size_bytes_;
  const std::shared_ptr<db::IncomingFile> file_;
};

std::unique_ptr<replication::Arrival> ReplicaChain::Expect(const std::string& database, int file_fd,
                                                           uint64_t size_bytes) {
  if (arrivals_ == kMaxArrivals) return nullptr;
  store::Store::Entry* const entry = store_->Find(database);
  const bool is_new = entry == nullptr || entry->database->Info().size_pages == 0;
  absl::StatusOr<std::shared_ptr<db::IncomingFile>> file =
      db::IncomingFile::Begin(file_fd, size_bytes, is_new ? temporary_ : "");
  if (!file.ok()) {
    LogWarn("replication", fmt::format("db={} {}", database, file.status().ToString()));
    return nullptr;
  }
  return std::make_unique<IncomingDatabase>(this, database, file_fd, size_bytes, *std::move(file));
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
  ltx::SpanSource source(ltx_file);
  return Take(database, [&](db::ReplicaDatabase& replica) { return replica.Receive(source); });
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
