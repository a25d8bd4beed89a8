// Signal handlers that interrupt hooked calls and make hooked calls themselves.
#include <fcntl.h>
#include <sys/time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>

int handler_fd;
std::atomic<int> calls{0};

void Handler(int) {
  const int saved = errno;
  pwrite(handler_fd, "SQLite format 3\0", 16, 0);
  const int fd = open("c.db", O_RDWR | O_CREAT, 0600);
  close(fd);
  unlink("c.db-journal");
  ++calls;
  errno = saved;
}

int main() {
  setvbuf(stdout, nullptr, _IONBF, 0);
  handler_fd = open("a.db", O_RDWR | O_CREAT, 0600);
  pwrite(handler_fd, "SQLite format 3\0", 16, 0);
  struct sigaction action {};
  action.sa_handler = Handler;
  sigaction(SIGALRM, &action, nullptr);
  const itimerval timer{{0, 200}, {0, 200}};
  setitimer(ITIMER_REAL, &timer, nullptr);
  long failures = 0;
  while (calls < 200) {
    const int fd = open("b.db", O_RDWR | O_CREAT, 0600);
    if (fd < 0) {
      failures += errno != EINTR;
      continue;
    }
    failures += pwrite(fd, "SQLite format 3\0", 16, 0) != 16;
    failures += pwrite(handler_fd, "x", 1, 100) != 1;
    failures += ftruncate(fd, 8192) != 0;
    const int other = dup(fd);
    failures += close(other) != 0;
    failures += close(fd) != 0;
  }
  printf("failures %ld\n", failures);
  int pipe_fds[2];
  pipe(pipe_fds);
  char byte;
  struct sigaction once {};
  once.sa_handler = [](int) {};
  sigaction(SIGALRM, &once, nullptr);
  const ssize_t n = read(pipe_fds[0], &byte, 1);
  printf("read %zd errno %d\n", n, errno);
}
