#include "daemon/db/side_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "common/posix_io.h"
#include "common/status_macros.h"

namespace litefs {

absl::StatusOr<UniqueFd> OpenSideFile(const std::string& path, int database_fd) {
  struct stat like;
  if (::fstat(database_fd, &like) != 0) return ErrnoStatus("stat for " + path, errno);
  absl::StatusOr<UniqueFd> fd = OpenFile(path, O_RDWR);
  if (!absl::IsNotFound(fd.status())) return fd;
  fd = OpenFile(path, O_RDWR | O_CREAT | O_EXCL, like.st_mode & 0777);
  if (absl::IsAlreadyExists(fd.status())) return OpenFile(path, O_RDWR);  // SQLite was faster
  RETURN_IF_ERROR(fd.status());
  if (::fchmod(fd->get(), like.st_mode & 0777) != 0) return ErrnoStatus("chmod " + path, errno);
  if (::geteuid() == 0 && ::fchown(fd->get(), like.st_uid, like.st_gid) != 0) {
    return ErrnoStatus("chown " + path, errno);
  }
  return fd;
}

absl::Status RemoveFile(const std::string& path) {
  if (::unlink(path.c_str()) == 0 || errno == ENOENT) return absl::OkStatus();
  return ErrnoStatus("remove " + path, errno);
}

}  // namespace litefs
