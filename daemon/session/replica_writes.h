// What becomes of an app's writes on a replica: the session server passes on what the sessions of a
// replica's databases report, and its answers back.  On the server's thread.

#pragma once

#include <cstdint>
#include <functional>

#include "daemon/db/dirty_ranges.h"
#include "daemon/db/replica_database.h"
#include "daemon/store/store.h"

namespace litefs::session {

class ReplicaWrites {
 public:
  using SessionId = uint64_t;
  // errno, 0: it may go on.  Called once, on the server's thread, at once or later.
  using Answer = std::function<void(int error)>;

  struct CommitOptions {
    bool sync = false;        // the app syncs: so is what is made of it
    bool asks_again = false;  // after EAGAIN, which says that the outcome is not known yet
  };

  virtual ~ReplicaWrites() = default;

  // The app is about to take SQLite's write lock.  EAGAIN: it is busy.
  virtual void Lock(SessionId session, store::Store::Entry* entry, Answer answer) = 0;
  virtual void Unlock(SessionId session, store::Store::Entry* entry) = 0;
  virtual void AddDirty(SessionId session, store::Store::Entry* entry, uint64_t offset,
                        uint64_t length) = 0;
  virtual void AddEverything(SessionId session, store::Store::Entry* entry) = 0;
  // The app is at its commit point.  0: the transaction is the primary's, or changes nothing.
  virtual void Commit(SessionId session, store::Store::Entry* entry, CommitOptions options,
                      Answer answer) = 0;
  virtual void CommitWal(SessionId session, store::Store::Entry* entry,
                         const db::ReplicaDatabase::CommitFrame& last, CommitOptions options,
                         Answer answer) = 0;
  virtual void Done(SessionId session, store::Store::Entry* entry, int error) = 0;
  // Whether the app may reset the log: it is in a transaction of its own.
  virtual bool MayReset(SessionId session, store::Store::Entry* entry) = 0;
  virtual void Ended(SessionId session, store::Store::Entry* entry) = 0;
};

}  // namespace litefs::session
