// Two `litefs run` at once: each takes a flock on .litefs/run.lock while it looks for a daemon and
// starts one, so the second finds the first one's.  A daemon started by hand at the same moment
// takes the directory's own lock; ours then exits with kExitAnotherDaemon, and we connect to the
// other as soon as it listens.  A daemon that is about to exit may take a connection and never
// answer, so being connected means that a `hold` was answered.

#include "daemon/cli/daemon_starter.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <vector>

#include "common/posix_io.h"
#include "common/status_macros.h"
#include "daemon/cli/command_support.h"
#include "daemon/daemon.h"
#include "ipc/protocol.h"

namespace litefs {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kHoldTimeout = std::chrono::seconds(30);
// How long a daemon that is neither ours nor listening (it starts, or it ends) is waited for.
constexpr milliseconds kOtherDaemonTimeout = std::chrono::seconds(60);
constexpr milliseconds kMaxPause{200};
constexpr milliseconds kSilentStart = std::chrono::seconds(2);
// A daemon that is ready and then does not answer is started again so often.
constexpr int kMaxStarts = 3;
constexpr size_t kLogTailBytes = 4096;
constexpr size_t kLogTailLines = 15;
constexpr int kReadyFdInDaemon = 3;

std::string Control(const std::string& dir, std::string_view name) {
  return fmt::format("{}/{}/{}", dir, ipc::kControlDirectory, name);
}

// The end of the log from offset on, as indented lines.
std::string LogTail(const std::string& path, uint64_t offset) {
  const auto fd = OpenFile(path, O_RDONLY);
  if (!fd.ok()) return "";
  const auto size = FileSize(fd->get(), path);
  if (!size.ok() || *size <= offset) return "";
  offset = std::max(offset, *size - std::min<uint64_t>(*size, kLogTailBytes));
  std::string text(*size - offset, '\0');
  const auto n = ReadAt(fd->get(), std::as_writable_bytes(std::span(text)), offset, path);
  text.resize(n.ok() ? *n : 0);
  while (text.ends_with('\n')) text.pop_back();
  size_t start = text.size();
  for (size_t lines = 0; lines < kLogTailLines && start != std::string::npos; ++lines) {
    start = start == 0 ? std::string::npos : text.rfind('\n', start - 1);
  }
  std::string out = "\n  " + text.substr(start == std::string::npos ? 0 : start + 1);
  for (size_t i = out.find('\n', 1); i != std::string::npos; i = out.find('\n', i + 1)) {
    out.insert(i + 1, "  ");
  }
  return out;
}

// In the new process: becomes the daemon.  Never returns.
[[noreturn]] void ExecDaemon(const std::vector<std::string>& arguments, int log_fd, int ready_fd) {
  std::vector<char*> argv;
  for (const std::string& argument : arguments) {
    argv.push_back(const_cast<char*>(argument.c_str()));
  }
  argv.push_back(nullptr);
  ::setsid();  // the terminal's Ctrl-C is for the command, not for the daemon
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  for (const int signal : {SIGINT, SIGQUIT, SIGHUP, SIGCHLD}) ::signal(signal, SIG_DFL);
  const int null_fd = ::open("/dev/null", O_RDONLY);
  // Copies above the descriptors that they are about to replace.
  const int log_copy = ::fcntl(log_fd, F_DUPFD_CLOEXEC, 10);
  const int ready_copy = ::fcntl(ready_fd, F_DUPFD_CLOEXEC, 10);
  ::dup2(null_fd, STDIN_FILENO);
  ::dup2(log_copy, STDOUT_FILENO);
  ::dup2(log_copy, STDERR_FILENO);
  ::dup2(ready_copy, kReadyFdInDaemon);
  // Nothing of our parent's, such as a pipe that somebody waits on, may live in the daemon.
  ::close_range(kReadyFdInDaemon + 1, ~0U, 0);
  ::execv("/proc/self/exe", argv.data());
  ::_exit(127);
}

// Waits until something is made or removed in the directory (a socket, a lock), at most for limit.
void WaitForChange(const std::string& directory, milliseconds limit) {
  const UniqueFd watch(::inotify_init1(IN_CLOEXEC));
  if (watch.valid()) {
    ::inotify_add_watch(watch.get(), directory.c_str(), IN_CREATE | IN_DELETE | IN_MOVED_TO);
  }
  pollfd entry = {.fd = watch.get(), .events = POLLIN, .revents = 0};
  (void)::poll(&entry, 1, static_cast<int>(limit.count()));
}

// True: a byte came.  False: the end of the pipe.
bool WaitReady(int fd) {
  pollfd entry = {.fd = fd, .events = POLLIN, .revents = 0};
  if (::poll(&entry, 1, static_cast<int>(kSilentStart.count())) == 0 && ::isatty(STDERR_FILENO)) {
    Say("the daemon is checking the databases …");
  }
  char byte;
  ssize_t n;
  do {
    n = ::read(fd, &byte, 1);
  } while (n < 0 && errno == EINTR);
  return n == 1;
}

}  // namespace

absl::Status MakeControlDirectory(const std::string& dir) {
  const std::string control = fmt::format("{}/{}", dir, ipc::kControlDirectory);
  struct stat st;
  if (::stat(control.c_str(), &st) == 0) return absl::OkStatus();
  RETURN_IF_ERROR(MakeDirectory(dir));
  if (::stat(dir.c_str(), &st) != 0) return ErrnoStatus("stat " + dir, errno);
  // Who may use the databases may use the daemon, and nobody else.
  const mode_t mode = st.st_mode & 0777;
  if (::mkdir(control.c_str(), mode) != 0) {
    if (errno == EEXIST) return absl::OkStatus();
    return ErrnoStatus("create directory " + control, errno);
  }
  ::chmod(control.c_str(), mode);  // past the umask; on failure it is only narrower
  if (::isatty(STDERR_FILENO)) Say(fmt::format("{} is now managed by LiteFS ({})", dir, control));
  return absl::OkStatus();
}

absl::StatusOr<bool> DaemonStarter::TryConnect() {
  auto connection = ControlConnection::Connect(dir_);
  if (absl::IsUnavailable(connection.status())) return false;
  if (!connection.ok()) return connection.status();
  const auto reply = connection->Request(R"({"request":"hold"})", kHoldTimeout);
  if (absl::IsUnavailable(reply.status())) return false;
  if (!reply.ok()) return reply.status();
  is_while_used_ = Flag(nlohmann::json::parse(reply->json, nullptr, false), "while_used");
  connection_ = std::move(connection).value();
  return true;
}

absl::Status DaemonStarter::Ensure() {
  ASSIGN_OR_RETURN(bool connected, TryConnect());
  if (connected) return absl::OkStatus();
  // Who may not open the lock goes on without: the daemon's lock decides all the same.
  const UniqueFd lock(
      ::open(Control(dir_, "run.lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
  while (lock.valid() && ::flock(lock.get(), LOCK_EX) != 0 && errno == EINTR) continue;

  const auto deadline = steady_clock::now() + kOtherDaemonTimeout;
  for (int starts = 0; starts < kMaxStarts;) {
    ASSIGN_OR_RETURN(connected, TryConnect());
    if (connected) return absl::OkStatus();
    ASSIGN_OR_RETURN(const Outcome outcome, Start());
    if (outcome == Outcome::kReady) {
      ++starts;
      ASSIGN_OR_RETURN(connected, TryConnect());
      if (connected) return absl::OkStatus();
    } else if (steady_clock::now() > deadline) {
      return absl::DeadlineExceededError(
          fmt::format("another daemon has {}, but it does not answer", dir_));
    }
    WaitForChange(Control(dir_, ""), kMaxPause);
  }
  return absl::UnavailableError(
      fmt::format("the daemon starts and ends at once; see {}", Control(dir_, "daemon.log")));
}

absl::StatusOr<DaemonStarter::Outcome> DaemonStarter::Start() {
  const std::string log_path = Control(dir_, "daemon.log");
  ASSIGN_OR_RETURN(const UniqueFd log, OpenFile(log_path, O_WRONLY | O_CREAT | O_APPEND, 0640));
  ASSIGN_OR_RETURN(const uint64_t log_start, FileSize(log.get(), log_path));
  std::array<int, 2> pipe_fds;
  if (::pipe2(pipe_fds.data(), O_CLOEXEC) != 0) return ErrnoStatus("pipe", errno);
  const UniqueFd ready(pipe_fds[0]);
  UniqueFd ready_writer(pipe_fds[1]);
  std::vector<std::string> arguments = {"litefs",
                                        "daemon",
                                        "--dir",
                                        dir_,
                                        "--while-used",
                                        "--ready-fd",
                                        fmt::format("{}", kReadyFdInDaemon)};
  if (!config_.empty()) arguments.insert(arguments.end(), {"--config", config_});

  const pid_t pid = ::fork();
  if (pid < 0) return ErrnoStatus("fork", errno);
  if (pid == 0) ExecDaemon(arguments, log.get(), ready_writer.get());
  ready_writer.reset();
  if (WaitReady(ready.get())) return Outcome::kReady;
  int wait_status = 0;
  while (::waitpid(pid, &wait_status, 0) < 0 && errno == EINTR) continue;
  if (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == kExitAnotherDaemon) {
    return Outcome::kAnotherRuns;
  }
  return StartFailed(wait_status, log_start);
}

absl::Status DaemonStarter::StartFailed(int wait_status, uint64_t log_start) const {
  const std::string log_path = Control(dir_, "daemon.log");
  const std::string how = WIFSIGNALED(wait_status)
                              ? fmt::format("signal {}", WTERMSIG(wait_status))
                              : fmt::format("exit status {}", WEXITSTATUS(wait_status));
  return absl::InternalError(fmt::format("the daemon did not start ({}); the end of {}:{}", how,
                                         log_path, LogTail(log_path, log_start)));
}

absl::Status DaemonStarter::Sync(milliseconds timeout) {
  if (!connection_) return absl::UnavailableError("not connected to a daemon");
  ASSIGN_OR_RETURN(const ControlReply reply,
                   connection_->Request(R"({"request":"sync"})", timeout));
  if (reply.error == 0) return absl::OkStatus();
  const std::string text = Text(nlohmann::json::parse(reply.json, nullptr, false), "error");
  return absl::UnknownError(text.empty() ? ErrnoStatus("sync", reply.error).message()
                                         : absl::string_view(text));
}

}  // namespace litefs
