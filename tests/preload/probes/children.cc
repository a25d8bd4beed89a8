// vfork and exec, posix_spawn, fork, system and popen, with a database open in the parent.
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

extern char** environ;

int Wait(pid_t pid) {
  int status;
  waitpid(pid, &status, 0);
  return WEXITSTATUS(status);
}
int main() {
  setvbuf(stdout, nullptr, _IONBF, 0);
  const int fd = open("a.db", O_RDWR | O_CREAT, 0600);
  pwrite(fd, "SQLite format 3\0", 16, 0);
  char* args[] = {(char*)"sh", (char*)"-c", (char*)"echo child; exit 3", nullptr};
  if (pid_t pid = vfork(); pid == 0) {
    dup2(1, 9);
    close(fd);
    const int other = open("b.db", O_RDWR | O_CREAT, 0600);
    dup2(other, 8);
    execv("/bin/sh", args);
    _exit(9);
  } else {
    printf("vfork %d\n", Wait(pid));
  }
  pid_t pid;
  posix_spawn(&pid, "/bin/sh", nullptr, nullptr, args, environ);
  printf("spawn %d\n", Wait(pid));
  pid = fork();
  if (pid == 0) {
    printf("%zd %d\n", pwrite(fd, "SQLite format 3\0", 16, 0), close(fd));
    _exit(4);
  }
  printf("fork %d\n", Wait(pid));
  printf("system %d\n", WEXITSTATUS(system("exit 5")));
  FILE* pipe = popen("echo from a pipe", "r");
  char line[100] = "";
  fgets(line, sizeof(line), pipe);
  printf("%s%d\n", line, pclose(pipe));
  printf("%zd %d\n", pwrite(fd, "SQLite format 3\0", 16, 0), close(fd));
}
