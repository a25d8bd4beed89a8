// Listener: the daemon's socket, .litefs/socket (docs/IPC.md), and who is let in.  Some descriptors
// are kept for the daemon's own files: a session that took the last one would make another app's
// commit fail.  One thread.

#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "common/unique_fd.h"

namespace litefs::session {

class Listener {
 public:
  Listener() = default;
  // Replaces what a daemon that died has left at path; path may be longer than a socket's may be.
  static absl::StatusOr<Listener> Open(const std::string& path);

  // The next connection, non-blocking; invalid: nobody waits.  Who comes when too few descriptors
  // are left is sent away, which is logged once a minute: the app tries again until its time-out.
  UniqueFd Accept();

  int fd() const { return socket_.get(); }
  void Close() { socket_.reset(); }

 private:
  void ReportWant();
  void SendOneAway();

  UniqueFd socket_;
  UniqueFd spare_;
  int end_fd_ = 0;  // connections have descriptors below this
  int64_t next_report_ms_ = 0;
};

}  // namespace litefs::session
