// Calls on a file that is none of litefs's business, for counting their instructions under
// callgrind: untracked FILE N makes N of each call that the shim hooks and that can be repeated.

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const int fd = ::open(argv[1], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return 1;
  const long n = std::strtol(argv[2], nullptr, 10);
  const char byte = 'x';
  struct flock lock {};
  lock.l_type = F_RDLCK;
  lock.l_whence = SEEK_SET;
  for (long i = 0; i < n; ++i) {
    const int copy = ::dup(fd);
    if (::pwrite(fd, &byte, 1, 0) != 1 || ::fcntl(fd, F_SETLK, &lock) != 0 ||
        ::ftruncate(fd, 1) != 0 || ::fdatasync(copy) != 0 || ::close(copy) != 0) {
      return 1;
    }
  }
  std::printf("%ld\n", n);
  return 0;
}
