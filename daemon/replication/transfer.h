// Transfer: an LTX file that arrives in chunks, in memory while it is small and in a spool file
// otherwise.  Survives the connection it began on, so that the rest can be asked for.
// Not thread-safe.

#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/unique_fd.h"
#include "daemon/replication/chain.h"
#include "daemon/replication/message.h"

namespace litefs::replication {

class Transfer {
 public:
  // Up to this size a file is kept in memory.
  static constexpr size_t kMaxInMemoryBytes = 1 << 20;

  // Begins an empty transfer of a file of this database.  Fails as ChainSink::SpoolFile.
  static absl::StatusOr<Transfer> Begin(const std::string& database, const FileIdentity& file,
                                        ChainSink* sink);

  // Whether chunk continues this transfer where it stands.
  bool IsNext(const Chunk& chunk) const {
    return chunk.file == file_ && chunk.offset == received_bytes_;
  }
  // Takes the next chunk's payload.  REQUIRES: IsNext, and the payload fits.
  // Fails if it cannot be written, and (kDataLoss) if what has come is broken; then the transfer is
  // of no more use.
  absl::Status Append(std::span<const std::byte> payload);

  bool complete() const { return received_bytes_ == file_.size_bytes; }
  const FileIdentity& file() const { return file_; }
  uint64_t received_bytes() const { return received_bytes_; }

  // Hands the complete file to the sink; returns what it says.
  absl::StatusOr<ltx::Position> Deliver(const std::string& database, ChainSink* sink) const;

 private:
  explicit Transfer(const FileIdentity& file) : file_(file) {}

  FileIdentity file_;
  uint64_t received_bytes_ = 0;
  std::vector<std::byte> memory_;
  UniqueFd spool_;                    // used instead of memory_ if valid
  std::unique_ptr<Arrival> arrival_;  // what the sink makes of the spool meanwhile, if anything
};

}  // namespace litefs::replication
