// Chain: a database's LTX log and its table of page checksums, kept in agreement, and the two steps
// by which a transaction enters it: Prepare (compare, encode, sync if asked) and Publish (rename).
// Not thread-safe, but log() is.
//
// Invariant (I3): a file is in the log before the table knows it, so after a crash the table is at
// most one file behind, and that file's pages tell how to bring it up (Open does).

#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/clock.h"
#include "daemon/db/compression_budget.h"
#include "daemon/db/ltx_log.h"
#include "daemon/db/page_checksums.h"
#include "ltx/decoder.h"
#include "ltx/encoder.h"

namespace litefs::db {

// A transaction that leaves nothing: the database was deleted.
inline bool IsDeletion(const ltx::Position& end) {
  return end.txid != 0 && end.checksum == ltx::kEmptyDatabaseChecksum;
}

// The page's number and its new checksum.
struct PageChange {
  ltx::PageNo pgno = 0;
  ltx::Checksum checksum = 0;
};

class Chain {
 public:
  struct Options {
    std::string directory;  // of this database, in .litefs/dbs; created if absent
    uint64_t node_id = 0;   // for LTX headers
    const Clock* clock = nullptr;
    bool replica = false;  // the table follows the database file, not the log: the caller sets it
  };
  // What Prepare is to make of the database's new state.
  struct NewState {
    uint32_t page_bytes = 0;
    ltx::PageNo size_pages = 0;
    uint64_t transactions = 1;  // how many SQLite transactions led here
    int64_t wal_offset = 0, wal_size = 0;
    uint32_t wal_salt1 = 0, wal_salt2 = 0;
    std::string temporary{};   // where to write the file; "": at log().TemporaryPath()
    int64_t timestamp_ms = 0;  // 0: now, by the clock
  };
  using ReadPage = std::function<absl::Status(ltx::PageNo, std::span<std::byte>)>;
  // Of Prepare, where many pages are looked at: reads several that follow each other.  Where they
  // are very many, it is called from several threads at once, which all have ended when Prepare
  // returns.
  static constexpr ltx::PageNo kPagesAtOnce = 64;

  // Opens or creates.  *report gets a line for each thing a human should know.
  static absl::StatusOr<std::unique_ptr<Chain>> Open(Options options, std::string* report);

  const LtxLog& log() const { return *log_; }
  // The last transaction is the database's deletion.
  bool deleted() const { return IsDeletion(log_->tip()); }
  LtxLog& log() { return *log_; }
  const PageChecksums& table() const { return *table_; }
  // False after the table was lost: page checksums are unknown until a full comparison.
  bool table_valid() const { return table_valid_; }
  // The state that the table describes.
  ltx::Position position() const { return table_->position(); }

  // Compares candidates (ascending, without duplicates) and every page that growth adds with the
  // table, and encodes those that differ as the transaction(s) after position().  Returns false,
  // with nothing prepared, if none differs and the size is the same.  If the page size changes or
  // the chain is empty, all pages are candidates.
  absl::StatusOr<bool> Prepare(std::span<const ltx::PageNo> candidates, const NewState& state,
                               const ReadPage& read_page, const ReadPage& read_pages = nullptr);
  // Prepares the database's deletion: the transaction after position(), of no pages.  False, with
  // nothing prepared, if the chain is empty or the database deleted already.
  absl::StatusOr<bool> PrepareDeletion();
  bool prepared() const { return prepared_.has_value(); }
  // REQUIRES: prepared()
  const LtxFileRef& prepared_file() const { return prepared_->file; }
  // Takes what was prepared, whose file is in the log by another way, into the table.
  // REQUIRES: prepared()
  absl::Status ApplyPrepared();
  const std::vector<PageChange>& prepared_changes() const { return changes_; }
  // Makes the prepared transaction the tip.  REQUIRES: prepared()
  absl::Status Publish();
  void Discard();

  // A replica's way in: a verified LTX file at temporary (in log().TemporaryPath()) becomes the tip
  // of the log; the table follows by Applied.
  absl::Status Accept(const std::string& temporary, const LtxFileRef& file);
  // Brings the table to position, whose database has the given shape.
  absl::Status Applied(std::span<const PageChange> changes, uint32_t page_bytes,
                       ltx::PageNo size_pages, ltx::TxId txid);
  // Replaces the table by that of the given content.
  absl::Status ResetTable(uint32_t page_bytes, ltx::PageNo size_pages, ltx::TxId txid,
                          std::span<const ltx::Checksum> checksums);

  const std::string& directory() const { return options_.directory; }

 private:
  struct Prepared {
    LtxFileRef file;
    uint32_t page_bytes = 0;
    ltx::PageNo size_pages = 0;
  };
  // Collects an LTX file in memory, and in the temporary file once it is large.
  class FileSink final : public ltx::ByteSink {
   public:
    absl::Status Open(const std::string& path);
    absl::Status Append(std::span<const std::byte> data) override;
    absl::Status Close();

   private:
    absl::Status Flush();
    UniqueFd fd_;
    std::string path_;
    std::vector<std::byte> buffer_;
    uint64_t offset_ = 0;
  };

  explicit Chain(Options options) : options_(std::move(options)) {}
  absl::Status CatchUpTable(std::string* report);
  absl::StatusOr<uint32_t> LastPageBytes() const;
  // Pages that follow each other.
  struct Run {
    ltx::PageNo first = 0;
    ltx::PageNo count = 0;
  };
  absl::Status FindChanges(std::span<const ltx::PageNo> candidates, const NewState& state,
                           bool everything, const ReadPage& read_page, const ReadPage& read_pages);
  void CollectRuns(std::span<const ltx::PageNo> candidates, const NewState& state,
                   ltx::PageNo old_size, ltx::PageNo most);
  absl::Status CompareRuns(std::span<const Run> runs, uint32_t page_bytes, ltx::PageNo old_size,
                           const ReadPage& read_pages, std::vector<std::byte>* buffer,
                           std::vector<PageChange>* changes) const;
  absl::Status CompareInParallel(uint32_t page_bytes, ltx::PageNo old_size,
                                 const ReadPage& read_pages);
  absl::StatusOr<ltx::Trailer> EncodeChanges(const ltx::Header& header, const NewState& state,
                                             const ReadPage& read_page);

  const Options options_;
  std::unique_ptr<LtxLog> log_;
  std::unique_ptr<PageChecksums> table_;
  bool table_valid_ = true;
  std::optional<Prepared> prepared_;
  CompressionBudget compression_;
  // Kept for their memory: a steady stream of transactions allocates nothing.
  ltx::Encoder encoder_;
  FileSink sink_;
  std::vector<PageChange> changes_;
  std::vector<std::byte> page_;
  std::vector<Run> runs_;
};

// The pages of an LTX file, in order, with their checksums.
absl::StatusOr<std::vector<PageChange>> ChangesOf(ltx::ByteSource& source, ltx::FileInfo* info);

}  // namespace litefs::db
