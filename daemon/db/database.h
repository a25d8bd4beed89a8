// Database: what a primary's and a replica's database have in common: a name, a mutex, a chain, and
// a consistent copy of the content for exports and snapshots.
//
// Threads: every public method may be called from any thread.  Lock order: Database::mu_ before the
// log's own.

#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/mutex.h"
#include "common/unique_fd.h"
#include "daemon/db/chain.h"

namespace litefs::db {

struct DatabaseOptions {
  std::string name;               // file name in the database directory
  std::string path;               // of the database file
  std::string control_directory;  // .litefs/dbs/<name>
  std::string temporary_directory;
  uint64_t node_id = 0;
  const Clock* clock = nullptr;
  // Called, with the mutex held, after files were added to the chain.
  std::function<void(const std::string& name, ltx::TxId min_txid, ltx::TxId max_txid)> on_commit;
};

// What was done since the daemon's start.  docs/CAPTURE.md, "Counters".
struct Counters {
  uint64_t transactions = 0;  // captured on a primary, applied on a replica
  uint64_t files = 0;         // LTX files that they are in
  uint64_t pages = 0;
  uint64_t bytes = 0;       // of those files
  uint64_t reconciled = 0;  // transactions that were made by comparing
  uint64_t deletions = 0;
  uint64_t drains = 0;       // times that an app waited for its WAL to be captured
  uint64_t handed_over = 0;  // transactions whose pages apps left in their rings
  uint64_t refused = 0;      // commits that were refused: no room, an error of our disk

  void Add(const Counters& other);
};

struct DatabaseInfo {
  ltx::Position position;  // that the database file is at
  ltx::PageNo size_pages = 0;
  uint32_t page_bytes = 0;
  bool wal = false;
  bool deleted = false;
  uint64_t ltx_files = 0;
  uint64_t ltx_bytes = 0;
  Counters counters;
  std::string error;  // empty: all is well
};

// Learns of a snapshot while it is made.
class SnapshotObserver {
 public:
  virtual ~SnapshotObserver() = default;
  // One begins in fd, whose description is known: the file has file.size_bytes at the end.  A
  // second one takes the place of the first, which is not finished.
  virtual void Begin(UniqueFd fd, const LtxFileRef& file) = 0;
  // So much of it is there.
  virtual void Grow(uint64_t ready_bytes) = 0;
};

class Database {
 public:
  virtual ~Database() = default;
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  const std::string& name() const { return options_.name; }
  // Thread-safe by itself.
  const LtxLog& log() const { return chain_->log(); }
  virtual ltx::Position position() EXCLUDES(mu_);
  virtual DatabaseInfo Info() EXCLUDES(mu_) = 0;

  // A copy of the whole content at one position.
  struct Copy {
    UniqueFd fd;  // an unlinked file of size_pages * page_bytes
    ltx::Position position;
    uint32_t page_bytes = 0;
    ltx::PageNo size_pages = 0;
    std::vector<ltx::PageNo> differing;  // of a copy for Delta: its pages, ascending
  };
  // Takes the copy while the app goes on: each page is believed when it has the checksum that the
  // table says, and what was committed meanwhile is read again (docs/REPLICATION.md, "Snapshots").
  // kUnavailable if the database did not come to rest within 30 s.
  absl::StatusOr<Copy> CopyContent() EXCLUDES(mu_);
  // The same as an LTX snapshot file, unlinked, positioned at 0.
  absl::StatusOr<UniqueFd> Snapshot(LtxFileRef* file) EXCLUDES(mu_);
  // The same for who reads it as it grows: the pages are stored as literals.
  absl::Status StreamSnapshot(SnapshotObserver* observer) EXCLUDES(mu_);
  // The pages that differ from base (checksums from page 1 on, page_bytes each) as an LTX file that
  // leads from base's checksum to the current position, unlinked, positioned at 0.
  // kFailedPrecondition: another page size, or the first transaction.
  absl::StatusOr<UniqueFd> Delta(uint32_t page_bytes, std::span<const ltx::Checksum> base,
                                 LtxFileRef* file) EXCLUDES(mu_);

  // Applies retention to the chain, but keeps what ends after keep_after.  Whether anything had to
  // go.
  virtual bool Prune(int64_t oldest_ms, uint64_t max_bytes, ltx::TxId keep_after) EXCLUDES(mu_);

 protected:
  explicit Database(DatabaseOptions options) : options_(std::move(options)) {}
  // The page as of chain_->position(), or anything if it cannot be had just now: the caller checks.
  virtual absl::Status ReadCommitted(ltx::PageNo pgno, std::span<std::byte> page) REQUIRES(mu_) = 0;
  // Must be called after each change of the chain with what changed.
  void NoteChanges(std::span<const PageChange> changes) REQUIRES(mu_);
  bool is_being_copied() const REQUIRES(mu_) { return changed_in_copy_ != nullptr; }

  const DatabaseOptions options_;
  Mutex mu_;
  Counters counters_ GUARDED_BY(mu_);
  std::unique_ptr<Chain> chain_;  // its table GUARDED_BY(mu_); constant after construction

 private:
  using PageSet = absl::flat_hash_set<ltx::PageNo>;
  // With a base, only of what differs from it.
  absl::StatusOr<Copy> CopyContent(const std::optional<std::span<const ltx::Checksum>>& base)
      EXCLUDES(mu_);
  bool IsInBase(ltx::PageNo pgno) const REQUIRES(mu_);
  // Reads pages that follow each other; false: they are not to be had any more.
  using ReadPages = std::function<absl::StatusOr<bool>(ltx::PageNo, std::span<std::byte>)>;
  absl::StatusOr<UniqueFd> MakeSnapshot(SnapshotObserver* observer, LtxFileRef* file) EXCLUDES(mu_);
  absl::StatusOr<UniqueFd> SnapshotAtRest(SnapshotObserver* observer, LtxFileRef* file)
      EXCLUDES(mu_);
  absl::StatusOr<UniqueFd> WriteSnapshot(const Copy& content, const ReadPages& read,
                                         SnapshotObserver* observer, LtxFileRef* file);
  absl::Status Announce(int fd, const ltx::Header& header, const ltx::Position& position,
                        SnapshotObserver* observer) const;
  absl::StatusOr<bool> ReadAtRest(const Copy& copy, ltx::PageNo first, std::span<std::byte> pages)
      EXCLUDES(mu_);
  ltx::Header SnapshotHeader(const Copy& copy, ltx::Header header) const;
  absl::StatusOr<UniqueFd> FinishFile(UniqueFd out, ltx::FdSink* sink, ltx::Encoder* encoder,
                                      const ltx::Header& header, ltx::Checksum post_apply,
                                      LtxFileRef* file);
  absl::StatusOr<UniqueFd> Encode(const Copy& copy, ltx::Header header,
                                  std::span<const ltx::PageNo> pages, LtxFileRef* file);
  absl::Status CopyPages(const Copy& copy, ltx::PageNo first, ltx::PageNo last, PageSet* missed)
      EXCLUDES(mu_);
  absl::StatusOr<bool> FinishCopy(Copy* copy, PageSet* missed, PageSet* changed) EXCLUDES(mu_);
  absl::StatusOr<bool> CopyPage(int fd, ltx::PageNo pgno) REQUIRES(mu_);

  // While a copy is being made: the pages that changed since it began.
  Mutex copy_mu_;  // one copy at a time; before mu_
  PageSet* changed_in_copy_ GUARDED_BY(mu_) = nullptr;
  std::optional<std::span<const ltx::Checksum>> copy_base_ GUARDED_BY(mu_);
  CondVar copy_progress_;
  std::vector<std::byte> copy_page_ GUARDED_BY(mu_);
};

}  // namespace litefs::db
