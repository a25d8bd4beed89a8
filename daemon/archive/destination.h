// Destination: one archive that databases are written to: a thread that uploads what is new, once
// an interval, and a LevelKeeper.  Where it is, it learns from the destination's listing.
//
// One destination never waits for another, and the app for none: Committed only sets a mark.
//
// Writers.  Before its first upload of a database a process claims the next epoch (if_none_match),
// and before each batch it looks whether a later one has been claimed: then another writer has
// taken over, and this one stops, for good and loudly (docs/ARCHIVE.md, "Epochs").

#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "common/clock.h"
#include "common/mutex.h"
#include "daemon/archive/archive_config.h"
#include "daemon/archive/archive_source.h"
#include "daemon/archive/archive_writer.h"
#include "daemon/archive/level_keeper.h"
#include "daemon/archive/listing_table.h"
#include "daemon/archive/spool.h"

namespace litefs::archive {

struct DatabaseStatus {
  std::string name;
  ltx::TxId archived_txid = 0;
  uint32_t epoch = 0;
  uint64_t backlog_files = 0;
  uint64_t backlog_bytes = 0;
  int64_t backlog_age_ms = 0;
  std::string error;
};

struct DestinationStatus {
  std::string name;
  std::string where;
  bool encrypted = false;
  std::string dialect;
  uint64_t uploaded_files = 0;
  uint64_t uploaded_bytes = 0;
  uint64_t failures = 0;
  uint64_t compactions = 0;
  std::string last_error;
  std::vector<DatabaseStatus> databases;
};

class Destination {
 public:
  struct Options {
    ArchiveConfig config;
    ArchiveSource* source = nullptr;  // must outlive the destination
    std::string spool_directory;
    uint64_t node_id = 0;
    const Clock* clock = nullptr;
  };
  static absl::StatusOr<std::unique_ptr<Destination>> Open(Options options);
  ~Destination() { Stop(std::chrono::milliseconds(0)); }

  void Start();
  // Uploads what is there, if that takes no longer than limit.
  void Stop(std::chrono::milliseconds limit);
  // Cheap; from any thread.
  void Committed(const std::string& database);

  // The chain of database after this transaction must stay.
  ltx::TxId KeepAfter(const std::string& database);
  DestinationStatus Status();

 private:
  struct Database {
    bool listed = false;
    bool writable = true;                   // false: another writer has it
    uint32_t epoch = 0;                     // ours; 0: not claimed yet
    uint32_t highest_epoch = 0;             // seen
    std::optional<ltx::Position> archived;  // nullopt: nothing of our chain is there
    std::string error;
  };
  struct Batch;

  explicit Destination(Options options) : options_(std::move(options)) {}
  bool Counts(const std::string& database) const;
  void Run();
  bool WaitForWork(std::set<std::string>* work);
  void UploadAll(const std::set<std::string>& work);
  absl::Status UploadDatabase(const std::string& name);
  absl::Status List(const std::string& name, Database* database);
  absl::Status FindStart(const std::string& name, const db::LtxLog& log, Database* database);
  absl::Status FindLitestreamStart(const std::string& name, const db::LtxLog& log,
                                   Database* database);
  absl::StatusOr<std::string> ClaimAfter(const std::string& name, uint32_t epoch);
  absl::Status CheckEpoch(const std::string& name, Database* database);
  void SetSucceeded(const std::string& name, const std::string& claim, Database* database);
  absl::StatusOr<bool> IsWriter(const std::string& name);
  absl::Status ClaimEpoch(const std::string& name, Database* database);
  absl::StatusOr<Batch> CollectBatch(const db::LtxLog& log, const ltx::Position& from);
  absl::Status WriteBatch(const Batch& batch, const std::string& path);
  absl::Status UploadBatch(const std::string& name, const Batch& batch, Database* database);
  absl::Status UploadSnapshot(const std::string& name, Database* database);
  absl::Status Record(const std::string& name, const ltx::Position& position, Database* database);
  std::string RecordPath(const std::string& name) const;
  void SetState(const std::string& name, const Database& database);

  const Options options_;
  std::unique_ptr<ObjectStore> store_;
  std::optional<Spool> spool_;
  std::optional<crypto::AgeLock> lock_;
  crypto::AgeKeys keys_;
  std::unique_ptr<ArchiveWriter> writer_;
  ListingTable listing_;
  std::unique_ptr<LevelKeeper> keeper_;
  std::thread thread_;
  std::atomic<uint64_t> failures_ = 0;

  Mutex mu_;
  CondVar changed_;
  std::set<std::string> dirty_ GUARDED_BY(mu_);
  std::map<std::string, Database> databases_ GUARDED_BY(mu_);
  bool stopping_ GUARDED_BY(mu_) = false;
  bool stopped_ GUARDED_BY(mu_) = false;
  std::string last_error_ GUARDED_BY(mu_);
  std::chrono::steady_clock::time_point not_before_ GUARDED_BY(mu_){};
  int retries_ = 0;  // the thread's own
};

// Reads the identity file of config, if it has one.
absl::StatusOr<crypto::AgeKeys> ReadKeys(const std::string& identity_file);

}  // namespace litefs::archive
