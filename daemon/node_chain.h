// The store as replication sees it: ServedChain gives chains away, ReplicaChain takes them in.
//
// A replica serves what it has stored, not only what it has applied: it is verified and will be
// applied, and a reader in the way here holds up nobody further on.  Snapshots and differences are
// of the applied content; the stored files lead on from it.

#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "daemon/replication/chain.h"
#include "daemon/replication/lag_table.h"
#include "daemon/store/applier.h"
#include "daemon/store/store.h"

namespace litefs {

class ServedChain final : public replication::ChainSource {
 public:
  // upstream: what a replica knows of its primary; null on a primary.  Both must outlive this.
  ServedChain(store::Store* store, const replication::LagTable* upstream)
      : store_(store), upstream_(upstream) {}
  std::vector<replication::ChainTip> States() override;
  bool Complete() override { return upstream_ == nullptr || upstream_->complete(); }
  absl::StatusOr<replication::ChainFile> FileAfter(const std::string& database,
                                                   const ltx::Position& from) override;
  absl::Status Snapshot(const std::string& database, replication::SnapshotReader* reader) override;
  absl::StatusOr<replication::ChainFile> Delta(const std::string& database,
                                               const replication::PageSums& base) override;

 private:
  store::Store* const store_;
  const replication::LagTable* const upstream_;
};

class ReplicaChain final : public replication::ChainSink {
 public:
  // on_stored: called on the receiving thread with each database's new tip.
  using OnStored = std::function<void(const std::string& database, ltx::TxId txid)>;
  ReplicaChain(store::Store* store, store::Applier* applier, std::string temporary_directory,
               OnStored on_stored)
      : store_(store),
        applier_(applier),
        temporary_(std::move(temporary_directory)),
        on_stored_(std::move(on_stored)) {}
  std::vector<replication::DatabaseState> States() override;
  absl::StatusOr<ltx::Position> Receive(const std::string& database, int file_fd,
                                        uint64_t size_bytes) override;
  absl::StatusOr<ltx::Position> ReceiveBytes(const std::string& database,
                                             std::span<const std::byte> ltx_file) override;
  std::unique_ptr<replication::Arrival> Expect(const std::string& database, int file_fd,
                                               uint64_t size_bytes) override;
  absl::StatusOr<replication::PageSums> Sums(const std::string& database,
                                             uint64_t max_pages) override;
  absl::Status Sync(const std::string& database) override;
  absl::Status Drop(const std::string& database) override;
  absl::StatusOr<UniqueFd> SpoolFile() override;

 private:
  class IncomingDatabase;

  // Has receive take a file in for the database, and tells who is to know.
  absl::StatusOr<ltx::Position> Take(
      const std::string& database,
      const std::function<absl::StatusOr<ltx::Position>(db::ReplicaDatabase&)>& receive);
  store::Store* const store_;
  store::Applier* const applier_;
  const std::string temporary_;
  const OnStored on_stored_;
  size_t arrivals_ = 0;  // there are now
};

}  // namespace litefs
