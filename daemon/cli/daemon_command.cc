#include "daemon/cli/daemon_command.h"

#include <CLI/CLI.hpp>
#include <memory>
#include <utility>

#include "daemon/cli/command_support.h"
#include "daemon/daemon.h"

namespace litefs {

void AddDaemonCommand(CLI::App& app, int* exit_code) {
  struct Options {
    DirOptions dir;
    bool while_used = false;
    int ready_fd = -1;
  };
  const auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "daemon", "Capture and replicate the databases of a directory, until SIGTERM");
  AddDirOptions(command, &options->dir);
  command->add_flag("--while-used", options->while_used,
                    "Exit when the last program and `litefs run` has gone");
  command
      ->add_option("--ready-fd", options->ready_fd,
                   "Write one byte to this descriptor when programs can start, and close it")
      ->type_name("N")
      ->check(CLI::NonNegativeNumber);
  command->footer("Example:\n  litefs daemon --config /etc/litefs.yml");
  command->callback([options, exit_code] {
    std::optional<Config> config = LoadConfigOrSay(options->dir);
    *exit_code = config ? RunDaemon({.config = *std::move(config),
                                     .reload =
                                         [dir = options->dir] {
                                           return LoadConfig({.path = dir.config, .dir = dir.dir});
                                         },
                                     .while_used = options->while_used,
                                     .ready_fd = options->ready_fd})
                        : kExitUsage;
  });
}

}  // namespace litefs
