// The dup family, close_range and closefrom: numbers, flags and what stays open.
#include <fcntl.h>
#include <linux/close_range.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <initializer_list>

bool IsOpen(int fd) { return fcntl(fd, F_GETFD) >= 0; }
void Show(const char* what) {
  printf("%s:", what);
  for (int fd = 0; fd < 64; ++fd) {
    if (IsOpen(fd)) printf(" %d%s", fd, fcntl(fd, F_GETFD) & FD_CLOEXEC ? "c" : "");
  }
  puts("");
}
int main() {
  setvbuf(stdout, nullptr, _IONBF, 0);
  closefrom(3);
  for (const char* name : {"plain.txt", "a.db"}) {
    const int fd = open(name, O_RDWR | O_CREAT, 0600);
    pwrite(fd, "SQLite format 3\0", 16, 0);
    printf("%d %d %d %d\n", dup(fd), dup2(fd, 20), dup3(fd, 21, O_CLOEXEC), dup2(fd, fd));
    printf("%d %d\n", fcntl(fd, F_DUPFD, 30), fcntl(fd, F_DUPFD_CLOEXEC, 30));
    Show("dup");
    printf("%d %d\n", dup2(0, 20), dup2(9999, 21));
    printf("%d %d\n", dup3(fd, fd, 0), errno);
    printf("%zd %zd\n", pwrite(21, "x", 1, 100), pwrite(30, "x", 1, 5000));
    printf("%d\n", close_range(20, 21, 0));
    Show("close_range");
    printf("%d\n", close_range(3, ~0U, CLOSE_RANGE_CLOEXEC));
    Show("cloexec");
    printf("%zd\n", write(fd, "x", 1));
    closefrom(4);
    Show("closefrom");
    close(fd);
    printf("%d %d\n", open("/dev/null", O_RDWR), open("b.db", O_RDWR | O_CREAT, 0600));
    for (int i = 3; i < 1000; ++i) close(i);
    Show("all closed");
  }
}
