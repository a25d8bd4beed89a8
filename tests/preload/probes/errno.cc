// Results and errno of every hooked call, when it fails and when it succeeds.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <initializer_list>

#define SHOW(call)                                                          \
  do {                                                                      \
    errno = 77;                                                             \
    const long rc = (long)(call);                                           \
    printf("%s = %ld errno %d\n", #call, rc<0 ? -1 : rc> 0 ? 1 : 0, errno); \
  } while (0)

int main() {
  setvbuf(stdout, nullptr, _IONBF, 0);
  char page[4096] = "SQLite format 3";
  iovec parts[2] = {{page, 100}, {page, 100}};
  for (const char* name : {"plain.txt", "a.db", "a.db-journal", "a.db-wal", "a.db-shm"}) {
    printf("-- %s\n", name);
    SHOW(open(name, O_RDWR));
    SHOW(unlink(name));
    SHOW(remove(name));
    SHOW(unlinkat(AT_FDCWD, name, 0));
    const int fd = open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
    SHOW(open(name, O_RDWR | O_CREAT | O_EXCL, 0600));
    if (strcmp(name, "a.db-wal") != 0) SHOW(pwrite(fd, page, sizeof(page), 0));
    SHOW(write(fd, page, 10));
    SHOW(lseek(fd, 0, SEEK_CUR) == 10);
    SHOW(writev(fd, parts, 2));
    SHOW(lseek(fd, 0, SEEK_CUR) == 210);
    SHOW(pwritev(fd, parts, 2, 4096));
    SHOW(pwritev2(fd, parts, 2, -1, 0));
    SHOW(lseek(fd, 0, SEEK_CUR) == 410);
    SHOW(pwrite(fd, page, 10, -5));
    SHOW(pwrite(fd, page, 0, 4096));
    SHOW(write(fd, nullptr, 0));
    SHOW(ftruncate(fd, -1));
    SHOW(ftruncate(fd, 1 << 20));
    SHOW(fallocate(fd, 0, 0, 0));
    SHOW(posix_fallocate(fd, 0, 0));
    SHOW(posix_fallocate(fd, 0, 8192));
    SHOW(fsync(fd));
    SHOW(fdatasync(fd));
    struct flock lock {};
    lock.l_type = F_WRLCK;
    lock.l_len = 1;  // no byte of SQLite's: that would wait for a daemon
    SHOW(fcntl(fd, F_SETLK, &lock));
    lock.l_type = 99;
    SHOW(fcntl(fd, F_SETLK, &lock));
    SHOW(fcntl(fd, F_GETFL) & O_ACCMODE);
    SHOW(fcntl(fd, 4711, 0));
    SHOW(close(fd));
    SHOW(close(fd));
    SHOW(pwrite(fd, page, 1, 0));
    const int read_only = open(name, O_RDONLY);
    SHOW(write(read_only, page, 1));
    SHOW(ftruncate(read_only, 0));
    close(read_only);
    const int append = open(name, O_WRONLY | O_APPEND);
    SHOW(write(append, page, 5));
    close(append);
    SHOW(creat(name, 0600) > 2);
    close(append);
  }
  for (const int fd : {-1, 9999, 1 << 20, 0x7fffffff}) {
    printf("-- %d\n", fd);
    SHOW(close(fd));
    SHOW(write(fd, page, 1));
    SHOW(pwrite(fd, page, 1, 0));
    SHOW(ftruncate(fd, 0));
    SHOW(fsync(fd));
    SHOW(dup(fd));
    SHOW(dup2(fd, 50));
    SHOW(dup2(0, fd));
    SHOW(dup3(0, 0, 0));
    SHOW(fcntl(fd, F_GETFD));
    SHOW(posix_fallocate(fd, 0, 1));
  }
  SHOW(open(nullptr, O_RDWR));
  SHOW(unlink(nullptr));
  SHOW(unlink(""));
  SHOW(unlink("none/a.db-journal"));
  SHOW(close_range(10, 5, 0));
  SHOW(close_range(500, ~0U, 0));
  SHOW(dlopen("/none.so", RTLD_NOW | RTLD_DEEPBIND) == nullptr);
}
