// Fetcher: gets files from a store by several connections at once, each file in pieces, and hands
// them out in the order asked for.
//
// Threads: its own, from construction to destruction.  Next is called by one thread.

#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "common/mutex.h"
#include "common/unique_fd.h"
#include "daemon/archive/archive_file.h"
#include "daemon/archive/object_store.h"

namespace litefs::archive {

class Fetcher {
 public:
  struct Options {
    ObjectStore* store = nullptr;     // must outlive the fetcher
    std::string temporary_directory;  // for unlinked files
    int threads = 6;
    // From the fetcher's threads, one call at a time: bytes that have come, since the last call.
    std::function<void(uint64_t bytes)> progress;
  };
  Fetcher(Options options, std::vector<ArchiveFile> files);
  ~Fetcher();

  // The next file's bytes, in an unlinked file.  kDataLoss if the store has fewer than it listed.
  // REQUIRES: called at most once for each file.
  absl::StatusOr<UniqueFd> Next();

 private:
  struct Item {
    UniqueFd fd;
    uint64_t handed_out = 0;  // bytes that a thread has taken on
    uint64_t done = 0;
  };
  struct Piece {
    size_t item = 0;
    uint64_t offset = 0;
    uint64_t bytes = 0;
    int fd = -1;
  };

  void Run();
  bool TakePiece(Piece* piece);
  bool Advance(Piece* piece) REQUIRES(mu_);
  absl::Status FetchPiece(const Piece& piece);

  const Options options_;
  const std::vector<ArchiveFile> files_;
  Mutex mu_;
  CondVar changed_;
  std::vector<Item> items_ GUARDED_BY(mu_);
  size_t next_item_ GUARDED_BY(mu_) = 0;   // that pieces are taken from
  size_t next_given_ GUARDED_BY(mu_) = 0;  // that Next returns
  absl::Status status_ GUARDED_BY(mu_);
  bool stopping_ GUARDED_BY(mu_) = false;
  Mutex progress_mu_;
  std::vector<std::thread> threads_;
};

// An unlinked file for reading and writing in directory.
absl::StatusOr<UniqueFd> TemporaryFile(const std::string& directory);

}  // namespace litefs::archive
