#include "daemon/session/status_file.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

#include "common/check.h"
#include "common/clock.h"
#include "common/posix_io.h"
#include "common/status_macros.h"

namespace litefs::session {
namespace {

pthread_mutex_t* LifeOf(ipc::StatusPage& page) {
  return reinterpret_cast<pthread_mutex_t*>(&page.life);
}

}  // namespace

absl::StatusOr<std::unique_ptr<StatusFile>> StatusFile::Open(const std::string& path) {
  ASSIGN_OR_RETURN(UniqueFd fd, OpenFile(path, O_RDWR | O_CREAT, 0660));
  // Reserved, not only sized: a full disk must not become a SIGBUS in an app.
  if (const int error = ::posix_fallocate(fd.get(), 0, ipc::kStatusFileBytes); error != 0) {
    return ErrnoStatus("reserve space for " + path, error);
  }
  void* const map =
      ::mmap(nullptr, ipc::kStatusFileBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (map == MAP_FAILED) return ErrnoStatus("map " + path, errno);
  std::unique_ptr<StatusFile> file(new StatusFile(std::move(fd), map));
  ipc::StatusPage& status = file->status();
  status.magic = ipc::kStatusMagic;
  status.version = ipc::kProtocolVersion;
  status.generation.fetch_add(1);
  file->bells().sleeping.store(0);
  return file;
}

void StatusFile::StartServing() {
  static_assert(sizeof(pthread_mutex_t) <= sizeof(ipc::StatusPage::Life));
  // A new mutex: who held the last one is gone, since there is one daemon for a directory.
  pthread_mutexattr_t attributes;
  ::pthread_mutexattr_init(&attributes);
  ::pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  ::pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  CHECK(::pthread_mutex_init(LifeOf(status()), &attributes) == 0);
  ::pthread_mutexattr_destroy(&attributes);
  CHECK(::pthread_mutex_lock(LifeOf(status())) == 0);
}

void StatusFile::StopServing() { CHECK(::pthread_mutex_unlock(LifeOf(status())) == 0); }

StatusFile::~StatusFile() { ::munmap(map_, ipc::kStatusFileBytes); }

bool StatusFile::past_lease() {
  const uint64_t deadline = status().lease_deadline_ns.load();
  return deadline != ipc::kNoDeadline &&
         static_cast<uint64_t>(SystemClock().Boot().count()) >= deadline;
}

}  // namespace litefs::session
