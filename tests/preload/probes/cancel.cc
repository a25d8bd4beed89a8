// pthread_cancel at a cancellation point in a hook unwinds the host's frames.
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include <cstdio>

struct Noisy {
  const char* name;
  ~Noisy() { printf("%s: destructor ran\n", name); }
};

void* InClose(void*) {
  Noisy n{"close"};
  pthread_cancel(pthread_self());
  close(9999);
  puts("not cancelled");
  return nullptr;
}
void* InWrite(void* name) {
  const int fd = open((const char*)name, O_RDWR | O_CREAT, 0600);
  Noisy n{(const char*)name};
  pthread_cancel(pthread_self());
  pwrite(fd, "SQLite format 3\0", 16, 0);
  puts("not cancelled");
  return nullptr;
}
void* InSync(void* name) {
  const int fd = open((const char*)name, O_RDWR | O_CREAT, 0600);
  pwrite(fd, "SQLite format 3\0", 16, 0);
  Noisy n{(const char*)name};
  pthread_cancel(pthread_self());
  fdatasync(fd);
  puts("not cancelled");
  return nullptr;
}
void Run(void* (*body)(void*), const char* name) {
  pthread_t t;
  void* r;
  pthread_create(&t, nullptr, body, (void*)name);
  pthread_join(t, &r);
  puts(r == PTHREAD_CANCELED ? "cancelled" : "returned");
}
int main() {
  setvbuf(stdout, nullptr, _IONBF, 0);
  Run(InClose, "");
  Run(InWrite, "plain.txt");
  Run(InWrite, "a.db");
  Run(InSync, "a.db");
  const int fd = open("a.db", O_RDWR);  // and nothing is left locked
  printf("%zd\n", pwrite(fd, "SQLite format 3\0", 16, 0));
}
