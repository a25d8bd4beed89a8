#include "daemon/db/replica_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <optional>
#include <utility>
#include <vector>

#include "common/check.h"
#include "common/log.h"
#include "common/posix_io.h"
#include "common/sqlite_format.h"
#include "common/status_macros.h"
#include "daemon/db/side_file.h"
#include "daemon/sqlite/db_header.h"
#include "daemon/sqlite/file_lock.h"
#include "daemon/sqlite/settle.h"

namespace litefs {
namespace {

using sqlite::LockKind;

// PENDING is share-locked by every reader that begins, for an instant.
constexpr int kPendingTries = 50;
// A writer that keeps dying with a hot journal between our look and our lock.
constexpr int kSettleTries = 10;
// Readers in front of a hot journal give up SHARED at once; one from before the journal may stay.
constexpr std::chrono::milliseconds kDrainTime{500};
constexpr int kDrainPauseMs = 1;
// As SQLite's default (wal_autocheckpoint).
constexpr uint32_t kCheckpointFrames = 1000;

absl::Status CheckSource(const PageSource& source, uint32_t page_bytes, ltx::PageNo commit) {
  if (!sqlite::IsValidPageBytes(page_bytes)) {
    return absl::InvalidArgumentError(fmt::format("page size {}", page_bytes));
  }
  ltx::PageNo last = 0;
  for (size_t i = 0; i < source.count(); ++i) {
    const ltx::PageNo pgno = source.pgno(i);
    if (pgno <= last || pgno > commit) {
      return absl::InvalidArgumentError(
          fmt::format("page {} after page {} of a database of {}", pgno, last, commit));
    }
    last = pgno;
  }
  return absl::OkStatus();
}

// Whether the source holds each page of a database of commit pages.
bool IsComplete(const PageSource& source, uint32_t page_bytes, ltx::PageNo commit) {
  const bool has_lock_page = commit >= sqlite::LockPage(page_bytes);
  return source.count() >= commit - (has_lock_page ? 1 : 0);
}

absl::StatusOr<sqlite::DbHeader> ParsePage1(std::span<const std::byte> page) {
  ASSIGN_OR_RETURN(const sqlite::DbHeader header, sqlite::ParseDbHeader(page));
  if (header.page_bytes != page.size()) {
    return absl::DataLossError(
        fmt::format("page 1 says {} bytes a page, expected {}", header.page_bytes, page.size()));
  }
  return header;
}

// What page 1 of the source says about the mode; nullopt without a page 1.
absl::StatusOr<std::optional<bool>> WalByPage1(PageSource& source, uint32_t page_bytes) {
  if (source.count() == 0 || source.pgno(0) != 1) return std::nullopt;
  std::vector<std::byte> page(page_bytes);
  RETURN_IF_ERROR(source.Read(0, page));
  ASSIGN_OR_RETURN(const sqlite::DbHeader header, ParsePage1(page));
  return header.wal;
}

absl::StatusOr<bool> JournalHasHeader(const std::string& path) {
  const absl::StatusOr<UniqueFd> fd = OpenFile(path, O_RDONLY);
  if (absl::IsNotFound(fd.status())) return false;
  RETURN_IF_ERROR(fd.status());
  std::byte first{0};
  ASSIGN_OR_RETURN(const size_t n, ReadAt(fd->get(), {&first, 1}, 0, path));
  return n == 1 && first != std::byte{0};
}

absl::StatusOr<bool> Exists(const std::string& path) {
  if (::access(path.c_str(), F_OK) == 0) return true;
  if (errno == ENOENT) return false;
  return ErrnoStatus("look for " + path, errno);
}

// Renames from to a name that must not exist: kAlreadyExists.
absl::Status RenameNew(const std::string& from, const std::string& to) {
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) {
    return absl::OkStatus();
  }
  if (errno != EINVAL) return ErrnoStatus("rename " + from + " to " + to, errno);
  return Rename(from, to);  // a file system without RENAME_NOREPLACE
}

// Gives a file without one a name that must not exist: kAlreadyExists.
absl::Status LinkNew(int fd, const std::string& to) {
  const std::string from = fmt::format("/proc/self/fd/{}", fd);
  if (::linkat(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), AT_SYMLINK_FOLLOW) == 0) {
    return absl::OkStatus();
  }
  return ErrnoStatus("link " + to, errno);
}

// An error after which "nothing has changed" would be wrong.
absl::Status Changed(const absl::Status& status) {
  if (!absl::IsUnavailable(status)) return status;
  return absl::InternalError(std::string(status.message()));
}

}  // namespace

// ---- Opening and closing
// -------------------------------------------------------------------------

absl::StatusOr<std::unique_ptr<ReplicaFile>> ReplicaFile::Open(Options options) {
  std::unique_ptr<ReplicaFile> file(new ReplicaFile(std::move(options)));
  RETURN_IF_ERROR(file->OpenExisting());
  return file;
}

absl::Status ReplicaFile::OpenExisting() {
  absl::StatusOr<UniqueFd> fd = OpenFile(paths_.database, O_RDWR);
  if (absl::IsNotFound(fd.status())) return absl::OkStatus();
  RETURN_IF_ERROR(fd.status());
  database_ = *std::move(fd);
  absl::Status status = TakeReserved();
  if (status.ok()) status = LoadShape();
  if (!status.ok()) Close();
  return status;
}

// With RESERVED held, readers take a hot journal for an active one, so it is settled before.
absl::Status ReplicaFile::TakeReserved() {
  const int fd = database_.get();
  for (int i = 0; i < kSettleTries; ++i) {
    ASSIGN_OR_RETURN(const bool hot, sqlite::HasHotJournal(paths_.database));
    if (hot) RETURN_IF_ERROR(RollBack());
    ASSIGN_OR_RETURN(const bool reserved,
                     TryLock(fd, LockKind::kExclusive, sqlite::kReservedByte, 1));
    if (!reserved) return absl::UnavailableError(paths_.database + ": another process writes");
    ASSIGN_OR_RETURN(const uint64_t size, FileSize(fd, paths_.database));
    ASSIGN_OR_RETURN(const bool journal, JournalHasHeader(paths_.journal));
    // Nobody else writes, so what is there now was left behind since we looked.
    if (!journal) return absl::OkStatus();
    if (size == 0) return RemoveFile(paths_.journal);  // as pager.c does
    RETURN_IF_ERROR(sqlite::Unlock(fd, sqlite::kReservedByte, 1));
  }
  return absl::UnavailableError(paths_.database + ": hot journals keep appearing");
}

// Rolls a hot journal back under our own EXCLUSIVE.  By SQLite's locks alone that may never
// succeed: each of many readers that begin holds SHARED while it tries for EXCLUSIVE, and so
// refuses the others.  PENDING keeps them out until we have had our turn.
absl::Status ReplicaFile::RollBack() {
  const auto deadline = std::chrono::steady_clock::now() + kDrainTime;
  absl::Status status = TakeExclusive();
  while (absl::IsUnavailable(status) && std::chrono::steady_clock::now() < deadline) {
    ::poll(nullptr, 0, kDrainPauseMs);  // no event tells of a lock that is let go
    status = TakeExclusive();
  }
  if (status.ok()) {
    // One of them may have done it in the meantime.
    const absl::StatusOr<bool> left = JournalHasHeader(paths_.journal);
    status = left.status();
    if (left.ok() && *left) status = sqlite::Settle(paths_.database, sqlite::Locks::kHeld);
    // A content in WAL mode cannot be read without locks, but by then the journal is rolled back.
    const absl::StatusOr<bool> still = JournalHasHeader(paths_.journal);
    if (still.ok() && !*still) status = absl::OkStatus();
  }
  ReleaseExclusive();
  return status;
}

// Finds out mode and size, and takes the locks of WAL mode.
absl::Status ReplicaFile::LoadShape() {
  shape_ = {};
  const int fd = database_.get();
  ASSIGN_OR_RETURN(const uint64_t size, FileSize(fd, paths_.database));
  if (size == 0) {
    // Whatever log lies beside an empty file is not its own (pagerOpenWalIfPresent).
    page1_wal_ = false;
    return RemoveFile(paths_.wal);
  }
  std::array<std::byte, sqlite::kHeaderBytes> data{};
  ASSIGN_OR_RETURN(const size_t n, ReadAt(fd, data, 0, paths_.database));
  absl::StatusOr<sqlite::DbHeader> header =
      sqlite::ParseDbHeader(std::span<const std::byte>(data).first(n));
  if (!header.ok()) {
    return absl::DataLossError(
        fmt::format("open {}: {}", paths_.database, std::string(header.status().message())));
  }
  ASSIGN_OR_RETURN(const bool has_wal, Exists(paths_.wal));
  if (header->wal || has_wal) {
    ASSIGN_OR_RETURN(sqlite::SharedLock shared, sqlite::SharedLock::Take(fd));
    ASSIGN_OR_RETURN(wal_, ReplicaWal::Open(fd, paths_));
    shared.Keep();
    if (wal_->page_bytes() != 0 && wal_->page_bytes() != header->page_bytes) {
      return absl::DataLossError(fmt::format("open {}: {} bytes a page, but {} in the WAL",
                                             paths_.database, header->page_bytes,
                                             wal_->page_bytes()));
    }
    std::vector<std::byte> page(header->page_bytes);
    ASSIGN_OR_RETURN(const bool in_log, wal_->ReadPage(1, page));
    if (in_log) header = sqlite::ParseDbHeader(page);
    RETURN_IF_ERROR(header.status());
  }
  page1_wal_ = header->wal;
  shape_.wal = wal_ != nullptr;
  shape_.page_bytes = header->page_bytes;
  shape_.size_pages =
      static_cast<ltx::PageNo>((size + header->page_bytes - 1) / header->page_bytes);
  if (wal_ && wal_->size_pages() != 0) {
    shape_.size_pages = wal_->size_pages();
  } else if (header->size_valid()) {
    shape_.size_pages = header->size_pages;
  }
  return absl::OkStatus();
}

// A journal that has ended goes with the one who kept it; if it cannot be, SQLite sees its zeros.
ReplicaFile::~ReplicaFile() {
  if (database_.valid()) journal_.Remove().IgnoreError();
}

void ReplicaFile::Close() {
  wal_.reset();
  journal_.Forget();
  database_.reset();
  page1_wal_ = pending_ = exclusive_ = false;
  shape_ = {};
}

// ---- Locks
// ---------------------------------------------------------------------------------------

// From RESERVED, or SHARED and RESERVED, to EXCLUSIVE (os_unix.c, unixLock).  If readers are there:
// kUnavailable, and PENDING stays.
absl::Status ReplicaFile::TakeExclusive() {
  const int fd = database_.get();
  for (int i = 0; !pending_ && i < kPendingTries; ++i) {
    if (i > 0) ::sched_yield();
    ASSIGN_OR_RETURN(pending_, TryLock(fd, LockKind::kExclusive, sqlite::kPendingByte, 1));
    if (pending_) pending_since_ = std::chrono::steady_clock::now();
  }
  if (!pending_) return absl::UnavailableError(paths_.database + ": readers begin");
  ASSIGN_OR_RETURN(exclusive_,
                   TryLock(fd, LockKind::kExclusive, sqlite::kSharedFirst, sqlite::kSharedBytes));
  if (!exclusive_) return absl::UnavailableError(paths_.database + ": readers are at work");
  return absl::OkStatus();
}

// Back to RESERVED, and SHARED if a WAL is in use.
void ReplicaFile::ReleaseExclusive() {
  const int fd = database_.get();
  if (exclusive_) {
    // Neither a downgrade nor an unlock of our own range can be refused.
    if (wal_) {
      TryLock(fd, LockKind::kShared, sqlite::kSharedFirst, sqlite::kSharedBytes).IgnoreError();
    } else {
      sqlite::Unlock(fd, sqlite::kSharedFirst, sqlite::kSharedBytes).IgnoreError();
    }
    exclusive_ = false;
  }
  ReleasePending();
}

void ReplicaFile::ReleasePending() {
  if (!pending_) return;
  sqlite::Unlock(database_.get(), sqlite::kPendingByte, 1).IgnoreError();
  pending_ = false;
  held_ = std::chrono::steady_clock::now() - pending_since_;
}

// ---- Applying
// ------------------------------------------------------------------------------------

absl::Status ReplicaFile::Apply(PageSource& source, uint32_t page_bytes, ltx::PageNo commit) {
  if (!database_.valid()) RETURN_IF_ERROR(OpenExisting());
  if (commit == 0) {
    RETURN_IF_ERROR(source.Check());
    return Delete();
  }
  RETURN_IF_ERROR(CheckSource(source, page_bytes, commit));
  const bool is_complete = IsComplete(source, page_bytes, commit);
  // What is made anew is checked while it is written, and so are the frames of a log: nobody sees
  // them yet.
  const bool in_log = wal_ != nullptr && page1_wal_ && shape_.page_bytes == page_bytes;
  const bool anew = !database_.valid() && is_complete;
  if (!in_log && !anew) RETURN_IF_ERROR(source.Check());
  if (shape_.page_bytes != page_bytes && !is_complete) {
    return absl::InvalidArgumentError(
        fmt::format("{}: {} pages of {} bytes for a database of {} pages of {} bytes",
                    paths_.database, source.count(), page_bytes, commit, shape_.page_bytes));
  }
  const absl::StatusOr<std::optional<bool>> page1 = WalByPage1(source, page_bytes);
  if (!page1.ok()) {
    RETURN_IF_ERROR(source.Check());  // if it does not belong here, that comes first
    return page1.status();
  }
  const bool wal = page1->value_or(page1_wal_);
  if (!database_.valid()) {
    const absl::Status created = Create(source, page_bytes, commit, wal);
    if (!absl::IsAlreadyExists(created)) return created;
    // A process has made the file, empty, in the meantime.
    RETURN_IF_ERROR(OpenExisting());
    if (!database_.valid()) return absl::UnavailableError(paths_.database + ": comes and goes");
  }
  return ApplyOpen(source, page_bytes, commit, wal);
}

absl::Status ReplicaFile::ApplyOpen(PageSource& source, uint32_t page_bytes, ltx::PageNo commit,
                                    bool wal) {
  RETURN_IF_ERROR(LeaveWalIfDue());
  const bool resized = shape_.page_bytes != 0 && shape_.page_bytes != page_bytes;
  if (wal_ && !resized) {
    RETURN_IF_ERROR(wal_->Append(source, page_bytes, commit));
    page1_wal_ = wal;
    held_ = {};
    shape_ = {.page_bytes = page_bytes, .size_pages = commit, .wal = true};
    if (!checkpoints_ || !IsCheckpointDue()) return absl::OkStatus();
    // The transaction is applied whatever becomes of this; the next one tries again.
    if (const absl::Status status = Checkpoint(); !status.ok()) {
      LogWarn("apply", fmt::format("checkpoint db={} error=\"{}\"", paths_.name,
                                   std::string(status.message())));
    }
    return absl::OkStatus();
  }
  const absl::Status status = ApplyRollback(source, page_bytes, commit, wal);
  // The journal may be hot: give up the locks, so that whoever comes next rolls it back.
  if (!status.ok() && !absl::IsUnavailable(status)) Close();
  return status;
}

// The journal is written under RESERVED, beside readers.  Where they are then in the way, and where
// a WAL is left, it is written under EXCLUSIVE: not again and again while PENDING waits.
absl::Status ReplicaFile::ApplyRollback(PageSource& source, uint32_t page_bytes, ltx::PageNo commit,
                                        bool wal) {
  const JournaledWrite write{.database_fd = database_.get(),
                             .old_page_bytes = shape_.page_bytes,
                             .page_bytes = page_bytes,
                             .commit = commit};
  const bool before = wal_ == nullptr && !pending_;
  if (before) RETURN_IF_ERROR(Changed(journal_.Begin(write, source)));
  const absl::Status locked = wal_ ? LeaveWal() : TakeExclusive();
  if (!locked.ok()) {
    if (before) RETURN_IF_ERROR(Changed(journal_.End()));
    return locked;
  }
  if (!before) RETURN_IF_ERROR(Changed(journal_.Begin(write, source)));
  RETURN_IF_ERROR(Changed(journal_.Replace(write, source)));
  RETURN_IF_ERROR(Changed(journal_.End()));
  page1_wal_ = wal;
  if (wal) RETURN_IF_ERROR(Changed(EnterWal()));
  shape_ = {.page_bytes = page_bytes, .size_pages = commit, .wal = wal};
  ReleaseExclusive();
  return wal ? absl::OkStatus() : Changed(journal_.Settle());
}

// Before anybody can look: else the first reader would recover, and need our locks.
absl::Status ReplicaFile::EnterWal() {
  // A journal that came back after a power failure would be applied to what the WAL builds on.
  RETURN_IF_ERROR(journal_.Settle());
  RETURN_IF_ERROR(journal_.Remove());
  RETURN_IF_ERROR(RemoveFile(paths_.wal));
  ASSIGN_OR_RETURN(wal_, ReplicaWal::Open(database_.get(), paths_));
  return absl::OkStatus();
}

// Makes a database that does not exist under a temporary name, with its locks, and renames it.
absl::Status ReplicaFile::Create(PageSource& source, uint32_t page_bytes, ltx::PageNo commit,
                                 bool wal) {
  const std::string temporary = temporary_directory_ + "/" + paths_.name + ".tmp";
  RETURN_IF_ERROR(RemoveFile(temporary));
  ASSIGN_OR_RETURN(UniqueFd fd, OpenFile(temporary, O_RDWR | O_CREAT | O_EXCL));
  RETURN_IF_ERROR(WritePages(source, page_bytes, fd.get(), temporary));
  RETURN_IF_ERROR(source.Check());
  return Appear(std::move(fd), temporary,
                {.page_bytes = page_bytes, .size_pages = commit, .wal = wal});
}

absl::Status ReplicaFile::Adopt(UniqueFd fd, uint32_t page_bytes, ltx::PageNo commit) {
  if (!database_.valid()) RETURN_IF_ERROR(OpenExisting());
  if (database_.valid()) return absl::AlreadyExistsError(paths_.database);
  std::vector<std::byte> page(page_bytes);
  RETURN_IF_ERROR(ReadExactAt(fd.get(), page, 0, paths_.database));
  ASSIGN_OR_RETURN(const sqlite::DbHeader header, ParsePage1(page));
  return Appear(std::move(fd), "",
                {.page_bytes = page_bytes, .size_pages = commit, .wal = header.wal});
}

// The file, whose name is temporary or which has none, becomes the database, with its locks.
absl::Status ReplicaFile::Appear(UniqueFd fd, const std::string& temporary, const Shape& shape) {
  const uint64_t size = uint64_t{shape.size_pages} * shape.page_bytes;
  if (::ftruncate(fd.get(), static_cast<off_t>(size)) != 0) {
    return ErrnoStatus("set the size of the new " + paths_.database, errno);
  }
  RETURN_IF_ERROR(SyncData(fd.get(), paths_.database));
  ASSIGN_OR_RETURN(const bool reserved,
                   TryLock(fd.get(), LockKind::kExclusive, sqlite::kReservedByte, 1));
  CHECK(reserved);  // nobody knows the file yet
  // What an earlier database of this name left must not be taken for the new one's.
  for (const std::string* path : {&paths_.journal, &paths_.wal, &paths_.shm}) {
    RETURN_IF_ERROR(RemoveFile(*path));
  }
  RETURN_IF_ERROR(SyncDirectory(paths_.directory));
  std::unique_ptr<ReplicaWal> opened;
  if (shape.wal) {
    ASSIGN_OR_RETURN(sqlite::SharedLock shared, sqlite::SharedLock::Take(fd.get()));
    ASSIGN_OR_RETURN(opened, ReplicaWal::Open(fd.get(), paths_));
    shared.Keep();
  }
  RETURN_IF_ERROR(temporary.empty() ? LinkNew(fd.get(), paths_.database)
                                    : RenameNew(temporary, paths_.database));
  database_ = std::move(fd);
  wal_ = std::move(opened);
  page1_wal_ = shape.wal;
  shape_ = shape;
  return SyncDirectory(paths_.directory);
}

absl::Status ReplicaFile::Delete() {
  if (!database_.valid()) return absl::OkStatus();
  const absl::Status exclusive = TakeExclusive();
  if (!exclusive.ok()) {
    // Processes that have a WAL open stay for long: do not keep new ones out meanwhile.
    if (wal_) ReleaseExclusive();
    return exclusive;
  }
  // The database first: without it the others are nothing, but without its WAL it is damaged.
  for (const std::string* path : {&paths_.database, &paths_.wal, &paths_.shm, &paths_.journal}) {
    if (const absl::Status status = RemoveFile(*path); !status.ok()) {
      Close();
      return status;
    }
  }
  Close();
  return SyncDirectory(paths_.directory);
}

// ---- Leaving WAL mode
// ----------------------------------------------------------------------------

// Copies all of the WAL into the database file and removes it.  EXCLUSIVE is held on return.
// kUnavailable, and nothing has changed, if anybody has the database open.
absl::Status ReplicaFile::LeaveWal() {
  if (const absl::Status exclusive = TakeExclusive(); !exclusive.ok()) {
    ReleaseExclusive();
    return exclusive;
  }
  absl::Status status = wal_->Checkpoint();
  if (status.ok() && !wal_->FullyBackfilled()) {
    // A reader without SHARED is none of SQLite's.
    status = absl::UnavailableError(paths_.shm + ": read locks are held");
  }
  if (!status.ok()) {
    ReleaseExclusive();
    return status;
  }
  // A WAL that came back after a power failure would be applied over later changes: it is gone
  // for good before there are any.
  wal_.reset();
  shape_.wal = false;
  RETURN_IF_ERROR(RemoveFile(paths_.wal));
  RETURN_IF_ERROR(RemoveFile(paths_.shm));
  return SyncDirectory(paths_.directory);
}

absl::Status ReplicaFile::LeaveWalIfDue() {
  if (!wal_ || page1_wal_) return absl::OkStatus();
  const absl::Status status = LeaveWal();
  if (absl::IsUnavailable(status)) return absl::OkStatus();
  if (!status.ok() && !wal_) Close();
  if (status.ok()) ReleaseExclusive();
  return status;
}

bool ReplicaFile::IsCheckpointDue() const {
  return wal_ != nullptr && wal_->FramesToBackfill() >= kCheckpointFrames;
}

absl::Status ReplicaFile::Checkpoint() {
  if (!database_.valid()) return absl::OkStatus();
  // Nobody waits for a turn any more.
  if (!wal_) ReleasePending();
  if (wal_) RETURN_IF_ERROR(wal_->Checkpoint());
  return LeaveWalIfDue();
}

// ---- Lending
// -------------------------------------------------------------------------------------

// An app makes journals of its own: ours goes for good, lest a power failure brings it back over
// what the app has committed.
absl::Status ReplicaFile::Lend() {
  if (!database_.valid()) return absl::OkStatus();
  if (wal_) return wal_->Lend();
  ReleasePending();
  RETURN_IF_ERROR(journal_.Settle());
  RETURN_IF_ERROR(journal_.Remove());
  journal_.Forget();
  return sqlite::Unlock(database_.get(), sqlite::kReservedByte, 1);
}

absl::Status ReplicaFile::TakeBack() {
  if (!wal_) {  // it may be in another mode now, or a new file
    Close();
    return OpenExisting();
  }
  const absl::Status status = wal_->TakeBack();
  if (absl::IsUnavailable(status)) return status;
  if (!status.ok()) {
    Close();
    return status;
  }
  shape_.size_pages = wal_->size_pages() != 0 ? wal_->size_pages() : shape_.size_pages;
  return absl::OkStatus();
}

// ---- Reading
// -------------------------------------------------------------------------------------

absl::Status ReplicaFile::ReadPages(ltx::PageNo first, std::span<std::byte> pages) {
  if (!database_.valid()) RETURN_IF_ERROR(OpenExisting());
  const uint32_t page_bytes = shape_.page_bytes;
  const uint64_t count = page_bytes == 0 ? 1 : pages.size() / page_bytes;
  if (first == 0 || first - 1 + count > shape_.size_pages) {
    return absl::OutOfRangeError(fmt::format("read {}: page {} of {}", paths_.database,
                                             first - 1 + count, shape_.size_pages));
  }
  CHECK(!pages.empty() && pages.size() % page_bytes == 0);
  // The file may end before pages that only the log has.
  ASSIGN_OR_RETURN(const size_t in_file, ReadAt(database_.get(), pages,
                                                uint64_t{first - 1} * page_bytes, paths_.database));
  for (size_t at = 0; at < pages.size(); at += page_bytes, ++first) {
    const auto page = pages.subspan(at, page_bytes);
    if (first == sqlite::LockPage(page_bytes)) {
      std::fill(page.begin(), page.end(), std::byte{0});
      continue;
    }
    bool in_log = false;
    if (wal_) {
      ASSIGN_OR_RETURN(in_log, wal_->ReadPage(first, page));
    }
    if (!in_log && at + page_bytes > in_file) {
      return absl::OutOfRangeError(
          fmt::format("read {}: it ends before page {}", paths_.database, first));
    }
  }
  return absl::OkStatus();
}

}  // namespace litefs
