// FileStore: an ObjectStore in a directory, also on NFS.  An object is a file at its name's path,
// readable by its owner and group.
//
// Every file is written under a temporary name beside its place, synced, and then renamed (or, with
// if_none_match, hard-linked: link(2) is atomic on NFS too); then its directory is synced.  So a
// file under its own name is whole, whatever dies.  Directories that become empty are kept.

#pragma once

#include <atomic>
#include <string>

#include "common/unique_fd.h"
#include "daemon/archive/object_store.h"

namespace litefs::archive {

class FileStore final : public ObjectStore {
 public:
  // root need not exist yet; its parent must.
  static absl::StatusOr<std::unique_ptr<FileStore>> Open(const std::string& root);

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
  void Stop() override { stopped_ = true; }
  std::string Describe() const override { return root_; }

 private:
  // Reads up to the size asked for at an offset, from wherever the new object comes.
  using Reader = std::function<absl::StatusOr<size_t>(std::span<std::byte> out, uint64_t offset)>;

  explicit FileStore(std::string root) : root_(std::move(root)) {}

  std::string PathOf(std::string_view name) const;
  absl::Status CheckRunning() const;
  absl::StatusOr<UniqueFd> OpenObject(std::string_view name) const;
  absl::Status Store(std::string_view name, uint64_t size, const Reader& read,
                     const PutOptions& options);
  absl::Status Publish(const std::string& temporary, std::string_view name,
                       const PutOptions& options);
  absl::Status MakeParents(std::string_view name);

  const std::string root_;
  std::atomic<bool> stopped_ = false;
};

}  // namespace litefs::archive
