// `litefs run` is to be invisible: the command has our terminal, our descriptors, our process
// group, the signal dispositions and mask we were given, and its exit status becomes ours.
//
// Signals: all that matter are blocked and read from a signalfd.  What somebody sent to us (kill)
// goes on to the command; what the terminal's driver sent went to the whole process group and so
// has reached the command already.  When the command stops, we stop, so that the shell sees a
// stopped job.

#include "daemon/cli/run_command.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "common/posix_io.h"
#include "common/status_macros.h"
#include "daemon/cli/command_support.h"
#include "daemon/cli/daemon_starter.h"
#include "daemon/cli/preload_library.h"

namespace litefs {
namespace {

using std::chrono::steady_clock;

constexpr int kExitNotExecutable = 126;
constexpr int kExitNotFound = 127;
constexpr int kExitSignalBase = 128;
constexpr std::array kForwarded = {SIGTERM, SIGINT,   SIGHUP,  SIGQUIT, SIGUSR1,
                                   SIGUSR2, SIGWINCH, SIGTSTP, SIGCONT};
constexpr std::chrono::milliseconds kSyncTimeout = std::chrono::seconds(60);
// A daemon that ends sooner after its start is not started again.
constexpr std::chrono::seconds kMinDaemonLife{1};

struct Options {
  DirOptions dir;
  std::vector<std::string> command;
  std::vector<std::string> loose;  // words without the `--` before them
};

// Blocks the signals we handle, for its lifetime; what there was before is for the command.
class BlockedSignals {
 public:
  BlockedSignals() {
    ::sigemptyset(&blocked_);
    for (const int signal : kForwarded) ::sigaddset(&blocked_, signal);
    ::sigaddset(&blocked_, SIGCHLD);
    ::sigprocmask(SIG_BLOCK, &blocked_, &mask_before_);
    // Ignored, there would be nothing to wait for.
    struct sigaction action = {};
    action.sa_handler = SIG_DFL;
    ::sigaction(SIGCHLD, &action, &child_action_before_);
    fd_.reset(::signalfd(-1, &blocked_, SFD_CLOEXEC));
  }
  ~BlockedSignals() { Restore(); }
  BlockedSignals(const BlockedSignals&) = delete;
  BlockedSignals& operator=(const BlockedSignals&) = delete;

  void Restore() const {
    ::sigaction(SIGCHLD, &child_action_before_, nullptr);
    ::sigprocmask(SIG_SETMASK, &mask_before_, nullptr);
  }
  int fd() const { return fd_.get(); }

 private:
  sigset_t blocked_;
  sigset_t mask_before_;
  struct sigaction child_action_before_;
  UniqueFd fd_;
};

// In the new process: becomes the command.  Never returns.
[[noreturn]] void ExecCommand(const std::vector<std::string>& command, const std::string& library,
                              const BlockedSignals& signals) {
  const char* const preload = std::getenv("LD_PRELOAD");
  const std::string value = WithPreloadLibrary(preload == nullptr ? "" : preload, library);
  ::setenv("LD_PRELOAD", value.c_str(), 1);
  std::vector<char*> argv;
  for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  signals.Restore();
  ::execvp(argv[0], argv.data());
  const int error = errno;
  Say(fmt::format("{}: {}", command[0], strerror(error)));
  ::_exit(error == ENOENT ? kExitNotFound : kExitNotExecutable);
}

// The command while it runs, and its daemon.
class Supervisor {
 public:
  Supervisor(pid_t pid, const BlockedSignals& signals, DaemonStarter* starter)
      : pid_(pid), signals_(signals), starter_(*starter) {}

  // Returns the exit status of the command when it has ended.
  int Wait() {
    while (true) {
      std::array<pollfd, 2> entries = {{{.fd = signals_.fd(), .events = POLLIN, .revents = 0},
                                        {.fd = starter_.fd(), .events = POLLIN, .revents = 0}}};
      if (::poll(entries.data(), entries.size(), -1) < 0 && errno != EINTR) {
        return Fail(ErrnoStatus("poll", errno));
      }
      if (entries[1].revents != 0) ReplaceDaemon();
      signalfd_siginfo info;
      if (entries[0].revents == 0 || ::read(signals_.fd(), &info, sizeof(info)) != sizeof(info)) {
        continue;
      }
      if (info.ssi_signo != SIGCHLD) {
        if (info.ssi_code != SI_KERNEL) ::kill(pid_, static_cast<int>(info.ssi_signo));
      } else if (const std::optional<int> status = Reap()) {
        return *status;
      }
    }
  }

 private:
  // Looks at every child that has changed its state; the status of the command, if it has ended.
  std::optional<int> Reap() {
    int status;
    pid_t pid;
    while ((pid = ::waitpid(-1, &status, WNOHANG | WUNTRACED)) > 0) {
      if (pid != pid_) continue;  // a daemon
      if (WIFEXITED(status)) return WEXITSTATUS(status);
      if (WIFSIGNALED(status)) return kExitSignalBase + WTERMSIG(status);
      if (WIFSTOPPED(status)) ::raise(SIGSTOP);
    }
    return std::nullopt;
  }

  // A --while-used daemon was killed: the command's writes wait for a new one.  Any other is
  // somebody else's to start again.
  void ReplaceDaemon() {
    starter_.Disconnect();
    const bool too_soon = steady_clock::now() - daemon_since_ < kMinDaemonLife;
    if (!starter_.is_while_used() || too_soon) return;
    Say("the daemon has ended; starting another");
    if (const absl::Status status = starter_.Ensure(); !status.ok()) Fail(status);
    daemon_since_ = steady_clock::now();
  }

  const pid_t pid_;
  const BlockedSignals& signals_;
  DaemonStarter& starter_;
  steady_clock::time_point daemon_since_ = steady_clock::now();
};

// All that the command committed has been captured, or we say that it will be.
void SyncOrSay(DaemonStarter* starter, const std::string& dir) {
  const bool ours = starter->is_while_used();
  absl::Status status = starter->Sync(kSyncTimeout);
  if (absl::IsUnavailable(status) && ours) {
    status = starter->Ensure();
    if (status.ok()) status = starter->Sync(kSyncTimeout);
  }
  if (status.ok()) return;
  Say(fmt::format("{}; what was written since is captured when the daemon of {} is back",
                  std::string(status.message()), dir));
}

absl::StatusOr<int> Run(const Options& options, const Config& config) {
  ASSIGN_OR_RETURN(const std::string library, FindPreloadLibrary());
  RETURN_IF_ERROR(MakeControlDirectory(config.dir));
  DaemonStarter starter(config.dir, options.dir.config);
  RETURN_IF_ERROR(starter.Ensure());

  int status;
  {
    const BlockedSignals signals;
    const pid_t pid = ::fork();
    if (pid < 0) return ErrnoStatus("fork", errno);
    if (pid == 0) ExecCommand(options.command, library, signals);
    status = Supervisor(pid, signals, &starter).Wait();
  }
  SyncOrSay(&starter, config.dir);
  return status;
}

int RunOrSay(const Options& options) {
  if (options.command.empty() || !options.loose.empty()) {
    Say("which command? It comes after --: litefs run --dir data -- sqlite3 data/app.db");
    return kExitUsage;
  }
  const std::optional<Config> config = LoadConfigOrSay(options.dir);
  if (!config) return kExitUsage;
  const absl::StatusOr<int> status = Run(options, *config);
  return status.ok() ? *status : Fail(status.status());
}

}  // namespace

void AddRunCommand(CLI::App& app, const std::vector<std::string>& command, int* exit_code) {
  const auto options = std::make_shared<Options>();
  options->command = command;
  CLI::App* run =
      app.add_subcommand("run", "Run a program whose databases in DIR are captured and replicated");
  AddDirOptions(run, &options->dir);
  run->add_option("CMD", options->loose, "The program and its arguments, after --")->type_name("");
  run->footer(
      "Starts a daemon for DIR if none runs, and ends it when nothing uses it any more.\n"
      "The exit status is CMD's.\n\n"
      "Example:\n  litefs run --dir data -- sqlite3 data/app.db");
  run->callback([options, exit_code] { *exit_code = RunOrSay(*options); });
}

}  // namespace litefs
