#include "daemon/db/wal_capture.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <limits>

#include "common/posix_io.h"
#include "common/sqlite_format.h"
#include "common/status_macros.h"
#include "daemon/sqlite/wal_index.h"

namespace litefs::db {
namespace {

// A batch ends at the first commit past this many bytes of frames.
constexpr uint64_t kBatchBytes = 16 << 20;
constexpr size_t kReadBytes = 256 << 10;
// So much of its buffer a database keeps: a node has many.
constexpr size_t kKeptBytes = 16 << 10;
// No wal-index speaks for the log: its last valid commit frame does, as in SQLite's recovery.
constexpr uint32_t kNoLimit = std::numeric_limits<uint32_t>::max();

}  // namespace

WalCapture::WalCapture(std::string database_path, DatabaseFile* file, Chain* chain)
    : wal_path_(database_path + std::string(sqlite::kWalSuffix)),
      shm_path_(database_path + std::string(sqlite::kShmSuffix)),
      file_(file),
      chain_(chain) {}

void WalCapture::Forget() {
  fd_.reset();
  index_fd_.reset();
  ForgetFrames();
}

void WalCapture::ForgetFrames() {
  header_ = {};
  next_frame_ = 1;
  size_pages_ = 0;
  buffered_frames_ = 0;
  ends_ = false;
  frame_of_.clear();
}

absl::StatusOr<bool> WalCapture::ExpectEnd() {
  reset_expected_ = true;
  ASSIGN_OR_RETURN(const bool present, OpenIndex());
  ends_ |= present;
  return ends_;
}

void WalCapture::AddPagesTo(DirtyRanges* ranges) const {
  for (const auto& [pgno, frame] : frame_of_) {
    ranges->Add(uint64_t{pgno - 1} * header_.page_bytes, header_.page_bytes);
  }
}

bool WalCapture::ended_as_announced() const {
  return reset_expected_ && ::access(wal_path_.c_str(), F_OK) != 0;
}

// Opens the log, or notices that it is gone, replaced or restarted.  False: there is nothing in it.
absl::StatusOr<bool> WalCapture::OpenLog(bool* lost) {
  struct stat st;
  if (::stat(wal_path_.c_str(), &st) != 0) {
    if (errno != ENOENT) return ErrnoStatus("stat " + wal_path_, errno);
    if (fd_.valid() && !reset_expected_) *lost = true;
    if (fd_.valid()) Forget();
    return false;
  }
  if (!fd_.valid() || st.st_ino != inode_) {
    if (fd_.valid() && !reset_expected_) *lost = true;
    Forget();
    ASSIGN_OR_RETURN(fd_, OpenFile(wal_path_, O_RDONLY));
    if (::fstat(fd_.get(), &st) != 0) return ErrnoStatus("stat " + wal_path_, errno);
    inode_ = st.st_ino;
  }
  std::array<std::byte, sqlite::kWalHeaderBytes> data;
  ASSIGN_OR_RETURN(const size_t n, ReadAt(fd_.get(), data, 0, wal_path_));
  if (n < data.size()) {  // truncated by a checkpoint: its frames are in the database file
    if (header_.page_bytes != 0 && !reset_expected_) *lost = true;
    ForgetFrames();
    return false;
  }
  const absl::StatusOr<sqlite::WalHeader> header = sqlite::ParseWalHeader(data);
  if (!header.ok()) return false;  // being written, or left by a crash: SQLite ignores it too
  if (header->salt1 != header_.salt1 || header->salt2 != header_.salt2 ||
      header_.page_bytes != header->page_bytes) {
    RETURN_IF_ERROR(StartGeneration(*header, lost));
  }
  return true;
}

absl::Status WalCapture::StartGeneration(const sqlite::WalHeader& header, bool* lost) {
  if (header_.page_bytes != 0 && !reset_expected_) *lost = true;
  header_ = header;
  next_frame_ = 1;
  checksum_ = header.checksum;
  size_pages_ = 0;
  buffered_frames_ = 0;
  ends_ = false;
  frame_of_.clear();
  return absl::OkStatus();
}

// Opens the wal-index, and again when it was replaced: the last app to leave unlinks it.  False:
// there is none.
absl::StatusOr<bool> WalCapture::OpenIndex() {
  struct stat st;
  if (::stat(shm_path_.c_str(), &st) != 0) {
    const int error = errno;
    index_fd_.reset();
    if (error != ENOENT) return ErrnoStatus("stat " + shm_path_, error);
    return false;
  }
  if (index_fd_.valid() && st.st_ino == index_inode_) return true;
  absl::StatusOr<UniqueFd> fd = OpenFile(shm_path_, O_RDONLY);
  if (absl::IsNotFound(fd.status())) return false;
  RETURN_IF_ERROR(fd.status());
  if (::fstat(fd->get(), &st) != 0) return ErrnoStatus("stat " + shm_path_, errno);
  index_fd_ = *std::move(fd);
  index_inode_ = st.st_ino;
  return true;
}

// The last frame that is committed for sure, kNoLimit if only the frames themselves can tell.
absl::StatusOr<WalCapture::Limit> WalCapture::LastCommittedFrame() {
  constexpr Limit kByChecksums{.frame = kNoLimit, .by_index = false};
  const Limit nothing_new{.frame = next_frame_ - 1, .by_index = true};
  ASSIGN_OR_RETURN(const bool present, OpenIndex());
  if (!present) return ends_ ? nothing_new : kByChecksums;
  ASSIGN_OR_RETURN(const bool alive, sqlite::WalIndexAlive(index_fd_.get()));
  if (!alive) return kByChecksums;
  const absl::StatusOr<sqlite::WalIndexHeader> index = sqlite::ReadWalIndexHeader(index_fd_.get());
  // Not written yet, or under recovery: whoever recovers will publish it and ring again.
  if (!index.ok() || !index->is_init) return nothing_new;
  if (index->salt1 != header_.salt1 || index->salt2 != header_.salt2) return nothing_new;
  return Limit{.frame = index->max_frame, .by_index = true};
}

// Whether frame (header and page) goes on the log.  running: the checksum so far.
bool WalCapture::IsNextFrame(std::span<const std::byte> frame, bool by_index,
                             sqlite::WalChecksum* running) const {
  const sqlite::WalFrameHeader head = sqlite::ParseWalFrameHeader(frame);
  if (head.pgno == 0) return false;
  const bool of_this_log = head.salt1 == header_.salt1 && head.salt2 == header_.salt2;
  if (by_index) {
    *running = head.checksum;
    return of_this_log || (head.salt1 == 0 && head.salt2 == 0);
  }
  sqlite::WalChecksum sum =
      sqlite::UpdateWalChecksum(*running, frame.first(8), header_.big_endian_checksums);
  sum = sqlite::UpdateWalChecksum(sum, frame.subspan(sqlite::kWalFrameHeaderBytes),
                                  header_.big_endian_checksums);
  *running = head.checksum;
  return of_this_log && sum == head.checksum;
}

// Reads frames from next_frame_ up to the last commit frame at or before limit, or to the end of
// a full batch.  Fills batch_frames_.  end_frame == first_frame: there is no complete transaction.
absl::StatusOr<WalCapture::Batch> WalCapture::ReadBatch(Limit limit) {
  const size_t frame_bytes = sqlite::kWalFrameHeaderBytes + header_.page_bytes;
  const auto frames_a_read = static_cast<uint32_t>(std::max<size_t>(1, kReadBytes / frame_bytes));
  batch_frames_.clear();
  Batch batch{.first_frame = next_frame_, .end_frame = next_frame_, .checksum = checksum_};
  sqlite::WalChecksum running = checksum_;
  size_t committed = 0;  // entries of batch_frames_ that belong to complete transactions
  uint32_t frame = next_frame_;
  while (frame <= limit.frame) {
    const uint32_t want = std::min(frames_a_read, limit.frame - frame + 1);
    if (buffer_.size() < want * frame_bytes) buffer_.resize(want * frame_bytes);
    ASSIGN_OR_RETURN(const size_t n,
                     ReadAt(fd_.get(), std::span(buffer_).first(want * frame_bytes),
                            sqlite::WalFrameOffset(frame, header_.page_bytes), wal_path_));
    const auto got = static_cast<uint32_t>(n / frame_bytes);
    buffered_first_ = frame;
    buffered_frames_ = got;
    bool valid = got != 0;
    for (uint32_t i = 0; i < got && valid; ++i, ++frame) {
      const auto data = std::span<const std::byte>(buffer_).subspan(i * frame_bytes, frame_bytes);
      const sqlite::WalFrameHeader head = sqlite::ParseWalFrameHeader(data);
      valid = IsNextFrame(data, limit.by_index, &running);
      if (!valid) break;
      batch_frames_.emplace_back(head.pgno, frame);
      if (head.commit == 0) continue;
      committed = batch_frames_.size();
      ++batch.transactions;
      batch.end_frame = frame + 1;
      batch.size_pages = head.commit;
      batch.checksum = running;
      if (committed * frame_bytes >= kBatchBytes) limit.frame = frame;
    }
    if (!valid || got < want) break;
  }
  batch_frames_.resize(committed);
  return batch;
}

// The page of a frame that the last ReadBatch has left in memory: all of them, but for a large
// batch.
std::span<const std::byte> WalCapture::BufferedPage(uint32_t frame) const {
  if (frame < buffered_first_ || frame - buffered_first_ >= buffered_frames_) return {};
  const size_t frame_bytes = sqlite::kWalFrameHeaderBytes + header_.page_bytes;
  return std::span(buffer_).subspan(
      (frame - buffered_first_) * frame_bytes + sqlite::kWalFrameHeaderBytes, header_.page_bytes);
}

// Whether what was read is what was committed: a program without the shim may have restarted the
// log and begun to overwrite it.  It publishes the restart in the wal-index before that.
absl::StatusOr<bool> WalCapture::StillCommitted(const Batch& batch, bool by_index) {
  if (!by_index) return true;
  ASSIGN_OR_RETURN(const Limit now, LastCommittedFrame());
  return now.frame + 1 >= batch.end_frame;
}

absl::Status WalCapture::Capture(const Batch& batch, bool by_index, bool* published) {
  newest_.clear();
  for (const auto& [pgno, frame] : batch_frames_) newest_[pgno] = frame;
  candidates_.clear();
  for (const auto& [pgno, frame] : newest_) candidates_.push_back(pgno);
  std::sort(candidates_.begin(), candidates_.end());

  const Chain::NewState state{
      .page_bytes = header_.page_bytes,
      .size_pages = batch.size_pages,
      .transactions = batch.transactions,
      .wal_offset =
          static_cast<int64_t>(sqlite::WalFrameOffset(batch.first_frame, header_.page_bytes)),
      .wal_size = static_cast<int64_t>(uint64_t{batch.end_frame - batch.first_frame} *
                                       (sqlite::kWalFrameHeaderBytes + header_.page_bytes)),
      .wal_salt1 = header_.salt1,
      .wal_salt2 = header_.salt2};
  const auto read_page = [&](ltx::PageNo pgno, std::span<std::byte> page) -> absl::Status {
    const auto it = newest_.find(pgno);
    if (it == newest_.end()) return ReadPage(pgno, page);
    if (const std::span<const std::byte> held = BufferedPage(it->second); !held.empty()) {
      std::memcpy(page.data(), held.data(), page.size());
      return absl::OkStatus();
    }
    return ReadExactAt(
        fd_.get(), page,
        sqlite::WalFrameOffset(it->second, header_.page_bytes) + sqlite::kWalFrameHeaderBytes,
        wal_path_);
  };
  ASSIGN_OR_RETURN(const bool changed, chain_->Prepare(candidates_, state, read_page));
  ASSIGN_OR_RETURN(const bool still, StillCommitted(batch, by_index));
  if (!still) {
    chain_->Discard();
    return absl::AbortedError("the WAL was reset while it was read");
  }
  if (changed) RETURN_IF_ERROR(chain_->Publish());
  *published = changed;
  for (const auto& [pgno, frame] : newest_) frame_of_[pgno] = frame;
  next_frame_ = batch.end_frame;
  checksum_ = batch.checksum;
  size_pages_ = batch.size_pages;
  reset_expected_ = false;
  return absl::OkStatus();
}

absl::StatusOr<int> WalCapture::Poll(bool* lost, const std::function<void()>& on_publish) {
  absl::StatusOr<int> files = PollFrames(lost, on_publish);
  ReleaseBuffer();
  return files;
}

void WalCapture::ReleaseBuffer() {
  buffered_frames_ = 0;
  if (buffer_.capacity() > kKeptBytes) std::vector<std::byte>().swap(buffer_);
}

absl::StatusOr<int> WalCapture::PollFrames(bool* lost, const std::function<void()>& on_publish) {
  int files = 0;
  while (true) {
    ASSIGN_OR_RETURN(const bool has_log, OpenLog(lost));
    if (!has_log) return files;
    ASSIGN_OR_RETURN(const Limit limit, LastCommittedFrame());
    if (limit.by_index && limit.frame + 1 < next_frame_) {
      // A recovery after a crash has found less than was committed.
      *lost = true;
      RETURN_IF_ERROR(Resume(/*to_end=*/true));
      return files;
    }
    if (limit.frame < next_frame_) return files;
    ASSIGN_OR_RETURN(const Batch batch, ReadBatch(limit));
    if (batch.end_frame == batch.first_frame) {
      if (!limit.by_index) return files;
      // Damaged, or being reset by a program without the shim: the next look will tell.
      return absl::DataLossError(
          fmt::format("{}: frame {} is not of this log, and the wal-index "
                      "has it committed",
                      wal_path_, next_frame_));
    }
    bool published = false;
    RETURN_IF_ERROR(Capture(batch, limit.by_index, &published));
    if (published) {
      ++files;
      on_publish();
    }
    // What was committed when this call began is captured; who commits since rings again.
    if (limit.by_index && next_frame_ > limit.frame) return files;
  }
}

absl::StatusOr<bool> WalCapture::HasUncaptured() {
  bool ignored = false;
  ASSIGN_OR_RETURN(const bool has_log, OpenLog(&ignored));
  if (!has_log) return false;
  ASSIGN_OR_RETURN(const Limit limit, LastCommittedFrame());
  if (limit.frame < next_frame_) return false;
  ASSIGN_OR_RETURN(const Batch batch, ReadBatch(limit));
  ReleaseBuffer();
  return batch.end_frame != batch.first_frame;
}

bool WalCapture::Stamp(LogStamp* stamp) const {
  struct stat st;
  if (::stat(wal_path_.c_str(), &st) != 0) {
    *stamp = {};
    return errno == ENOENT && !fd_.valid();
  }
  *stamp = {.inode = st.st_ino,
            .size = static_cast<uint64_t>(st.st_size),
            .changed_ns = int64_t{st.st_ctim.tv_sec} * 1'000'000'000 + st.st_ctim.tv_nsec};
  return fd_.valid() && st.st_ino == inode_ && header_.page_bytes != 0 &&
         stamp->size <= sqlite::WalFrameOffset(next_frame_, header_.page_bytes);
}

absl::StatusOr<bool> WalCapture::MayHoldMore() {
  bool ignored = false;
  ASSIGN_OR_RETURN(const bool has_log, OpenLog(&ignored));
  if (!has_log) return false;
  ASSIGN_OR_RETURN(const Limit limit, LastCommittedFrame());
  if (limit.by_index) return false;
  std::array<std::byte, sqlite::kWalFrameHeaderBytes> data;
  ASSIGN_OR_RETURN(
      const size_t n,
      ReadAt(fd_.get(), data, sqlite::WalFrameOffset(next_frame_, header_.page_bytes), wal_path_));
  if (n < data.size()) return false;
  const sqlite::WalFrameHeader head = sqlite::ParseWalFrameHeader(data);
  return head.pgno != 0 && ((head.salt1 == header_.salt1 && head.salt2 == header_.salt2) ||
                            (head.salt1 == 0 && head.salt2 == 0));
}

// The last frame that the chain's last file covers; kNoLimit if it is not from this log.
absl::StatusOr<uint32_t> WalCapture::LastFrameInChain() const {
  const absl::StatusOr<LtxFileRef> last = chain_->log().Last();
  if (!last.ok()) return kNoLimit;
  ASSIGN_OR_RETURN(const UniqueFd fd, chain_->log().OpenForReading(*last));
  std::array<std::byte, ltx::kHeaderBytes> data;
  RETURN_IF_ERROR(ReadExactAt(fd.get(), data, 0, chain_->log().PathOf(*last)));
  ASSIGN_OR_RETURN(const ltx::Header header, ltx::DecodeHeader(data));
  if (header.wal_salt1 != header_.salt1 || header.wal_salt2 != header_.salt2 ||
      header.page_bytes != header_.page_bytes ||
      header.wal_offset < static_cast<int64_t>(sqlite::kWalHeaderBytes)) {
    return kNoLimit;
  }
  const uint64_t end = static_cast<uint64_t>(header.wal_offset + header.wal_size);
  const uint64_t frame_bytes = sqlite::kWalFrameHeaderBytes + header_.page_bytes;
  return static_cast<uint32_t>((end - sqlite::kWalHeaderBytes) / frame_bytes);
}

// Never captures: the frames of a log that the chain does not know may be older than the chain, and
// one batch of them would take the database back in time.  The caller compares all pages instead.
absl::Status WalCapture::Resume(bool to_end) {
  bool ignored = false;
  reset_expected_ = true;
  Forget();
  ASSIGN_OR_RETURN(const bool has_log, OpenLog(&ignored));
  if (!has_log) return absl::OkStatus();
  ASSIGN_OR_RETURN(Limit end, LastCommittedFrame());
  if (!to_end) {
    ASSIGN_OR_RETURN(const uint32_t in_chain, LastFrameInChain());
    if (in_chain != kNoLimit) end.frame = std::min(end.frame, in_chain);
  }
  while (next_frame_ <= end.frame) {
    ASSIGN_OR_RETURN(const Batch batch, ReadBatch(end));
    if (batch.end_frame == batch.first_frame) break;
    for (const auto& [pgno, frame] : batch_frames_) frame_of_[pgno] = frame;
    next_frame_ = batch.end_frame;
    checksum_ = batch.checksum;
    size_pages_ = batch.size_pages;
    reset_expected_ = false;
  }
  ReleaseBuffer();
  return absl::OkStatus();
}

void WalCapture::DescribePosition(Chain::NewState* state) const {
  if (!fd_.valid() || header_.page_bytes == 0) return;
  state->wal_offset = static_cast<int64_t>(sqlite::WalFrameOffset(next_frame_, header_.page_bytes));
  state->wal_size = 0;
  state->wal_salt1 = header_.salt1;
  state->wal_salt2 = header_.salt2;
}

absl::Status WalCapture::ReadPage(ltx::PageNo pgno, std::span<std::byte> page) const {
  const auto it = frame_of_.find(pgno);
  if (it == frame_of_.end()) return file_->ReadPage(pgno, page);
  const absl::Status status = ReadExactAt(
      fd_.get(), page,
      sqlite::WalFrameOffset(it->second, header_.page_bytes) + sqlite::kWalFrameHeaderBytes,
      wal_path_);
  // The log was truncated since the last Poll, which SQLite does when the file has all pages.
  return absl::IsOutOfRange(status) ? file_->ReadPage(pgno, page) : status;
}

absl::Status WalCapture::ReadPages(ltx::PageNo first, uint32_t page_bytes,
                                   std::span<std::byte> pages) const {
  RETURN_IF_ERROR(file_->ReadPages(first, page_bytes, pages));
  if (frame_of_.empty()) return absl::OkStatus();
  for (ltx::PageNo pgno = first; !pages.empty(); ++pgno, pages = pages.subspan(page_bytes)) {
    if (HasPage(pgno)) RETURN_IF_ERROR(ReadPage(pgno, pages.first(page_bytes)));
  }
  return absl::OkStatus();
}

}  // namespace litefs::db
