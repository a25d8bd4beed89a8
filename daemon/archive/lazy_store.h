// LazyStore: an ObjectStore that is opened by its first call, and again by the next one if that
// failed: a directory whose file system is not mounted yet must not keep the daemon from starting.

#pragma once

#include <memory>
#include <string>

#include "common/mutex.h"
#include "daemon/archive/object_store.h"

namespace litefs::archive {

class LazyStore final : public ObjectStore {
 public:
  explicit LazyStore(StoreOptions options) : options_(std::move(options)) {}

  absl::Status List(std::string_view prefix, std::string_view start_after,
                    const Visitor& visit) override;
  absl::StatusOr<std::string> Get(std::string_view name, uint64_t offset, uint64_t length) override;
  absl::StatusOr<uint64_t> GetToFile(std::string_view name, int fd) override;
  absl::Status Put(std::string_view name, std::span<const std::byte> data,
                   const PutOptions& options) override;
  absl::Status PutFile(std::string_view name, int fd, uint64_t size,
                       const PutOptions& options) override;
  absl::Status Delete(std::span<const std::string> names) override;
  using ObjectStore::Delete;
  absl::StatusOr<size_t> SweepUnfinished(std::chrono::seconds older_than) override;
  void Stop() override;
  std::string Describe() const override;

 private:
  absl::StatusOr<ObjectStore*> Open() EXCLUDES(mu_);

  const StoreOptions options_;
  mutable Mutex mu_;
  std::unique_ptr<ObjectStore> store_ GUARDED_BY(mu_);
  bool stopped_ GUARDED_BY(mu_) = false;
};

}  // namespace litefs::archive
