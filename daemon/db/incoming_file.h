// IncomingFile: a big LTX file that is verified while it arrives, on a thread of its own.  If it is
// a snapshot of a database that is not here yet, a second thread writes its pages meanwhile to a
// file without a name, which can become the database (ReplicaFile::Adopt): so they need not be
// decoded and written when all has come, and the disk is at work from the beginning.  Two threads,
// so that what is verified need not wait for the disk.
//
// The database is written past the page cache where the file system can do that: what nobody has
// read yet would only push out what somebody has, and to fill the cache costs as much as all else.
//
// Memory: that of two decoders, 1 MiB, and 8 bytes for each page.  Any thread.

#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/mutex.h"
#include "common/unique_fd.h"
#include "ltx/decoder.h"
#include "ltx/types.h"

namespace litefs::db {

// The whole content of a database, in a file without a name.
struct NewDatabase {
  UniqueFd fd;
  uint32_t page_bytes = 0;
  ltx::PageNo size_pages = 0;
  ltx::Position position;
  std::vector<ltx::Checksum> sums;  // from page 1 on
};

class IncomingFile {
 public:
  // The file arrives in fd, from its start to its end; fd may be closed meanwhile.
  // directory: on the database's file system; "": its pages are of no use now.
  static absl::StatusOr<std::shared_ptr<IncomingFile>> Begin(int fd, uint64_t size_bytes,
                                                             const std::string& directory);
  ~IncomingFile();  // waits for a write at most
  IncomingFile(const IncomingFile&) = delete;
  IncomingFile& operator=(const IncomingFile&) = delete;

  // There are so many bytes of it now.  kDataLoss: what has come is broken.
  absl::Status Arrived(uint64_t bytes) EXCLUDES(mu_);
  // Waits until all is verified.  REQUIRES: all has arrived.  As ltx::VerifyFile.
  absl::StatusOr<ltx::FileInfo> Finish() EXCLUDES(mu_);
  // Waits until the database is written, and gives it away.  Null: it is no snapshot, or there was
  // no room.  REQUIRES: Finish has succeeded.
  std::unique_ptr<NewDatabase> TakeDatabase() EXCLUDES(mu_);

 private:
  class Source;
  class Writer;
  using Visit =
      std::function<absl::Status(const ltx::Decoder&, ltx::PageNo, std::span<const std::byte>)>;

  IncomingFile(UniqueFd fd, uint64_t size_bytes) : fd_(std::move(fd)), size_bytes_(size_bytes) {}
  absl::StatusOr<ltx::FileInfo> Decode(const Visit& visit) EXCLUDES(mu_);
  void Verify() EXCLUDES(mu_);
  absl::Status Write(NewDatabase* database) EXCLUDES(mu_);
  void Make(UniqueFd fd) EXCLUDES(mu_);
  absl::Status AwaitArrival(uint64_t bytes) EXCLUDES(mu_);

  const UniqueFd fd_;
  const uint64_t size_bytes_;
  Mutex mu_;
  CondVar changed_;
  uint64_t arrived_ GUARDED_BY(mu_) = 0;
  bool stopping_ GUARDED_BY(mu_) = false;
  bool verified_ GUARDED_BY(mu_) = false;
  absl::StatusOr<ltx::FileInfo> result_ GUARDED_BY(mu_) = absl::CancelledError("not finished");
  bool made_ GUARDED_BY(mu_) = true;  // database_ is as it will be
  std::unique_ptr<NewDatabase> database_ GUARDED_BY(mu_);
  std::thread verifier_;
  std::thread writer_;
};

}  // namespace litefs::db
