// A fake daemon: it accepts sessions in DIRECTORY/.litefs, prints every message as one line and
// answers with errno 0.  For the end-to-end tests of the shim.
//
//   recorder DIRECTORY [option=value]...
//     role=replica          what the status page says
//     lease=expired         a lease that is over
//     write=readonly        what who opens for writing on a replica gets (default: busy)
//     away=continue         what a writer does when we are away (default: refuse)
//     timeout=MS            the status page's write time-out (default 2000)
//     sleeping=0            the daemon never sleeps: bells only count (default 1)
//     refuse=ERRNO          the answer to kCommit
//     version=N             greet with another version
//     die_at=commit|prepare|truncate   exit when this message arrives, without an answer
//     mute=1                never answer kCommit
//
// Lines: "hello NAME PROGRAM", "dirty RANGES", "prepare FLAGS RANGES", "commit FLAGS RANGES",
// "done ERRNO", "bell", "drain REASON", "bye NAME".  SIGTERM ends it; it removes its socket.

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <new>
#include <string>
#include <vector>

#include "ipc/codec.h"

namespace litefs::ipc {
namespace {

struct Options {
  std::string directory;
  std::map<std::string, std::string> values;
  std::string Get(const std::string& name, const std::string& otherwise) const {
    const auto found = values.find(name);
    return found == values.end() ? otherwise : found->second;
  }
};

class Recorder {
 public:
  explicit Recorder(Options options) : options_(std::move(options)) {}

  void Start() {
    const std::string control = options_.directory + "/" + kControlDirectory;
    mkdir(control.c_str(), 0755);
    MakeStatus(control + "/" + kStatusName);
    socket_path_ = control + "/" + kSocketName;
    unlink(socket_path_.c_str());
    listener_ = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string dir = "/proc/self/fd/" +
                            std::to_string(open(control.c_str(), O_PATH | O_DIRECTORY)) + "/" +
                            kSocketName;
    std::strcpy(address.sun_path, dir.c_str());
    if (bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 ||
        listen(listener_, 64) != 0) {
      perror("recorder: bind");
      std::exit(1);
    }
    sigset_t stop;
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigprocmask(SIG_BLOCK, &stop, nullptr);
    stop_ = signalfd(-1, &stop, SFD_CLOEXEC);
    puts("ready");
  }

  // Asked to end, it first reads what has been sent.
  void Run() {
    for (bool stopping = false;;) {
      std::vector<pollfd> entries{{stop_, POLLIN, 0}, {listener_, POLLIN, 0}};
      for (const auto& [fd, name] : sessions_) entries.push_back({fd, POLLIN, 0});
      if (stopping) entries[0].fd = -1;
      const int ready = poll(entries.data(), entries.size(), stopping ? 0 : -1);
      if (stopping && ready == 0) break;
      if (entries[0].revents != 0) stopping = true;
      if (entries[1].revents != 0) sessions_[accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC)];
      for (size_t i = 2; i < entries.size(); ++i) {
        if (entries[i].revents != 0) Serve(entries[i].fd);
      }
    }
    unlink(socket_path_.c_str());
  }

 private:
  void MakeStatus(const std::string& path) {
    status_fd_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (ftruncate(status_fd_, kStatusFileBytes) != 0) std::exit(1);
    void* memory =
        mmap(nullptr, kStatusFileBytes, PROT_READ | PROT_WRITE, MAP_SHARED, status_fd_, 0);
    auto* status = static_cast<StatusPage*>(memory);
    bells_ = reinterpret_cast<BellPage*>(static_cast<char*>(memory) + kStatusPageBytes);
    status->magic = kStatusMagic;
    status->version = kProtocolVersion;
    const bool replica = options_.Get("role", "") == "replica";
    status->role = static_cast<uint32_t>(replica ? Role::kReplica : Role::kPrimary);
    status->write_timeout_ms = static_cast<uint32_t>(std::stoul(options_.Get("timeout", "2000")));
    status->lease_deadline_ns = options_.Get("lease", "") == "expired" ? 1 : kNoDeadline;
    const std::string write = options_.Get("write", "");
    status->on_replica_write = write == "forward" ? 2 : write == "readonly" ? 1 : 0;
    status->when_away = options_.Get("away", "") == "continue" ? 1 : 0;
    bells_->sleeping = options_.Get("sleeping", "1") == "1" ? 1 : 0;
  }

  template <typename Message>
  void Answer(int fd, const Message& message, int passed = -1) {
    char buffer[1024];
    iovec part{buffer, Encode(message, buffer)};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    if (passed >= 0) {
      header.msg_control = control;
      header.msg_controllen = sizeof(control);
      cmsghdr* entry = CMSG_FIRSTHDR(&header);
      entry->cmsg_level = SOL_SOCKET;
      entry->cmsg_type = SCM_RIGHTS;
      entry->cmsg_len = CMSG_LEN(sizeof(int));
      std::memcpy(CMSG_DATA(entry), &passed, sizeof(int));
    }
    sendmsg(fd, &header, MSG_NOSIGNAL);
  }

  static std::string Text(const RangesView& ranges) {
    std::string text;
    for (size_t i = 0; i < ranges.size(); ++i) {
      text += " " + std::to_string(ranges[i].offset) + "+" + std::to_string(ranges[i].length);
    }
    return text;
  }
  static std::string Flags(uint64_t flags) {
    std::string text;
    if (flags & kFlagSynced) text += " synced";
    if (flags & kFlagUnknown) text += " unknown";
    if (flags & kFlagRecheck) text += " recheck";
    return text;
  }

  void Greet(int fd, const Hello& hello) {
    sessions_[fd] = std::string(hello.name);
    printf("hello %s %s\n", sessions_[fd].c_str(), std::string(hello.program).c_str());
    Welcome welcome{.bell_slot = 7, .text = ""};
    welcome.version = static_cast<uint32_t>(
        std::stoul(options_.Get("version", std::to_string(kProtocolVersion))));
    Answer(fd, welcome, status_fd_);
  }

  void End(int fd) {
    printf("bye %s\n", sessions_[fd].c_str());
    close(fd);
    sessions_.erase(fd);
  }

  void DieAt(const char* message) {
    if (options_.Get("die_at", "") != message) return;
    unlink(socket_path_.c_str());
    puts("died");
    std::_Exit(0);
  }

  void Serve(int fd) {
    static char buffer[kMaxMessageBytes];
    const ssize_t n = recv(fd, buffer, sizeof(buffer), 0);
    if (n <= 0) return End(fd);
    const std::string_view data(buffer, static_cast<size_t>(n));
    Hello hello;
    Dirty dirty;
    Prepare prepare;
    Commit commit;
    Done done;
    Bell bell;
    Drain drain;
    Lock lock;
    Unlock unlock;
    Ring ring;
    Forward forward;
    if (Decode(data, &hello)) {
      Greet(fd, hello);
    } else if (Decode(data, &dirty)) {
      printf("dirty%s\n", Text(dirty.ranges).c_str());
    } else if (Decode(data, &prepare)) {
      printf("prepare%s%s\n", Flags(prepare.flags).c_str(), Text(prepare.ranges).c_str());
      DieAt("prepare");
    } else if (Decode(data, &commit)) {
      printf("commit%s%s\n", Flags(commit.flags).c_str(), Text(commit.ranges).c_str());
      DieAt("commit");
      const auto error = static_cast<uint32_t>(std::stoul(options_.Get("refuse", "0")));
      if (options_.Get("mute", "").empty()) Answer(fd, Reply{commit.id, error});
    } else if (Decode(data, &done)) {
      printf("done %u\n", done.error);
    } else if (Decode(data, &bell)) {
      puts("bell");
    } else if (Decode(data, &drain)) {
      static const char* const kReasons[] = {"?", "restart", "truncate", "unlink", "sync"};
      printf("drain %s\n", kReasons[static_cast<int>(drain.reason)]);
      DieAt(kReasons[static_cast<int>(drain.reason)]);
      Answer(fd, Reply{drain.id, 0});
    } else if (Decode(data, &lock)) {
      puts("lock");
      Answer(fd, Reply{lock.id, static_cast<uint32_t>(std::stoul(options_.Get("busy", "0")))});
    } else if (Decode(data, &ring)) {
      Answer(fd, Reply{ring.id, ENOTSUP});  // what is told by messages is what is recorded
    } else if (Decode(data, &unlock)) {
      puts("unlock");
    } else if (Decode(data, &forward)) {
      printf("forward page %u of %u\n", forward.pgno, forward.size_pages);
      Answer(fd, Reply{forward.id, static_cast<uint32_t>(std::stoul(options_.Get("refuse", "0")))});
    } else {
      puts("not a message");
      End(fd);
    }
  }

  const Options options_;
  std::string socket_path_;
  int listener_ = -1;
  int stop_ = -1;
  int status_fd_ = -1;
  BellPage* bells_ = nullptr;
  std::map<int, std::string> sessions_;
};

}  // namespace
}  // namespace litefs::ipc

int main(int argc, char** argv) {
  setvbuf(stdout, nullptr, _IOLBF, 0);
  if (argc < 2) return 2;
  litefs::ipc::Options options;
  options.directory = argv[1];
  for (int i = 2; i < argc; ++i) {
    const std::string text = argv[i];
    const size_t equals = text.find('=');
    if (equals == text.npos) return 2;
    options.values[text.substr(0, equals)] = text.substr(equals + 1);
  }
  litefs::ipc::Recorder recorder(std::move(options));
  recorder.Start();
  recorder.Run();
}
