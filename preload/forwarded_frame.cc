// What the shim does with the last frame of a transaction that an app on a replica makes in WAL
// mode (docs/FORWARDING.md).

#include <cerrno>
#include <cstring>

#include "common/raw_syscall.h"
#include "preload/errno_guard.h"
#include "preload/interceptor.h"
#include "preload/reentry.h"
#include "preload/session_channel.h"
#include "preload/shim_log.h"

namespace litefs::preload {

// On a replica, the end of a transaction in WAL mode.  The commit frame's header is kept back until
// its page is written, and the primary has accepted what the daemon reads in the log; until then
// there is no commit mark in it.  SQLite may write both again afterwards.  False: nothing special.
bool Interceptor::ForwardFrame(Call* call, FdEntry entry, const Write& write) {
  Database& db = databases[entry.database()];
  if (!db.forwards.load() || entry.kind() != FileKind::kWal) return false;
  FutexLockHolder hold(db.lock);
  if (db.frame_accepted) return true;
  if (IsCommitFrameHeader(write)) {
    std::memcpy(db.frame_header, write.head.data(), sizeof(db.frame_header));
    db.frame_offset = write.offset;
    db.frame_held = true;
    call->absorbed_ = static_cast<int>(write.length);
    return true;
  }
  if (!db.frame_held) {
    if (!IsWholeFrame(write)) return false;
    ShimLog("a WAL written in whole frames cannot be forwarded", db.NameText());
    call->refusal_ = EIO;
    return true;
  }
  call->ends_frame_ = write.offset == db.frame_offset + sizeof(db.frame_header);
  call->refusal_ = call->ends_frame_ ? 0 : EIO;
  return true;
}

// False, with errno: the transaction is not committed.
bool Call::FinishFrame() {
  int rc = 0;
  {
    ErrnoGuard keep_errno;
    Reentry reentry;
    do {  // others have their turns in between
      FutexLockHolder hold(db_->lock);
      rc = SessionChannel(*db_).ForwardFrame();
    } while (rc == -EAGAIN);
    FutexLockHolder hold(db_->lock);
    db_->frame_held = false;
    const auto size = static_cast<long>(sizeof(db_->frame_header));
    if (rc == 0) {
      db_->frame_accepted = true;
      const long n = RawSyscall(SYS_pwrite64, fd_, db_->frame_header, size, db_->frame_offset);
      if (n != size) rc = n < 0 ? static_cast<int>(n) : -EIO;
    }
  }
  if (rc == 0) return true;
  errno = -rc;
  return false;
}

}  // namespace litefs::preload
