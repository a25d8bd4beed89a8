// What wal.c does under its write lock, in the same order (3.40.1; its function names are cited).
//
// Visible to readers is what the wal-index header says, and the header is stored last.  A death
// before that leaves frames beyond max_frame, which the next transaction overwrites, and entries
// in the hash tables, which the next one cleans up.  If every process dies, the next one recovers
// from the log alone: up to the last commit frame whose checksums and salts chain.

#include "daemon/db/replica_wal.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <utility>

#include "common/check.h"
#include "common/posix_io.h"
#include "common/status_macros.h"
#include "daemon/db/side_file.h"
#include "daemon/sqlite/file_lock.h"
#include "daemon/sqlite/random.h"
#include "daemon/sqlite/wal_format.h"

namespace litefs {
namespace {

using sqlite::kWalFrameHeaderBytes;
using sqlite::kWalHeaderBytes;
using sqlite::LockKind;

constexpr size_t kBufferBytes = 1 << 20;
// Pages that one call writes (IOV_MAX).
constexpr size_t kMostAtOnce = 1024;
// A restarted log that is larger than this gives its space back.
constexpr uint64_t kMaxKeptLogBytes = 64 << 20;

constexpr uint64_t ReadLock(int i) { return sqlite::kShmReadLock0 + static_cast<uint64_t>(i); }

// An exclusive lock on bytes of the shm file, given back at the end of the scope.
class ShmLock {
 public:
  static absl::StatusOr<ShmLock> Try(int fd, uint64_t start, uint64_t length) {
    ASSIGN_OR_RETURN(const bool taken, TryLock(fd, LockKind::kExclusive, start, length));
    return ShmLock(taken ? fd : -1, start, length);
  }
  ShmLock(ShmLock&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)), start_(other.start_), length_(other.length_) {}
  ShmLock& operator=(ShmLock&&) = delete;
  ~ShmLock() {
    // Unlocking a range of an open file cannot fail.
    if (fd_ >= 0) sqlite::Unlock(fd_, start_, length_).IgnoreError();
  }
  bool taken() const { return fd_ >= 0; }

 private:
  ShmLock(int fd, uint64_t start, uint64_t length) : fd_(fd), start_(start), length_(length) {}
  int fd_;
  uint64_t start_;
  uint64_t length_;
};

// A page of a source that has none: the first page, unchanged, to carry a commit mark.
class OnePage : public PageSource {
 public:
  explicit OnePage(std::vector<std::byte> page) : page_(std::move(page)) {}
  size_t count() const override { return 1; }
  ltx::PageNo pgno(size_t) const override { return 1; }
  absl::Status Read(size_t, std::span<std::byte> page) override {
    std::copy(page_.begin(), page_.end(), page.begin());
    return absl::OkStatus();
  }

 private:
  std::vector<std::byte> page_;
};

}  // namespace

// ---- Opening
// -------------------------------------------------------------------------------------

absl::StatusOr<std::unique_ptr<ReplicaWal>> ReplicaWal::Open(int database_fd,
                                                             const DatabasePaths& paths) {
  std::unique_ptr<ReplicaWal> wal(new ReplicaWal(database_fd, paths));
  ASSIGN_OR_RETURN(wal->wal_, OpenSideFile(paths.wal, database_fd));
  ASSIGN_OR_RETURN(wal->shm_, OpenSideFile(paths.shm, database_fd));
  bool fresh = false;
  RETURN_IF_ERROR(wal->TakeLocks(&fresh));
  ASSIGN_OR_RETURN(wal->index_, sqlite::WalIndexMap::Map(wal->shm_.get(), paths.shm));
  RETURN_IF_ERROR(wal->Load(fresh));
  if (!fresh) return wal;
  // The header is valid: let readers in.
  ASSIGN_OR_RETURN(const bool shared,
                   TryLock(wal->shm_.get(), LockKind::kShared, sqlite::kShmDeadManLock, 1));
  CHECK(shared);  // a downgrade of our own lock
  return wal;
}

// fresh: nobody has the wal-index open, and the dead-man lock is ours alone, so that a process that
// comes now waits until the index is rebuilt (unixLockSharedMemory).
absl::Status ReplicaWal::TakeLocks(bool* fresh) {
  const int fd = shm_.get();
  ASSIGN_OR_RETURN(*fresh, TryLock(fd, LockKind::kExclusive, sqlite::kShmDeadManLock, 1));
  if (!*fresh) {
    ASSIGN_OR_RETURN(const bool shared, TryLock(fd, LockKind::kShared, sqlite::kShmDeadManLock, 1));
    if (!shared) return absl::UnavailableError(paths_.shm + ": somebody is initialising it");
  }
  static_assert(sqlite::kShmCheckpointLock == sqlite::kShmWriteLock + 1);
  ASSIGN_OR_RETURN(const bool locked, TryLock(fd, LockKind::kExclusive, sqlite::kShmWriteLock, 2));
  if (!locked) return absl::UnavailableError(paths_.shm + ": another process writes");
  return absl::OkStatus();
}

absl::Status ReplicaWal::Load(bool fresh) {
  std::array<std::byte, kWalHeaderBytes> data;
  ASSIGN_OR_RETURN(const size_t n, ReadAt(wal_.get(), data, 0, paths_.wal));
  const absl::StatusOr<sqlite::WalHeader> log =
      sqlite::ParseWalHeader(std::span<const std::byte>(data).first(n));
  // The number of this run of the log, or of its first one.
  sequence_ = log.ok() ? log->sequence : 0;
  if (fresh) return Recover();
  const absl::StatusOr<sqlite::WalIndexHeader> index = index_->header();
  // With its writer gone nothing changes the header any more: what is torn stays torn.
  if (!index.ok()) return Recover();
  if (index->version != sqlite::kWalIndexVersion) {
    return absl::DataLossError(fmt::format("{}: version {}", paths_.shm, index->version));
  }
  // The log's header is written after the index's; until the first frame they may differ.
  if (index->max_frame != 0 &&
      (!log.ok() || log->salt1 != index->salt1 || log->salt2 != index->salt2 ||
       log->page_bytes != index->page_bytes)) {
    return Recover();
  }
  // Its restarting writer died half-way.
  if (index_->backfilled() > index->max_frame) return Recover();
  header_ = *index;
  if (header_.max_frame == 0) ++sequence_;
  return absl::OkStatus();
}

// walIndexRecover.
absl::Status ReplicaWal::Recover() {
  ASSIGN_OR_RETURN(const ShmLock recover, ShmLock::Try(shm_.get(), sqlite::kShmRecoverLock, 1));
  if (!recover.taken()) return absl::UnavailableError(paths_.shm + ": recovery is running");
  header_ = {};
  header_.version = sqlite::kWalIndexVersion;
  header_.is_init = true;
  std::vector<uint32_t> pages;
  RETURN_IF_ERROR(ScanLog(&pages));
  RETURN_IF_ERROR(index_->Rebuild(pages));
  index_->set_backfilled(0);
  index_->set_backfill_attempted(header_.max_frame);
  index_->set_read_mark(0, 0);
  for (int i = 1; i < sqlite::kShmReadLockCount; ++i) {
    ASSIGN_OR_RETURN(const ShmLock lock, ShmLock::Try(shm_.get(), ReadLock(i), 1));
    if (!lock.taken()) continue;
    const bool first = i == 1 && header_.max_frame != 0;
    index_->set_read_mark(i, first ? header_.max_frame : sqlite::kWalReadMarkNotUsed);
  }
  index_->Publish(header_);
  return absl::OkStatus();
}

// Fills in header_ from the frames up to the last good commit frame, and pages with their numbers.
absl::Status ReplicaWal::ScanLog(std::vector<uint32_t>* pages) {
  std::array<std::byte, kWalHeaderBytes> data;
  ASSIGN_OR_RETURN(const size_t n, ReadAt(wal_.get(), data, 0, paths_.wal));
  const absl::StatusOr<sqlite::WalHeader> log =
      sqlite::ParseWalHeader(std::span<const std::byte>(data).first(n));
  if (!log.ok()) return absl::OkStatus();  // an empty log, or one whose header was never written
  header_.page_bytes = log->page_bytes;
  header_.big_endian_checksums = log->big_endian_checksums;
  header_.salt1 = log->salt1;
  header_.salt2 = log->salt2;
  header_.frame_checksum = log->checksum;
  const size_t frame_bytes = kWalFrameHeaderBytes + log->page_bytes;
  const size_t frames_per_read = std::max<size_t>(1, kBufferBytes / frame_bytes);
  buffer_.resize(frames_per_read * frame_bytes);
  sqlite::WalChecksum sum = log->checksum;
  for (uint32_t frame = 1;; frame += static_cast<uint32_t>(frames_per_read)) {
    ASSIGN_OR_RETURN(
        const size_t got,
        ReadAt(wal_.get(), buffer_, sqlite::WalFrameOffset(frame, log->page_bytes), paths_.wal));
    bool more = true;
    for (size_t i = 0; more && i < got / frame_bytes; ++i) {
      const std::span<const std::byte> bytes =
          std::span(buffer_).subspan(i * frame_bytes, frame_bytes);
      const sqlite::WalFrameHeader header = sqlite::ParseWalFrameHeader(bytes);
      sum = WalFrameChecksum(sum, header, bytes.subspan(kWalFrameHeaderBytes),
                             log->big_endian_checksums);
      more = header.salt1 == log->salt1 && header.salt2 == log->salt2 && header.pgno != 0 &&
             sum == header.checksum;
      if (!more) break;
      pages->push_back(header.pgno);
      if (header.commit == 0) continue;
      header_.max_frame = static_cast<uint32_t>(pages->size());
      header_.page_count = header.commit;
      header_.frame_checksum = sum;
    }
    if (!more || got < buffer_.size()) break;
  }
  pages->resize(header_.max_frame);
  return absl::OkStatus();
}

// ---- Writing
// -------------------------------------------------------------------------------------

absl::Status ReplicaWal::Append(PageSource& source, uint32_t page_bytes, ltx::PageNo commit) {
  CHECK(header_.max_frame == 0 || header_.page_bytes == page_bytes);
  std::vector<size_t> chosen;
  const ltx::PageNo lock_page = sqlite::LockPage(page_bytes);
  for (size_t i = 0; i < source.count(); ++i) {
    if (source.pgno(i) != lock_page) chosen.push_back(i);
  }
  if (chosen.empty()) {
    RETURN_IF_ERROR(source.Check());
    std::vector<std::byte> page(page_bytes);
    ASSIGN_OR_RETURN(const bool in_log, ReadPage(1, page));
    if (!in_log) RETURN_IF_ERROR(ReadExactAt(database_fd_, page, 0, paths_.database));
    OnePage first_page(std::move(page));
    return Append(first_page, page_bytes, commit);
  }
  RETURN_IF_ERROR(TryRestart());
  if (header_.max_frame == 0) RETURN_IF_ERROR(StartLog(page_bytes));

  sqlite::WalIndexHeader next = header_;
  RETURN_IF_ERROR(WriteFrames(source, chosen, commit, &next));
  RETURN_IF_ERROR(index_->Reserve(next.max_frame));
  for (size_t i = 0; i < chosen.size(); ++i) {
    RETURN_IF_ERROR(index_->Append(header_.max_frame + 1 + static_cast<uint32_t>(i),
                                   source.pgno(chosen[i]), header_.max_frame));
  }
  ++next.change;
  next.page_count = commit;
  index_->Publish(next);
  header_ = next;
  return absl::OkStatus();
}

// Writes the log's header (walFrames, iFrame==0).  It is synced: if it reached the disk after
// frames that follow it, frames of the log's earlier run might look like its own.
absl::Status ReplicaWal::StartLog(uint32_t page_bytes) {
  sqlite::WalHeader log;
  log.page_bytes = page_bytes;
  log.sequence = sequence_;
  const bool unborn = header_.salt1 == 0 && header_.salt2 == 0;
  log.salt1 = unborn ? sqlite::RandomUint32() : header_.salt1;
  log.salt2 = unborn ? sqlite::RandomUint32() : header_.salt2;
  std::array<std::byte, kWalHeaderBytes> data;
  sqlite::EncodeWalHeader(log, data);
  RETURN_IF_ERROR(WriteAt(wal_.get(), data, 0, paths_.wal));
  RETURN_IF_ERROR(SyncData(wal_.get(), paths_.wal));
  ASSIGN_OR_RETURN(log, sqlite::ParseWalHeader(data));  // with its checksum
  header_.salt1 = log.salt1;
  header_.salt2 = log.salt2;
  header_.page_bytes = page_bytes;
  header_.big_endian_checksums = false;
  header_.frame_checksum = log.checksum;
  return absl::OkStatus();
}

// Writes the frames behind header_.max_frame and brings next's max_frame and checksum to their end.
// The source is checked before the last of them, which makes a transaction of the others, so that
// each page is decoded once.
absl::Status ReplicaWal::WriteFrames(PageSource& source, const std::vector<size_t>& chosen,
                                     ltx::PageNo commit, sqlite::WalIndexHeader* next) {
  const uint32_t page_bytes = header_.page_bytes;
  const size_t frame_bytes = kWalFrameHeaderBytes + page_bytes;
  const size_t frames_per_write = std::max<size_t>(1, kBufferBytes / frame_bytes);
  for (size_t begin = 0; begin < chosen.size(); begin += frames_per_write) {
    const size_t end = std::min(chosen.size(), begin + frames_per_write);
    buffer_.resize((end - begin) * frame_bytes);
    for (size_t i = begin; i < end; ++i) {
      const std::span<std::byte> frame =
          std::span(buffer_).subspan((i - begin) * frame_bytes, frame_bytes);
      const std::span<std::byte> page = frame.subspan(kWalFrameHeaderBytes);
      RETURN_IF_ERROR(source.Read(chosen[i], page));
      sqlite::WalFrameHeader header;
      header.pgno = source.pgno(chosen[i]);
      header.commit = i + 1 == chosen.size() ? commit : 0;
      header.salt1 = header_.salt1;
      header.salt2 = header_.salt2;
      header.checksum =
          WalFrameChecksum(next->frame_checksum, header, page, header_.big_endian_checksums);
      next->frame_checksum = header.checksum;
      sqlite::EncodeWalFrameHeader(header, frame.first<kWalFrameHeaderBytes>());
    }
    if (end == chosen.size()) RETURN_IF_ERROR(source.Check());
    RETURN_IF_ERROR(WriteAt(wal_.get(), buffer_,
                            sqlite::WalFrameOffset(next->max_frame + 1, page_bytes), paths_.wal));
    next->max_frame += static_cast<uint32_t>(end - begin);
  }
  return absl::OkStatus();
}

absl::Status ReplicaWal::Sync() { return SyncData(wal_.get(), paths_.wal); }

// ---- Checkpoint
// ----------------------------------------------------------------------------------

absl::Status ReplicaWal::Checkpoint() {
  if (!FullyBackfilled()) {
    ASSIGN_OR_RETURN(const uint32_t safe_frame, FindSafeFrame());
    if (index_->backfilled() < safe_frame) RETURN_IF_ERROR(Backfill(safe_frame));
  }
  return TryRestart();
}

// The last frame that may be copied without changing what a reader sees (walCheckpoint).
absl::StatusOr<uint32_t> ReplicaWal::FindSafeFrame() {
  uint32_t safe_frame = header_.max_frame;
  for (int i = 1; i < sqlite::kShmReadLockCount; ++i) {
    const uint32_t mark = index_->read_mark(i);
    if (safe_frame <= mark) continue;
    ASSIGN_OR_RETURN(const ShmLock lock, ShmLock::Try(shm_.get(), ReadLock(i), 1));
    if (lock.taken()) {
      index_->set_read_mark(i, i == 1 ? safe_frame : sqlite::kWalReadMarkNotUsed);
    } else {
      safe_frame = mark;
    }
  }
  return safe_frame;
}

absl::Status ReplicaWal::Backfill(uint32_t safe_frame) {
  // Readers under READ(0) use the database file alone: it must not change under them.
  ASSIGN_OR_RETURN(const ShmLock no_file_readers, ShmLock::Try(shm_.get(), ReadLock(0), 1));
  if (!no_file_readers.taken()) return absl::OkStatus();
  index_->set_backfill_attempted(safe_frame);
  RETURN_IF_ERROR(SyncData(wal_.get(), paths_.wal));
  RETURN_IF_ERROR(CopyPages(safe_frame));
  if (safe_frame == header_.max_frame) {
    const uint64_t size = uint64_t{header_.page_count} * header_.page_bytes;
    ASSIGN_OR_RETURN(const uint64_t old_size, FileSize(database_fd_, paths_.database));
    if (old_size != size && ::ftruncate(database_fd_, static_cast<off_t>(size)) != 0) {
      return ErrnoStatus("truncate " + paths_.database, errno);
    }
    RETURN_IF_ERROR(SyncData(database_fd_, paths_.database));
  }
  index_->set_backfilled(safe_frame);
  return absl::OkStatus();
}

// Copies the last version of each page that has changed since the last checkpoint, in the order of
// the database.  A page whose last version is beyond safe_frame is left alone, as in wal.c: whoever
// opens a snapshot now finds that version in the log.
absl::Status ReplicaWal::CopyPages(uint32_t safe_frame) {
  struct Version {
    uint32_t pgno;
    uint32_t frame;
    auto operator<=>(const Version&) const = default;
  };
  std::vector<Version> versions;
  for (uint32_t frame = index_->backfilled() + 1; frame <= header_.max_frame; ++frame) {
    ASSIGN_OR_RETURN(const uint32_t pgno, index_->PageOfFrame(frame));
    if (pgno == 0)
      return absl::DataLossError(fmt::format("{}: frame {} has no page", paths_.shm, frame));
    versions.push_back({.pgno = pgno, .frame = frame});
  }
  std::sort(versions.begin(), versions.end());
  const size_t most = std::min<size_t>(
      kMostAtOnce, std::max<size_t>(1, kBufferBytes / (kWalFrameHeaderBytes + header_.page_bytes)));
  Version first{};
  uint32_t count = 0;
  const auto copy = [&]() -> absl::Status {
    return count == 0 ? absl::OkStatus() : CopyRun(first.pgno, first.frame, count);
  };
  for (size_t i = 0; i < versions.size(); ++i) {
    const auto [pgno, frame] = versions[i];
    if (i + 1 < versions.size() && versions[i + 1].pgno == pgno) continue;
    if (frame > safe_frame || pgno > header_.page_count) continue;
    if (count == most || pgno != first.pgno + count || frame != first.frame + count) {
      RETURN_IF_ERROR(copy());
      first = versions[i];
      count = 0;
    }
    ++count;
  }
  return copy();
}

// Copies pages that follow each other, from frames that do so too.
absl::Status ReplicaWal::CopyRun(uint32_t pgno, uint32_t frame, uint32_t count) {
  const uint32_t page_bytes = header_.page_bytes;
  const size_t frame_bytes = kWalFrameHeaderBytes + page_bytes;
  buffer_.resize(count * frame_bytes);
  RETURN_IF_ERROR(
      ReadExactAt(wal_.get(), buffer_, sqlite::WalFrameOffset(frame, page_bytes), paths_.wal));
  std::vector<iovec> pages(count);
  for (uint32_t i = 0; i < count; ++i) {
    pages[i] = {.iov_base = buffer_.data() + i * frame_bytes + kWalFrameHeaderBytes,
                .iov_len = page_bytes};
  }
  const uint64_t offset = uint64_t{pgno - 1} * page_bytes;
  const ssize_t n =
      ::pwritev(database_fd_, pages.data(), static_cast<int>(count), static_cast<off_t>(offset));
  if (n == static_cast<ssize_t>(size_t{count} * page_bytes)) return absl::OkStatus();
  // Not all of them: one by one, which says why.
  for (uint32_t i = 0; i < count; ++i) {
    const auto page =
        std::span(buffer_).subspan(i * frame_bytes + kWalFrameHeaderBytes, page_bytes);
    RETURN_IF_ERROR(
        WriteAt(database_fd_, page, offset + uint64_t{i} * page_bytes, paths_.database));
  }
  return absl::OkStatus();
}

// walRestartHdr, if everything is in the database file and no reader uses the log: the next
// transaction starts at the log's beginning.
absl::Status ReplicaWal::TryRestart() {
  if (header_.max_frame == 0 || !FullyBackfilled()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const ShmLock no_log_readers,
                   ShmLock::Try(shm_.get(), ReadLock(1), sqlite::kShmReadLockCount - 1));
  if (!no_log_readers.taken()) return absl::OkStatus();
  sqlite::WalIndexHeader next = header_;
  next.max_frame = 0;
  ++next.salt1;
  next.salt2 = sqlite::RandomUint32();
  // wal.c stores this after the header.  If we die in between, "nothing is backfilled" costs a
  // checkpoint; more backfilled than the log has would hide its next frames from readers.
  index_->set_backfilled(0);
  index_->Publish(next);
  header_ = next;
  ++sequence_;
  index_->set_backfill_attempted(0);
  index_->set_read_mark(1, 0);
  for (int i = 2; i < sqlite::kShmReadLockCount; ++i) {
    index_->set_read_mark(i, sqlite::kWalReadMarkNotUsed);
  }
  ASSIGN_OR_RETURN(const uint64_t size, FileSize(wal_.get(), paths_.wal));
  if (size > kMaxKeptLogBytes && ::ftruncate(wal_.get(), 0) != 0) {
    return ErrnoStatus("truncate " + paths_.wal, errno);
  }
  return absl::OkStatus();
}

// ---- Lending
// -------------------------------------------------------------------------------------

absl::Status ReplicaWal::Lend() { return sqlite::Unlock(shm_.get(), sqlite::kShmWriteLock, 1); }

absl::Status ReplicaWal::TakeBack() {
  ASSIGN_OR_RETURN(const bool locked,
                   TryLock(shm_.get(), LockKind::kExclusive, sqlite::kShmWriteLock, 1));
  if (!locked) return absl::UnavailableError(paths_.shm + ": an app writes");
  RETURN_IF_ERROR(Load(/*fresh=*/false));
  return index_->Reserve(header_.max_frame);
}

// An app may have committed since the loan began, and restarted the log.
absl::StatusOr<ReplicaWal::Frames> ReplicaWal::Uncommitted(uint32_t last_frame,
                                                           uint32_t page_bytes) {
  ASSIGN_OR_RETURN(header_, index_->header());
  RETURN_IF_ERROR(index_->Reserve(header_.max_frame));
  Frames frames;
  std::array<std::byte, kWalFrameHeaderBytes> data;
  for (uint32_t frame = header_.max_frame + 1; frame <= last_frame; ++frame) {
    RETURN_IF_ERROR(
        ReadExactAt(wal_.get(), data, sqlite::WalFrameOffset(frame, page_bytes), paths_.wal));
    const uint32_t pgno = sqlite::ParseWalFrameHeader(data).pgno;
    if (pgno == 0)
      return absl::DataLossError(fmt::format("{}: frame {} has no page", paths_.wal, frame));
    frames[pgno] = frame;
  }
  return frames;
}

absl::Status ReplicaWal::ReadFrame(uint32_t frame, std::span<std::byte> page) {
  return ReadExactAt(
      wal_.get(), page,
      sqlite::WalFrameOffset(frame, static_cast<uint32_t>(page.size())) + kWalFrameHeaderBytes,
      paths_.wal);
}

// ---- Reading
// -------------------------------------------------------------------------------------

absl::StatusOr<bool> ReplicaWal::ReadPage(ltx::PageNo pgno, std::span<std::byte> page) {
  const uint32_t frame = index_->FindFrame(pgno, header_.max_frame);
  if (frame == 0) return false;
  CHECK(page.size() == header_.page_bytes);
  RETURN_IF_ERROR(ReadExactAt(
      wal_.get(), page, sqlite::WalFrameOffset(frame, header_.page_bytes) + kWalFrameHeaderBytes,
      paths_.wal));
  return true;
}

}  // namespace litefs
