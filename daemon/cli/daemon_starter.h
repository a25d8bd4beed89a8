// Finds the daemon of a directory, or starts one: `litefs daemon --while-used`, in a session of
// its own, its output appended to DIR/.litefs/daemon.log.  Holds one control connection, so that
// the daemon stays.  Not thread-safe; forks.

#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ipc/control_connection.h"

namespace litefs {

class DaemonStarter {
 public:
  // config is passed on to the daemon as --config; empty: not given.
  DaemonStarter(std::string dir, std::string config)
      : dir_(std::move(dir)), config_(std::move(config)) {}

  // Connects, starting a daemon if none answers.  Any number of processes may call this at once
  // for one directory; they end up with the same daemon.  Blocks while the daemon recovers its
  // databases, however long.  The error says why a daemon does not start, with the end of its log.
  absl::Status Ensure();

  // Returns when all that was committed before this call has been captured.
  // kUnavailable: the daemon is gone.
  absl::Status Sync(std::chrono::milliseconds timeout);

  // Forgets a connection that has ended.
  void Disconnect() { connection_.reset(); }

  // Of the connection, for poll(): readable means that the daemon is gone.  -1: not connected.
  int fd() const { return connection_ ? connection_->fd() : -1; }
  // The daemon connected to, or last connected to, is one of `litefs run`'s own.
  bool is_while_used() const { return is_while_used_; }

 private:
  enum class Outcome { kReady, kAnotherRuns };

  // True: connected.  False: no daemon.
  absl::StatusOr<bool> TryConnect();
  // Starts a daemon and waits until it is ready or has ended.
  absl::StatusOr<Outcome> Start();
  absl::Status StartFailed(int wait_status, uint64_t log_start) const;

  const std::string dir_;
  const std::string config_;
  std::optional<ControlConnection> connection_;
  bool is_while_used_ = false;
};

// Makes dir (not its parents) and DIR/.litefs where they are absent; says so on a terminal.
absl::Status MakeControlDirectory(const std::string& dir);

}  // namespace litefs
