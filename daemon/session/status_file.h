// StatusFile: the daemon's side of the shared status page (ipc/protocol.h).  The file keeps its
// inode over restarts, so that apps' mappings stay good.  Not thread-safe but for the atomics.

#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/unique_fd.h"
#include "ipc/protocol.h"

namespace litefs::session {

class StatusFile {
 public:
  // Creates or opens path and starts a new generation.
  static absl::StatusOr<std::unique_ptr<StatusFile>> Open(const std::string& path);
  ~StatusFile();
  StatusFile(const StatusFile&) = delete;
  StatusFile& operator=(const StatusFile&) = delete;

  ipc::StatusPage& status() { return *static_cast<ipc::StatusPage*>(map_); }
  ipc::BellPage& bells() {
    return *reinterpret_cast<ipc::BellPage*>(static_cast<char*>(map_) + ipc::kStatusPageBytes);
  }
  // Whether this node's time to write is over.
  bool past_lease();
  int fd() const { return fd_.get(); }  // for SCM_RIGHTS

  // From now on the calling thread serves; the page says so until StopServing or the thread's end,
  // by whatever means.
  void StartServing();
  void StopServing();  // on that thread

 private:
  StatusFile(UniqueFd fd, void* map) : fd_(std::move(fd)), map_(map) {}
  const UniqueFd fd_;
  void* const map_;
};

}  // namespace litefs::session
