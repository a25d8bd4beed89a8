#include "daemon/archive/fetcher.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "common/posix_io.h"
#include "common/status_macros.h"
#include "daemon/archive/opened_file.h"

namespace litefs::archive {
namespace {

constexpr uint64_t kPieceBytes = 8 << 20;
// Files that are open at once: those in flight and those that wait to be handed out.
constexpr size_t kMaxAhead = 64;

}  // namespace

absl::StatusOr<UniqueFd> TemporaryFile(const std::string& directory) {
  absl::StatusOr<UniqueFd> fd = OpenFile(directory, O_RDWR | O_TMPFILE, 0600);
  if (fd.ok()) return fd;
  std::string path = directory + "/.litefs-XXXXXX";  // a file system without O_TMPFILE
  UniqueFd named(::mkostemp(path.data(), O_CLOEXEC));
  if (named.get() < 0) return ErrnoStatus(path, errno);
  ::unlink(path.c_str());
  return named;
}

Fetcher::Fetcher(Options options, std::vector<ArchiveFile> files)
    : options_(std::move(options)), files_(std::move(files)), items_(files_.size()) {
  for (int i = 0; i < options_.threads; ++i) threads_.emplace_back([this] { Run(); });
}

Fetcher::~Fetcher() {
  {
    MutexLock lock(mu_);
    stopping_ = true;
  }
  changed_.NotifyAll();
  for (std::thread& thread : threads_) thread.join();
}

absl::StatusOr<UniqueFd> Fetcher::Next() {
  MutexLock lock(mu_);
  Item& item = items_[next_given_];
  const uint64_t size = files_[next_given_].size_bytes;
  while (status_.ok() && (item.fd.get() < 0 || item.done < size)) changed_.Wait(mu_);
  RETURN_IF_ERROR(status_);
  ++next_given_;
  changed_.NotifyAll();
  return std::move(item.fd);
}

void Fetcher::Run() {
  Piece piece;
  while (TakePiece(&piece)) {
    const absl::Status status = FetchPiece(piece);
    if (status.ok() && options_.progress) {
      MutexLock lock(progress_mu_);
      options_.progress(piece.bytes);
    }
    MutexLock lock(mu_);
    if (!status.ok() && status_.ok()) status_ = AboutFile(files_[piece.item], status);
    if (status.ok()) items_[piece.item].done += piece.bytes;
    changed_.NotifyAll();
  }
}

bool Fetcher::TakePiece(Piece* piece) {
  MutexLock lock(mu_);
  while (true) {
    if (stopping_ || !status_.ok() || next_item_ == items_.size()) return false;
    if (next_item_ < next_given_ + kMaxAhead) return Advance(piece);
    changed_.Wait(mu_);
  }
}

bool Fetcher::Advance(Piece* piece) {
  Item& item = items_[next_item_];
  const uint64_t size = files_[next_item_].size_bytes;
  if (item.fd.get() < 0) {
    absl::StatusOr<UniqueFd> fd = TemporaryFile(options_.temporary_directory);
    if (!fd.ok()) {
      status_ = fd.status();
      changed_.NotifyAll();
      return false;
    }
    item.fd = *std::move(fd);
  }
  *piece = {.item = next_item_,
            .offset = item.handed_out,
            .bytes = std::min(kPieceBytes, size - item.handed_out),
            .fd = item.fd.get()};
  item.handed_out += piece->bytes;
  if (item.handed_out == size) ++next_item_;
  return true;
}

absl::Status Fetcher::FetchPiece(const Piece& piece) {
  if (piece.bytes == 0) return absl::OkStatus();
  const std::string& name = files_[piece.item].name;
  ASSIGN_OR_RETURN(const std::string data, options_.store->Get(name, piece.offset, piece.bytes));
  if (data.size() != piece.bytes) {
    return absl::DataLossError(
        fmt::format("{} bytes came at offset {}, not {}", data.size(), piece.offset, piece.bytes));
  }
  return WriteAt(piece.fd, std::as_bytes(std::span(data)), piece.offset,
                 options_.temporary_directory);
}

}  // namespace litefs::archive
