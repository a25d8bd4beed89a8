// SftpStore: an ObjectStore in a directory of a server that speaks SFTP (OpenSSH's, and others
// that keep to version 3 of the protocol).
//
// A file is uploaded under a temporary name in its directory, and then renamed.  SFTP's rename does
// not replace: of several writers one succeeds, and that is the conditional put.  An unconditional
// one removes what is there first, so for a moment there is no such object.  The protocol has no
// sync that libcurl knows: what is put survives the server's power failure when its kernel has
// written it out.
//
// The URL: sftp://USER@HOST[:PORT]/DIRECTORY[?key-file=FILE&known-hosts-file=FILE], the files with
// absolute paths; /~/DIRECTORY lies in the user's home.

#pragma once

#include <memory>
#include <string>

#include "daemon/archive/object_store.h"
#include "daemon/archive/retry.h"
#include "daemon/archive/sftp_client.h"

namespace litefs::archive {

class SftpStore final : public ObjectStore {
 public:
  static absl::StatusOr<std::unique_ptr<SftpStore>> Open(const StoreOptions& options);

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
  struct Place {
    SftpClient::Options client;
    std::string root;  // absolute; or "~/…", from the user's home
  };
  static absl::StatusOr<Place> Parse(const StoreOptions& options);
  SftpStore(Place place, const StoreOptions& options);

  // For a URL, and for a command, which both have their own way to say "from home".
  std::string UrlPath(std::string_view name) const;
  std::string Argument(std::string_view name) const;
  // Repeated while it is kUnavailable.  Errors name the object.
  absl::StatusOr<SftpResponse> Send(const SftpRequest& request, std::string_view name);
  absl::Status About(std::string_view name, const absl::Status& status) const;
  absl::StatusOr<bool> ExistsOnce(std::string_view name);
  absl::Status Store(std::string_view name, const UploadBody& body, const PutOptions& options);
  absl::Status StoreOnce(std::string_view name, const UploadBody& body, const PutOptions& options,
                         bool* sent);
  absl::Status DeleteOnce(std::span<const std::string> names);
  absl::StatusOr<bool> Holds(std::string_view name, const UploadBody& body);
  // The file names of the directory, temporary ones included.
  absl::StatusOr<std::string> ListLines(const std::string& relative);

  const Place place_;
  SftpClient client_;
  Retrier retrier_;
};

}  // namespace litefs::archive
