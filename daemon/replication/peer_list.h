// PeerList: the public keys of those who may connect to this node.  Some come with the
// configuration; the others from a file, one a line, which is read again when it has changed:
//
//   # comment
//   rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7 berlin
//
// The name after a key is for status and log; without one, the key is its own name.  A line whose
// first word has the 40 characters of a key is never a comment.  Any thread.

#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/mutex.h"

namespace litefs::replication {

inline constexpr size_t kMaxPeerKeys = 10000;

class PeerList {
 public:
  using Names = std::map<std::string, std::string>;  // by public key

  // file may be empty: none.
  PeerList(Names configured, std::string file)
      : configured_(std::move(configured)), file_(std::move(file)) {}

  // Reads the file if it is another than the one that was read last.  After an error, which names
  // the file and the line, nobody of the file is let in.
  absl::Status Reload() EXCLUDES(mu_);

  // The name that goes with a key; nullopt: it is not let in.
  std::optional<std::string> Find(const std::string& public_key) const EXCLUDES(mu_);
  size_t size() const EXCLUDES(mu_);
  // How often a key that was let in has ceased to be.
  uint64_t removals() const EXCLUDES(mu_);
  const std::string& file() const { return file_; }

 private:
  // What tells one version of the file from another.
  struct Version {
    bool exists = false;
    uint64_t inode = 0;
    int64_t size_bytes = 0;
    int64_t modified_ns = 0;
    int64_t changed_ns = 0;
    bool operator==(const Version&) const = default;
  };
  static Version VersionOf(const std::string& path);

  const Names configured_;
  const std::string file_;

  mutable Mutex mu_;
  std::optional<Version> version_ GUARDED_BY(mu_);
  Names from_file_ GUARDED_BY(mu_);
  uint64_t removals_ GUARDED_BY(mu_) = 0;
};

// The text of a file of keys; errors call it name.
absl::StatusOr<PeerList::Names> ParsePeers(std::string_view text, const std::string& name);

}  // namespace litefs::replication
