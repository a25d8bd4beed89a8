// WalCapture: follows the write-ahead log of a database that apps write, and puts what they commit
// into the chain.  Takes no lock and asks nothing of the apps: frames are proven by salts and
// chained checksums, and where the log ends is in the wal-index (docs/CAPTURE.md, "WAL").
// Source of the format: sqlite.org/fileformat2.html section 4, wal.c.  Not thread-safe.

#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/unique_fd.h"
#include "daemon/db/chain.h"
#include "daemon/db/database_file.h"
#include "daemon/db/dirty_ranges.h"
#include "daemon/sqlite/wal_format.h"

namespace litefs::db {

class WalCapture {
 public:
  WalCapture(std::string database_path, DatabaseFile* file, Chain* chain);

  // Captures every transaction committed since the last call.  Publishes to the chain, one file a
  // batch.  *lost is set when frames may have vanished unseen: the database must be reconciled.
  // on_publish is called after each file.  Returns the number of files published.
  absl::StatusOr<int> Poll(bool* lost, const std::function<void()>& on_publish);

  // True if transactions are committed that Poll has not captured yet.
  absl::StatusOr<bool> HasUncaptured();

  // At start: takes the frames that the chain's last file already covers as captured, so that the
  // next Poll goes on behind them; or all that are committed, if that file is not from this log or
  // to_end is set. Either way the caller must compare the whole database once.
  absl::Status Resume(bool to_end);

  // Whether there may be more in the log that nothing can tell from what is not committed: without
  // a wal-index, frames behind the last valid one (see Limit).
  absl::StatusOr<bool> MayHoldMore();

  // The app's shim has announced that the log is about to be reset, and Poll has captured it.
  void ExpectReset() { reset_expected_ = true; }
  // The last app has announced that it unlinks the wal-index, and Poll has captured what that says
  // is committed.  Frames behind it, which the checksums alone would take for a transaction, are
  // one whose sync has failed: they go with the log.  Reopen: the app has ended, and may have left
  // both. False: there is no wal-index (an app with locking_mode EXCLUSIVE), and nothing can tell.
  absl::StatusOr<bool> ExpectEnd();
  void Reopen() { ends_ = false; }
  // The log is gone, and that was announced.
  bool ended_as_announced() const;

  // Notes in state how far the log is captured, for transactions that do not come from it.
  void DescribePosition(Chain::NewState* state) const;

  // A page as of the last captured transaction: from the log if it is there, else the file.
  absl::Status ReadPage(ltx::PageNo pgno, std::span<std::byte> page) const;
  // Several that follow each other, from first on.
  absl::Status ReadPages(ltx::PageNo first, uint32_t page_bytes, std::span<std::byte> pages) const;
  bool HasPage(ltx::PageNo pgno) const { return frame_of_.contains(pgno); }
  // The log's file as the file system has it.
  struct LogStamp {
    uint64_t inode = 0;  // 0: there is none
    uint64_t size = 0;
    int64_t changed_ns = 0;  // the inode's, which no program sets
    friend bool operator==(const LogStamp&, const LogStamp&) = default;
  };
  // Fills in stamp.  True if all that the log has is captured: no word of the wal-index can make
  // more of it a transaction before the file changes.
  bool Stamp(LogStamp* stamp) const;
  // Adds all pages that the captured part of the log has.
  void AddPagesTo(DirtyRanges* ranges) const;
  // The size after the last captured transaction of this log; 0: the log has none.
  ltx::PageNo size_pages() const { return size_pages_; }
  uint32_t page_bytes() const { return header_.page_bytes; }

 private:
  struct Batch {
    uint32_t first_frame = 0;
    uint32_t end_frame = 0;  // one past the last commit frame
    uint32_t transactions = 0;
    ltx::PageNo size_pages = 0;
    sqlite::WalChecksum checksum;  // after the last commit frame
  };
  // How far the log is committed, and by whose word.
  struct Limit {
    uint32_t frame = 0;
    // A live wal-index says so.  Then salts and checksums do not matter: after ROLLBACK TO of a
    // spilled savepoint SQLite commits frames that have zeros for both, and no reader of it minds.
    bool by_index = false;
  };
  absl::StatusOr<bool> OpenLog(bool* lost);
  absl::Status StartGeneration(const sqlite::WalHeader& header, bool* lost);
  absl::StatusOr<bool> OpenIndex();
  absl::StatusOr<Limit> LastCommittedFrame();
  bool IsNextFrame(std::span<const std::byte> frame, bool by_index,
                   sqlite::WalChecksum* running) const;
  absl::StatusOr<uint32_t> LastFrameInChain() const;
  absl::StatusOr<Batch> ReadBatch(Limit limit);
  absl::StatusOr<int> PollFrames(bool* lost, const std::function<void()>& on_publish);
  void ReleaseBuffer();
  std::span<const std::byte> BufferedPage(uint32_t frame) const;
  absl::StatusOr<bool> StillCommitted(const Batch& batch, bool by_index);
  absl::Status Capture(const Batch& batch, bool by_index, bool* published);
  void Forget();
  void ForgetFrames();

  const std::string wal_path_;
  const std::string shm_path_;
  DatabaseFile* const file_;
  Chain* const chain_;
  UniqueFd fd_;
  uint64_t inode_ = 0;
  UniqueFd index_fd_;
  uint64_t index_inode_ = 0;
  bool ends_ = false;  // see ExpectEnd
  sqlite::WalHeader header_;
  uint32_t next_frame_ = 1;       // 1-based, as in SQLite
  sqlite::WalChecksum checksum_;  // chained, up to next_frame_
  ltx::PageNo size_pages_ = 0;
  bool reset_expected_ = true;
  absl::flat_hash_map<ltx::PageNo, uint32_t> frame_of_;  // newest captured frame of each page
  // Of the batch being read:
  std::vector<std::pair<ltx::PageNo, uint32_t>> batch_frames_;
  absl::flat_hash_map<ltx::PageNo, uint32_t> newest_;
  std::vector<ltx::PageNo> candidates_;
  std::vector<std::byte> buffer_;
  uint32_t buffered_first_ = 0;  // the frame that buffer_ begins with
  uint32_t buffered_frames_ = 0;
};

}  // namespace litefs::db
