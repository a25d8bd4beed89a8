#include "daemon/replication/transfer.h"

#include "common/check.h"
#include "common/posix_io.h"
#include "common/status_macros.h"

namespace litefs::replication {

absl::StatusOr<Transfer> Transfer::Begin(const std::string& database, const FileIdentity& file,
                                         ChainSink* sink) {
  Transfer transfer(file);
  if (file.size_bytes > kMaxInMemoryBytes) {
    ASSIGN_OR_RETURN(transfer.spool_, sink->SpoolFile());
    transfer.arrival_ = sink->Expect(database, transfer.spool_.get(), file.size_bytes);
  } else {
    transfer.memory_.reserve(file.size_bytes);
  }
  return transfer;
}

absl::Status Transfer::Append(std::span<const std::byte> payload) {
  CHECK(payload.size() <= file_.size_bytes - received_bytes_);
  if (spool_.valid()) {
    RETURN_IF_ERROR(WriteAt(spool_.get(), payload, received_bytes_, "a spool file"));
  } else {
    memory_.insert(memory_.end(), payload.begin(), payload.end());
  }
  received_bytes_ += payload.size();
  return arrival_ == nullptr ? absl::OkStatus() : arrival_->Arrived(received_bytes_);
}

absl::StatusOr<ltx::Position> Transfer::Deliver(const std::string& database,
                                                ChainSink* sink) const {
  CHECK(complete());
  if (arrival_ != nullptr) return arrival_->Receive();
  // pwrite left the spool file's own offset at 0, where the sink expects it.
  if (spool_.valid()) return sink->Receive(database, spool_.get(), file_.size_bytes);
  return sink->ReceiveBytes(database, memory_);
}

}  // namespace litefs::replication
