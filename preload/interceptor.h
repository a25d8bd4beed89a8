// What each hook does around the real call.  Begin...() before it; then either Refuse() in its
// place or Finish(result) after it.  A Call may be abandoned in between (a cancelled thread): it
// holds no lock.  Shim-safe.

#pragma once

#include <fcntl.h>
#include <sys/uio.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>

#include "preload/database.h"
#include "preload/fd_table.h"
#include "preload/transaction_tracker.h"

namespace litefs::preload {

// The fast path: false for every descriptor that is none of our business.
inline bool Watched(int fd) { return !fd_table.Get(fd).empty(); }

class SessionChannel;

class Call {
 public:
  // The real call is not to be made: Refuse() has its result.
  bool refused() const { return refusal_ != 0 || absorbed_ != 0; }
  // For a refused call: sets errno and returns -1, or what the real call would have returned.
  int Refuse() const {
    if (absorbed_ != 0) return absorbed_;
    errno = refusal_;
    return -1;
  }
  int refusal() const { return refusal_; }
  // Passes the result of the real call on, errno too; or fails with what has failed since.
  template <typename Result>
  Result Finish(Result result) {
    if (ends_frame_ && result >= 0 && !FinishFrame()) result = -1;
    Finished(result, result < 0 ? errno : 0);
    if (late_error_ == 0) return result;
    errno = late_error_;
    return -1;
  }
  // True if the real call's lock was refused for the daemon's sake, who will let go of it in a
  // moment, and some time has passed: the call is to be made again.
  bool LockIsDaemons(int result);
  // For posix_fallocate, whose result is its errno.
  int FinishErrno(int error) {
    Finished(error == 0 ? 0 : -1, error);
    return error;
  }

 private:
  friend class Interceptor;
  void Finished(int64_t result, int error);
  bool Tell(SessionChannel& channel, int64_t result, int error);
  void AwaitReplicas();
  bool FinishFrame();

  Database* db_ = nullptr;
  FileKind kind_ = FileKind::kDatabase;
  Plan plan_;
  int fd_ = -1;
  int refusal_ = 0;
  int late_error_ = 0;
  bool committing_ = false;  // the daemon awaits kDone
  bool positional_ = true;
  int absorbed_ = 0;         // bytes of a write that is kept back
  bool ends_frame_ = false;  // after it the header that was kept back can be written
  ipc::DirtyRange range_;
  const void* data_ = nullptr;  // what is written; null if it is in parts
  bool locking_ = false;
  LockRequest request_;
  const struct flock* lock_ = nullptr;  // the app's, of an F_SETLK that may be repeated
  int64_t pause_ns_ = 0;
  int64_t give_up_ns_ = 0;
  FdEntry closed_;      // the descriptor's entry, taken out of the table
  FdEntry duplicated_;  // the entry to give to the resulting descriptor
};

class Interceptor {
 public:
  // at < 0: at the descriptor's own offset.
  static Call BeginWrite(int fd, const void* data, size_t n, int64_t at);
  static Call BeginWriteV(int fd, const iovec* parts, int n, int64_t at);
  static Call BeginTruncate(int fd, int64_t size);
  static Call BeginAllocate(int fd);
  static Call BeginSync(int fd);
  // fcntl and fcntl64 of a watched descriptor, the real call included.
  using RealControl = int (*)(int fd, int command, void* argument);
  static int Control(RealControl control, int fd, int command, void* argument);
  static Call BeginUnlink(int dir, const char* path);
  static Call BeginClose(int fd);
  static Call BeginDuplicate(int from);
  static Call BeginReplace(int from, int to);
  static void Closed(unsigned first, unsigned last);

  // Before an open: true if it is to fail, with errno set.
  static bool RefusesOpen(int dir, const char* path, int flags) {
    return (flags & O_ACCMODE) == O_RDWR && Refuses(dir, path, flags);
  }
  // After any open; returns fd.
  static int Opened(int fd, int flags) {
    if (fd >= 0 && ((flags & O_ACCMODE) != O_RDONLY || Watched(fd))) Track(fd, flags);
    return fd;
  }

  // Around fork, and at load.
  static void BeforeFork();
  static void AfterForkInParent();
  static void AfterForkInChild();
  static void Load();

 private:
  static bool Refuses(int dir, const char* path, int flags);
  static void Track(int fd, int flags);
  static int ControlInFull(RealControl control, int fd, int command, void* argument,
                           const int* done);
  static Call BeginControl(int fd, int command, void* argument);
  static Call BeginLock(int fd, FdEntry entry, int command, const struct flock& lock);
  static bool ForwardFrame(Call* call, FdEntry entry, const Write& write);
  static Call BeginPlannedWrite(int fd, FdEntry entry, Write write, bool positional);
  static Call Begin(int fd, FdEntry entry, const Plan& plan);
  static void RunBefore(Call* call);
  static void TakeOut(Call* call, int fd);
};

}  // namespace litefs::preload
