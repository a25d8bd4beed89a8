// PositionFiles: what libraries made for LiteFS read beside the databases (docs/CLUSTER.md, 11):
// DB-pos, and on a replica .primary and .lag.  Real files, so they are as of a moment ago.
//
// All methods but Moved belong to the main thread.

#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "common/mutex.h"
#include "daemon/session/session_server.h"
#include "daemon/store/store.h"

namespace litefs {

class PositionFiles {
 public:
  // What a replica knows of its primary.
  struct Following {
    std::string primary_host;        // empty: not known
    std::optional<uint64_t> lag_ms;  // of what readers see here; nullopt: not known
  };
  // All must outlive this, and server's tasks must not run after it.
  struct Parts {
    session::SessionServer* server = nullptr;
    std::string directory;            // of the databases
    std::string temporary_directory;  // of the same file system
    std::function<store::Store&()> store;
    std::function<Following()> following;
  };
  explicit PositionFiles(Parts parts) : parts_(std::move(parts)) {}

  // Writes all of them, and keeps them up to date.
  void Start();
  // A database is at another position, or, if empty, all may be, and the role may have changed.
  // Any thread; never waits for the disk.
  void Moved(const std::string& database) EXCLUDES(mu_);

 private:
  void WriteDirty() EXCLUDES(mu_);
  void WritePosition(store::Store::Entry* entry);
  void WriteFollowing();
  void FollowOn();
  void Put(const std::string& name, const std::string& text);
  void Remove(const std::string& name);

  const Parts parts_;
  std::map<std::string, std::string> written_;  // name to content
  std::set<std::string> refused_;               // files of that name that are not ours
  bool following_ = false;                      // FollowOn runs
  Mutex mu_;
  std::set<std::string> dirty_ GUARDED_BY(mu_);
  bool scheduled_ GUARDED_BY(mu_) = false;
};

}  // namespace litefs
