#include "daemon/archive/lazy_store.h"

#include "common/status_macros.h"

namespace litefs::archive {

absl::StatusOr<ObjectStore*> LazyStore::Open() {
  MutexLock lock(mu_);
  if (stopped_) return absl::CancelledError("stopped");
  if (store_ == nullptr) {
    ASSIGN_OR_RETURN(store_, OpenObjectStore(options_));
  }
  return store_.get();
}

absl::Status LazyStore::List(std::string_view prefix, std::string_view start_after,
                             const Visitor& visit) {
  ASSIGN_OR_RETURN(ObjectStore* const store, Open());
  return store->List(prefix, start_after, visit);
}

absl::StatusOr<std::string> LazyStore::Get(std::string_view name, uint64_t offset,
                                           uint64_t length) {
  ASSIGN_OR_RETURN(ObjectStore* const store, Open());
  return store->Get(name, offset, length);
}

absl::StatusOr<uint64_t> LazyStore::GetToFile(std::string_view name, int fd) {
  ASSIGN_OR_RETURN(ObjectStore* const store, Open());
  return store->GetToFile(name, fd);
}

absl::Status LazyStore::Put(std::string_view name, std::span<const std::byte> data,
                            const PutOptions& options) {
  ASSIGN_OR_RETURN(ObjectStore* const store, Open());
  return store->Put(name, data, options);
}

absl::Status LazyStore::PutFile(std::string_view name, int fd, uint64_t size,
                                const PutOptions& options) {
  ASSIGN_OR_RETURN(ObjectStore* const store, Open());
  return store->PutFile(name, fd, size, options);
}

absl::Status LazyStore::Delete(std::span<const std::string> names) {
  ASSIGN_OR_RETURN(ObjectStore* const store, Open());
  return store->Delete(names);
}

absl::StatusOr<size_t> LazyStore::SweepUnfinished(std::chrono::seconds older_than) {
  ASSIGN_OR_RETURN(ObjectStore* const store, Open());
  return store->SweepUnfinished(older_than);
}

void LazyStore::Stop() {
  MutexLock lock(mu_);
  stopped_ = true;
  if (store_ != nullptr) store_->Stop();
}

std::string LazyStore::Describe() const {
  MutexLock lock(mu_);
  return store_ != nullptr ? store_->Describe() : options_.url;
}

}  // namespace litefs::archive
