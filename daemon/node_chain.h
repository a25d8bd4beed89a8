// The store as replication sees it: PrimaryChain gives chains away, ReplicaChain takes them in.

#pragma once

#include <string>
#include <vector>

#include "daemon/replication/chain.h"
#include "daemon/store/applier.h"
#include "daemon/store/store.h"

namespace litefs {

class PrimaryChain final : public replication::ChainSource {
 public:
  explicit PrimaryChain(store::Store* store) : store_(store) {}
  std::vector<replication::DatabaseState> States() override;
  absl::StatusOr<replication::ChainFile> FileAfter(const std::string& database,
                                                   const ltx::Position& from) override;
  absl::StatusOr<replication::ChainFile> Snapshot(const std::string& database) override;
  absl::StatusOr<replication::ChainFile> Delta(const std::string& database,
                                               const replication::PageSums& base) override;

 private:
  store::Store* const store_;
};

class ReplicaChain final : public replication::ChainSink {
 public:
  ReplicaChain(store::Store* store, store::Applier* applier, std::string temporary_directory)
      : store_(store), applier_(applier), temporary_(std::move(temporary_directory)) {}
  std::vector<replication::DatabaseState> States() override;
  absl::StatusOr<ltx::Position> Receive(const std::string& database, int file_fd,
                                        uint64_t size_bytes) override;
  absl::StatusOr<ltx::Position> ReceiveBytes(const std::string& database,
                                             std::span<const std::byte> ltx_file) override;
  absl::StatusOr<replication::PageSums> Sums(const std::string& database,
                                             uint64_t max_pages) override;
  absl::Status Drop(const std::string& database) override;
  absl::StatusOr<UniqueFd> SpoolFile() override;

 private:
  store::Store* const store_;
  store::Applier* const applier_;
  const std::string temporary_;
};

}  // namespace litefs
