// DirectoryWatch: tells that something in a directory has changed, whoever did it, by inotify.
//
// It is armed for one event.  The first one disarms it, so that a busy database costs a handful of
// wake-ups a second and no more, and an idle one none.  While disarmed only renames and deletions
// of files are told, which are rare.  One thread.

#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/unique_fd.h"

namespace litefs::session {

class DirectoryWatch {
 public:
  // Armed.  kNotFound, kResourceExhausted (fs.inotify.max_user_watches).
  static absl::StatusOr<DirectoryWatch> Open(const std::string& directory);

  // Readable when something has happened.
  int fd() const { return fd_.get(); }
  // Takes what has been told and disarms.
  void Disarm();
  // What changes from now on is told.  The caller looks at the directory after this, not before.
  absl::Status Arm();

 private:
  explicit DirectoryWatch(std::string directory) : directory_(std::move(directory)) {}
  absl::Status SetMask(uint32_t mask);
  std::string directory_;
  UniqueFd fd_;
};

}  // namespace litefs::session
