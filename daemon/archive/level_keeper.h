// LevelKeeper: the levels of one destination: makes the compactions and snapshots that are due, and
// deletes what has expired (level_plan.h).  Reads archived files and their local copies, never a
// database; except that a snapshot of an archive which this node cannot decrypt is a copy of it
// (docs/ARCHIVE.md, "Snapshots").
//
// Threads: one of its own, which sleeps until something is due.

#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <thread>

#include "common/clock.h"
#include "common/mutex.h"
#include "daemon/archive/archive_source.h"
#include "daemon/archive/archive_writer.h"
#include "daemon/archive/level_plan.h"
#include "daemon/archive/listing_table.h"
#include "daemon/archive/opened_file.h"

namespace litefs::archive {

class LevelKeeper {
 public:
  struct Options {
    ObjectStore* store = nullptr;
    const Spool* spool = nullptr;
    ArchiveWriter* writer = nullptr;
    ListingTable* listing = nullptr;
    ArchiveSource* source = nullptr;
    const crypto::AgeKeys* keys = nullptr;
    LevelPolicy policy;
    bool litestream = false;
    const Clock* clock = nullptr;
    // False: another writer has the database; hands off.  Asks the archive.
    std::function<absl::StatusOr<bool>(const std::string& database)> may_write;
  };
  explicit LevelKeeper(Options options) : options_(std::move(options)) {}
  ~LevelKeeper() { Stop(); }

  void Start();
  // Returns soon; what is under way is given up.
  void Stop();
  // Something was added to the listing of database.
  void Added(const std::string& database);

  // Does all that is due for database.  Returns when to come again, if ever.  Public for tests.
  absl::StatusOr<std::optional<int64_t>> Work(const std::string& database);

  uint64_t compactions() const { return compactions_; }
  std::string last_error() const;

 private:
  void Run();
  void WorkAll();
  absl::Status Compact(Compaction compaction);
  absl::StatusOr<std::unique_ptr<OpenedFile>> OpenInput(const ArchiveFile& file);
  absl::Status PutMerged(const std::vector<ltx::ByteSource*>& parts, const ArchiveFile& result);
  absl::Status Snapshot(const std::string& database, const std::vector<ArchiveFile>& files);
  absl::Status SnapshotFromArchive(const std::string& database,
                                   const std::vector<ArchiveFile>& files);
  absl::Status SnapshotFromDatabase(const std::string& database);
  absl::StatusOr<std::optional<int64_t>> Prune(const std::string& database);

  const Options options_;
  std::set<std::string> unreadable_;  // names; the thread's own
  std::atomic<uint64_t> compactions_ = 0;
  std::atomic<bool> stopping_ = false;
  mutable Mutex mu_;
  CondVar changed_;
  std::map<std::string, int64_t> due_ms_ GUARDED_BY(mu_);  // when to look at a database again
  std::string last_error_ GUARDED_BY(mu_);
  std::thread thread_;
};

}  // namespace litefs::archive
