// on-replica-write: readonly: on a replica, a database is opened for reading only.  Refused with
// EROFS before the real call, so that SQLite opens it again for reading and says "attempt to write
// a readonly database" to a writer.  By names alone: the database's own inode is never opened here.
// Shim-safe; no state.

#pragma once

namespace litefs::preload {

// Whether this open is to fail with EROFS.  dir and path as openat's.  Keeps errno.
bool ReplicaRefusesOpen(int dir, const char* path, int flags);

}  // namespace litefs::preload
