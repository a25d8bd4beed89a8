#include "daemon/node_halts.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <utility>
#include <vector>

#include "common/check.h"
#include "common/clock.h"
#include "common/posix_io.h"
#include "common/status_macros.h"
#include "daemon/forwarded_commit.h"
#include "ipc/protocol.h"
#include "ipc/wanted.h"

namespace litefs {
namespace {

// For readers of a database in a rollback mode, who keep a transaction from being written.
constexpr std::chrono::seconds kReadersLimit{5};
constexpr int kReadersPauseMs = 1;

absl::Status NoSuchDatabase(const std::string& name) {
  return absl::NotFoundError("no database " + name);
}

}  // namespace

bool NodeHalts::PastLease() const {
  const uint64_t deadline = status_->status().lease_deadline_ns.load();
  return deadline != ipc::kNoDeadline &&
         static_cast<uint64_t>(SystemClock().Boot().count()) >= deadline;
}

absl::StatusOr<ltx::Position> NodeHalts::Halt(const std::string& database) {
  if (PastLease()) return absl::FailedPreconditionError("the primary has no lease");
  ASSIGN_OR_RETURN(store::Store::Entry* const entry,
                   store_->FindOrCreate(database, /*in_use=*/false));
  if (entry->primary == nullptr) return NoSuchDatabase(database);
  absl::StatusOr<ltx::Position> position = entry->primary->Halt();
  // Local writers that follow each other closely leave it a gap.
  std::atomic<uint32_t>& wanted = status_->bells().wanted[entry->slot % ipc::kBellCount];
  if (position.ok()) wanted.store(0);
  if (absl::IsUnavailable(position.status())) wanted.fetch_or(ipc::kWantedByDaemon);
  return position;
}

void NodeHalts::EndHalt(const std::string& database) {
  store::Store::Entry* const entry = store_->Find(database);
  if (entry == nullptr || entry->primary == nullptr) return;
  entry->primary->EndHalt();
  status_->bells().wanted[entry->slot % ipc::kBellCount].store(0);
}

bool NodeHalts::IsWanted(const std::string& database) {
  store::Store::Entry* const entry = store_->Find(database);
  if (entry == nullptr) return false;
  const uint32_t wanted = status_->bells().wanted[entry->slot % ipc::kBellCount].load();
  return (wanted & ipc::kWantedByApp) != 0;
}

absl::StatusOr<ltx::Position> NodeHalts::Accept(const std::string& database, UniqueFd fd,
                                                bool sync) {
  store::Store::Entry* const entry = store_->Find(database);
  if (entry == nullptr || entry->primary == nullptr) return NoSuchDatabase(database);
  const auto end = std::chrono::steady_clock::now() + kReadersLimit;
  while (true) {
    if (PastLease()) return absl::FailedPreconditionError("the primary is past its lease");
    absl::StatusOr<ltx::Position> position =
        entry->primary->AcceptForwarded(UniqueFd(::dup(fd.get())), sync);
    if (position.ok() && PastLease()) {
      return absl::DeadlineExceededError("the lease ended while the transaction was made");
    }
    if (!absl::IsUnavailable(position.status())) return position;
    if (std::chrono::steady_clock::now() >= end) return position;
    ::poll(nullptr, 0, kReadersPauseMs);  // no event tells of a lock that is let go
  }
}

absl::StatusOr<bool> NodeHalts::HasReached(const std::string& database, const ltx::Position& end) {
  if (PastLease()) return absl::UnavailableError("the primary has no lease");
  store::Store::Entry* const entry = store_->Find(database);
  if (entry == nullptr || entry->primary == nullptr) return false;
  const db::LtxLog& log = entry->database->log();
  // It may be in the file and not in the chain yet, if this daemon died in between.
  const bool compares = entry->primary->NeedsAttention();
  if (log.TimeOf(end).has_value()) return true;
  if (compares) return absl::UnavailableError("what the database holds is being compared");
  const std::vector<ltx::Position> known = log.Positions();
  if (!known.empty() && known.front().txid > end.txid) {
    return absl::UnavailableError("what the chain had there is pruned");
  }
  return false;
}

std::unique_ptr<replication::Confirmation> NodeHalts::Confirm(const std::string& database,
                                                              const ltx::Position& end,
                                                              const std::string& node_id) {
  const store::Store::Entry* const entry = store_->Find(database);
  CHECK(entry != nullptr);  // it has that transaction
  return std::make_unique<ForwardedCommit>(sync_, status_, entry->database.get(), end.txid,
                                           node_id);
}

absl::StatusOr<UniqueFd> NodeHalts::SpoolFile() { return OpenFile(temporary_, O_TMPFILE | O_RDWR); }

}  // namespace litefs
