#include "daemon/db/spare_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>
#include <vector>

#include "common/posix_io.h"

namespace litefs::db {
namespace {

constexpr std::string_view kPrefix = "spare-";

// Whether no other name and no open file leads to it.  Where the kernel cannot tell, no.
bool IsOursAlone(int fd) {
  struct stat st;
  if (::fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_nlink != 1) return false;
  // A write lease is granted only to the one who has the file open.  It goes at once; should
  // somebody come in between, the signal is one that is ignored.
  if (::fcntl(fd, F_SETSIG, SIGURG) != 0 || ::fcntl(fd, F_SETLEASE, F_WRLCK) != 0) return false;
  return ::fcntl(fd, F_SETLEASE, F_UNLCK) == 0;
}

}  // namespace

std::string SpareFiles::PathOf(uint64_t number) const {
  return fmt::format("{}/{}{}.tmp", directory_, kPrefix, number);
}

void SpareFiles::RemoveLeftovers() {
  const absl::StatusOr<std::vector<std::string>> names = ListDirectory(directory_);
  if (!names.ok()) return;
  for (const std::string& name : *names) {
    if (name.starts_with(kPrefix)) ::unlink((directory_ + "/" + name).c_str());
  }
}

// The name goes first: nobody finds the file by it from then on.
bool SpareFiles::Remove(const std::string& path) {
  if (count() >= limit_) return ::unlink(path.c_str()) == 0;
  const std::string spare = PathOf(end_);
  if (::rename(path.c_str(), spare.c_str()) != 0) return false;
  const absl::StatusOr<UniqueFd> fd = OpenFile(spare, O_WRONLY | O_NONBLOCK | O_NOFOLLOW);
  if (fd.ok() && IsOursAlone(fd->get()) && ::ftruncate(fd->get(), 0) == 0) {
    ++end_;
  } else {
    ::unlink(spare.c_str());
  }
  return true;
}

bool SpareFiles::Take(const std::string& path) {
  if (begin_ == end_) return false;
  const std::string spare = PathOf(begin_);
  if (::renameat2(AT_FDCWD, spare.c_str(), AT_FDCWD, path.c_str(), RENAME_NOREPLACE) == 0) {
    ++begin_;
    return true;
  }
  if (errno == EEXIST) return true;
  ::unlink(spare.c_str());
  ++begin_;
  return false;
}

void SpareFiles::SetLimit(size_t limit) {
  limit_ = limit;
  while (count() > limit_) ::unlink(PathOf(begin_++).c_str());
}

}  // namespace litefs::db
