#include "daemon/db/ltx_log.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <thread>
#include <utility>
#include <vector>

#include "common/check.h"
#include "common/posix_io.h"
#include "common/status_macros.h"
#include "ltx/decoder.h"

namespace litefs::db {
namespace {

// Of LTX files: threads, this one included, and what is not worth another one.
constexpr uint64_t kMostVerifying = 4;
constexpr uint64_t kVerifiedByOne = 32 << 20;

uint64_t DiskBytes(uint64_t size_bytes) { return (size_bytes + 4095) & ~uint64_t{4095}; }

absl::StatusOr<LtxFileRef> VerifyOne(const std::string& path) {
  ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile(path, O_RDONLY));
  ASSIGN_OR_RETURN(ltx::FdSource source, ltx::FdSource::Open(fd.get(), path));
  ASSIGN_OR_RETURN(const ltx::FileInfo info, ltx::VerifyFile(source));
  return LtxFileRef{.min_txid = info.header.min_txid,
                    .max_txid = info.header.max_txid,
                    .pre_apply = info.header.pre_apply,
                    .post_apply = info.trailer.post_apply,
                    .size_bytes = source.size(),
                    .timestamp_ms = info.header.timestamp_ms};
}

// As VerifyOne for each name, by several threads if the files are large.
std::vector<absl::StatusOr<LtxFileRef>> VerifyAll(const std::string& directory,
                                                  const std::vector<std::string>& names) {
  std::vector<absl::StatusOr<LtxFileRef>> files(names.size());
  std::atomic<size_t> next = 0;
  const auto verify = [&] {
    for (size_t i = next++; i < names.size(); i = next++) {
      files[i] = VerifyOne(directory + "/" + names[i]);
    }
  };
  uint64_t bytes = 0;
  for (const std::string& name : names) {
    struct stat st;
    if (::stat((directory + "/" + name).c_str(), &st) == 0) {
      bytes += static_cast<uint64_t>(st.st_size);
    }
  }
  const uint64_t most =
      std::clamp<uint64_t>(std::thread::hardware_concurrency(), 1, kMostVerifying);
  const uint64_t count = std::min<uint64_t>({most, names.size(), 1 + bytes / kVerifiedByOne});
  std::vector<std::thread> others;
  for (uint64_t i = 1; i < count; ++i) others.emplace_back(verify);
  verify();
  for (std::thread& thread : others) thread.join();
  return files;
}

// (I2) Under a name of its own: a transaction's number is used again, and its file may break again.
absl::Status SetAside(const std::string& directory, const std::string& name) {
  RETURN_IF_ERROR(MakeDirectory(directory + "/set-aside"));
  const std::string wanted = directory + "/set-aside/" + name;
  std::string path = wanted;
  for (int n = 1; ::access(path.c_str(), F_OK) == 0; ++n) path = fmt::format("{}.{}", wanted, n);
  return Rename(directory + "/" + name, path);
}

// As many pruned files are kept for use as there were new ones since the last time, at most these.
constexpr size_t kMostSpares = 4096;

// More are synced with the whole file system: at a daemon's start, or after a long time without.
constexpr size_t kSyncedOneByOne = 16;

absl::Status SyncFiles(const std::string& directory, const std::vector<std::string>& paths) {
  if (paths.size() > kSyncedOneByOne) {
    ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile(directory, O_RDONLY | O_DIRECTORY));
    return ::syncfs(fd.get()) == 0 ? absl::OkStatus() : ErrnoStatus("sync " + directory, errno);
  }
  for (const std::string& path : paths) {
    const absl::StatusOr<UniqueFd> fd = OpenFile(path, O_RDONLY);
    if (absl::IsNotFound(fd.status())) continue;  // pruned since
    RETURN_IF_ERROR(fd.status());
    RETURN_IF_ERROR(SyncData(fd->get(), path));
  }
  return SyncDirectory(directory);
}

}  // namespace

absl::StatusOr<std::unique_ptr<LtxLog>> LtxLog::Open(const std::string& directory,
                                                     std::string* report) {
  std::unique_ptr<LtxLog> log(new LtxLog(directory));
  RETURN_IF_ERROR(log->Load(report));
  return log;
}

// Goes from the newest file to the oldest, so that what stays is the longest sound end of the
// chain.
absl::Status LtxLog::Load(std::string* report) {
  ::unlink(TemporaryPath().c_str());
  ASSIGN_OR_RETURN(std::vector<std::string> names, ListDirectory(directory_));
  std::erase_if(names, [](const std::string& name) { return !ltx::ParseFileName(name); });
  std::sort(names.rbegin(), names.rend());
  std::vector<absl::StatusOr<LtxFileRef>> verified = VerifyAll(directory_, names);
  MutexLock lock(mu_);
  spares_.RemoveLeftovers();
  std::vector<LtxFileRef> newest_first;
  bool chain_ended = false;
  for (size_t i = 0; i < names.size(); ++i) {
    const std::string& name = names[i];
    absl::StatusOr<LtxFileRef>& file = verified[i];
    if (file.ok() && ltx::FormatFileName(file->min_txid, file->max_txid) != name) {
      file = absl::DataLossError("name and header disagree");
    }
    if (!file.ok()) {
      if (file.status().code() != absl::StatusCode::kDataLoss &&
          file.status().code() != absl::StatusCode::kOutOfRange) {
        return file.status();  // an error of reading is no verdict on the file
      }
      *report +=
          fmt::format("set aside broken {}/{}: {}\n", directory_, name, file.status().ToString());
      RETURN_IF_ERROR(SetAside(directory_, name));
      chain_ended = !newest_first.empty();
      continue;
    }
    const bool follows =
        newest_first.empty() || (file->max_txid + 1 == newest_first.back().min_txid &&
                                 file->post_apply == newest_first.back().pre_apply);
    if (chain_ended || !follows) {
      *report += fmt::format("set aside {}/{}: it does not lead to {}\n", directory_, name,
                             ltx::FormatPosition(newest_first.front().end()));
      RETURN_IF_ERROR(SetAside(directory_, name));
      chain_ended = true;
      continue;
    }
    size_bytes_ += DiskBytes(file->size_bytes);
    newest_first.push_back(*file);
  }
  for (auto file = newest_first.rbegin(); file != newest_first.rend(); ++file) {
    file->end_bytes = end_bytes_ += file->size_bytes;
    files_.push_back(*file);
  }
  return absl::OkStatus();
}

ltx::Position LtxLog::tip() const {
  MutexLock lock(mu_);
  return files_.empty() ? ltx::Position{} : files_.back().end();
}

size_t LtxLog::file_count() const {
  MutexLock lock(mu_);
  return files_.size();
}

uint64_t LtxLog::size_bytes() const {
  MutexLock lock(mu_);
  return size_bytes_;
}

std::string LtxLog::PathOf(const LtxFileRef& file) const {
  return directory_ + "/" + ltx::FormatFileName(file.min_txid, file.max_txid);
}

absl::Status LtxLog::Append(const std::string& temporary, const LtxFileRef& file) {
  MutexLock lock(mu_);
  if (files_.empty()) {
    CHECK(file.min_txid >= 1);
  } else {
    CHECK(file.min_txid == files_.back().max_txid + 1);  // (I1)
    CHECK(file.pre_apply == files_.back().post_apply);
  }
  path_.assign(directory_).push_back('/');
  ltx::AppendFileName(file.min_txid, file.max_txid, &path_);
  RETURN_IF_ERROR(Rename(temporary, path_));
  LtxFileRef added = file;
  added.end_bytes = end_bytes_ += file.size_bytes;
  files_.push_back(added);
  size_bytes_ += DiskBytes(file.size_bytes);
  ++appended_;
  return absl::OkStatus();
}

void LtxLog::MakeTemporary() {
  {
    MutexLock lock(mu_);
    if (spares_.Take(temporary_path_)) return;
  }
  OpenFile(temporary_path_, O_WRONLY | O_CREAT).status().IgnoreError();
}

absl::Status LtxLog::Sync() {
  std::vector<std::string> paths;
  ltx::TxId end = 0;
  {
    MutexLock lock(mu_);
    if (!sync_error_.ok()) return sync_error_;
    for (auto file = files_.rbegin(); file != files_.rend() && file->max_txid > synced_; ++file) {
      paths.push_back(PathOf(*file));
    }
    if (paths.empty()) return absl::OkStatus();
    end = files_.back().max_txid;
  }
  const absl::Status status = SyncFiles(directory_, paths);
  MutexLock lock(mu_);
  if (status.ok()) synced_ = end;
  sync_error_ = status;
  return status;
}

absl::StatusOr<LtxFileRef> LtxLog::FileAfter(const ltx::Position& from) const {
  MutexLock lock(mu_);
  if (files_.empty()) return absl::NotFoundError("the chain is empty");
  if (from == files_.back().end()) return absl::NotFoundError("at the tip");
  const auto next = std::partition_point(files_.begin(), files_.end(), [&](const LtxFileRef& file) {
    return file.min_txid <= from.txid;
  });
  if (next == files_.end() || next->min_txid != from.txid + 1 ||
      (from.txid != 0 && next->pre_apply != from.checksum)) {
    return absl::OutOfRangeError(ltx::FormatPosition(from) + " is not in the chain");
  }
  return *next;
}

absl::StatusOr<UniqueFd> LtxLog::OpenForReading(const LtxFileRef& file) const {
  return OpenFile(PathOf(file), O_RDONLY);
}

absl::StatusOr<LtxFileRef> LtxLog::Last() const {
  MutexLock lock(mu_);
  if (files_.empty()) return absl::NotFoundError("the chain is empty");
  return files_.back();
}

std::optional<ltx::Position> LtxLog::FindChecksum(ltx::Checksum checksum) const {
  MutexLock lock(mu_);
  for (auto file = files_.rbegin(); file != files_.rend(); ++file) {
    if (file->post_apply == checksum) return file->end();
  }
  if (!files_.empty() && files_.front().pre_apply == checksum) {
    return ltx::Position{files_.front().min_txid - 1, checksum};
  }
  return std::nullopt;
}

std::vector<ltx::Position> LtxLog::Positions() const {
  MutexLock lock(mu_);
  std::vector<ltx::Position> positions;
  positions.reserve(files_.size() + 1);
  if (!files_.empty() && files_.front().min_txid > 1) {
    positions.push_back({files_.front().min_txid - 1, files_.front().pre_apply});
  }
  for (const LtxFileRef& file : files_) positions.push_back(file.end());
  return positions;
}

LtxLog::Backlog LtxLog::After(ltx::TxId txid) const {
  MutexLock lock(mu_);
  Backlog backlog;
  for (auto file = files_.rbegin(); file != files_.rend() && file->max_txid > txid; ++file) {
    ++backlog.files;
    backlog.bytes += file->size_bytes;
    backlog.oldest_ms = file->timestamp_ms;
  }
  return backlog;
}

std::optional<int64_t> LtxLog::TimeOf(const ltx::Position& position) const {
  MutexLock lock(mu_);
  const auto file = std::partition_point(files_.begin(), files_.end(), [&](const LtxFileRef& one) {
    return one.max_txid < position.txid;
  });
  if (file == files_.end() || file->end() != position) return std::nullopt;
  return file->timestamp_ms;
}

bool LtxLog::BeginsWithSnapshot() const {
  MutexLock lock(mu_);
  return !files_.empty() && files_.front().min_txid == 1;
}

bool LtxLog::Prune(int64_t oldest_ms, uint64_t max_bytes, ltx::TxId keep_after) {
  MutexLock lock(mu_);
  const size_t before = files_.size();
  spares_.SetLimit(std::min(std::exchange(appended_, 0), kMostSpares));
  while (files_.size() > 1 && files_.front().max_txid <= keep_after &&
         (files_.front().timestamp_ms < oldest_ms || size_bytes_ > max_bytes)) {
    if (!spares_.Remove(PathOf(files_.front())) && errno != ENOENT) break;
    size_bytes_ -= DiskBytes(files_.front().size_bytes);
    files_.pop_front();
  }
  return files_.size() < before;
}

absl::Status LtxLog::MoveAway(const std::string& destination) {
  RETURN_IF_ERROR(MakeDirectory(destination));
  MutexLock lock(mu_);
  synced_ = 0;
  while (!files_.empty()) {
    const LtxFileRef& file = files_.front();
    RETURN_IF_ERROR(Rename(PathOf(file),
                           destination + "/" + ltx::FormatFileName(file.min_txid, file.max_txid)));
    size_bytes_ -= DiskBytes(file.size_bytes);
    files_.pop_front();
  }
  return absl::OkStatus();
}

}  // namespace litefs::db
