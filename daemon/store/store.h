// Store: all databases of a node, as primary or as replica, by name.  Databases are never removed
// while the daemon runs, so pointers stay good.  Thread-safe.

#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/clock.h"
#include "common/mutex.h"
#include "daemon/db/primary_database.h"
#include "daemon/db/replica_database.h"
#include "daemon/store/node_directory.h"

namespace litefs::store {

class Store {
 public:
  struct Options {
    NodeDirectory* node = nullptr;  // must outlive the store
    bool primary = true;
    std::vector<std::string> globs = {"*"};  // which file names are databases
    int64_t retention_ms = 3'600'000;
    uint64_t retention_bytes = 256 << 20;
    const Clock* clock = nullptr;
    // From any thread, whenever a database's chain (primary) or file (replica) has moved on.
    std::function<void(const std::string& name, ltx::TxId min_txid, ltx::TxId max_txid)> on_commit;
  };
  struct Entry {
    uint32_t slot = 0;  // of its bell
    std::unique_ptr<db::Database> database;
    db::PrimaryDatabase* primary = nullptr;  // one of the two is set
    db::ReplicaDatabase* replica = nullptr;
  };

  // Opens every database that has a chain here and, on a primary, every SQLite database in the
  // directory.  One that cannot be opened is reported and left out; the others go on.
  static absl::StatusOr<std::unique_ptr<Store>> Open(Options options);

  bool primary() const { return options_.primary; }
  // Null if there is none of that name.
  Entry* Find(const std::string& name) EXCLUDES(mu_);
  // Finds or creates.  kInvalidArgument: the name is none that the configuration counts.
  // in_use: for an app that has it open already.
  absl::StatusOr<Entry*> FindOrCreate(const std::string& name, bool in_use) EXCLUDES(mu_);
  std::vector<Entry*> All() EXCLUDES(mu_);
  // True if name can be that of a database here: no SQLite side file, matches a glob.
  bool Counts(const std::string& name) const;

  // On a primary: opens databases that have come into the directory since.
  void AdoptNewFiles() EXCLUDES(mu_);

  // Retention keeps of each database the files that end after the transaction that keep_after says.
  // Before the first Prune, and on its thread.
  void SetKeepAfter(std::function<ltx::TxId(const std::string& name)> keep_after) {
    keep_after_ = std::move(keep_after);
  }
  // Applies retention to every chain.  Whether anything had to go.
  bool Prune();

 private:
  explicit Store(Options options) : options_(std::move(options)) {}
  struct FileStamp {
    uint64_t inode = 0;
    int64_t modified_ns = 0;
    friend bool operator==(const FileStamp&, const FileStamp&) = default;
  };
  absl::StatusOr<Entry*> Create(const std::string& name, bool in_use) REQUIRES(mu_);
  absl::StatusOr<std::vector<std::string>> Names() const;

  const Options options_;
  Mutex mu_;
  std::map<std::string, std::unique_ptr<Entry>> entries_ GUARDED_BY(mu_);
  // Files that AdoptNewFiles has found to be no databases, as they were then.
  std::map<std::string, FileStamp> strangers_;
  std::function<ltx::TxId(const std::string& name)> keep_after_;  // null: nothing
};

}  // namespace litefs::store
