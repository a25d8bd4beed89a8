#include "daemon/cli/commands.h"

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <string>
#include <vector>

#include "daemon/cli/archive_command.h"
#include "daemon/cli/branches_command.h"
#include "daemon/cli/command_support.h"
#include "daemon/cli/daemon_command.h"
#include "daemon/cli/export_command.h"
#include "daemon/cli/keygen_command.h"
#include "daemon/cli/ltx_command.h"
#include "daemon/cli/pos_command.h"
#include "daemon/cli/preload_library.h"
#include "daemon/cli/restore_command.h"
#include "daemon/cli/role_command.h"
#include "daemon/cli/run_command.h"
#include "daemon/cli/status_command.h"
#include "daemon/cli/wait_command.h"
#include "daemon/version.h"

namespace litefs {
namespace {

// A litefs under its own shim (LD_PRELOAD set for a whole shell, say) would be a client of
// itself: it starts again without.
void LeaveTheShim(char** argv) {
  const char* const preload = std::getenv("LD_PRELOAD");
  if (preload == nullptr) return;
  const std::string rest = WithoutPreloadLibrary(preload);
  if (rest == preload) return;
  if (rest.empty()) {
    ::unsetenv("LD_PRELOAD");
  } else {
    ::setenv("LD_PRELOAD", rest.c_str(), 1);
  }
  ::execv("/proc/self/exe", argv);  // on failure: go on
}

// `run -- CMD…`: CMD is none of our options, so it is taken away before they are parsed.
std::vector<std::string> TakeCommand(std::vector<std::string>* arguments) {
  if (arguments->empty() || arguments->front() != "run") return {};
  const auto dashes = std::find(arguments->begin(), arguments->end(), "--");
  if (dashes == arguments->end()) return {};
  std::vector<std::string> command(dashes + 1, arguments->end());
  arguments->erase(dashes, arguments->end());
  return command;
}

// The innermost command that was named, for "see litefs ltx apply --help".
std::string NamedCommand(const CLI::App& app) {
  std::string name = "litefs";
  for (const CLI::App* at = &app; !at->get_subcommands().empty();) {
    at = at->get_subcommands().front();
    name += " " + at->get_name();
  }
  return name;
}

// The first word, if it should name a command and does not.
std::string UnknownCommand(const CLI::App& app, const std::vector<std::string>& arguments) {
  if (arguments.front().starts_with('-')) return "";
  const auto commands = app.get_subcommands([](const CLI::App*) { return true; });
  const bool known = std::any_of(commands.begin(), commands.end(), [&](const CLI::App* command) {
    return command->get_name() == arguments.front();
  });
  return known ? "" : arguments.front();
}

int ReportParseError(const CLI::App& app, const CLI::ParseError& error) {
  if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
  std::string message = error.what();
  std::replace(message.begin(), message.end(), '\n', ' ');
  Say(fmt::format("{} (see {} --help)", message, NamedCommand(app)));
  return kExitUsage;
}

}  // namespace

int RunCommandLine(int argc, char** argv) {
  LeaveTheShim(argv);
  std::vector<std::string> arguments(argv + std::min(argc, 1), argv + argc);
  const std::vector<std::string> command = TakeCommand(&arguments);
  int exit_code = 0;

  CLI::App app("SQLite databases, replicated: run a program under LD_PRELOAD=liblitefs.so.");
  app.name("litefs");
  app.set_version_flag("--version", std::string("litefs ") + kVersion);
  app.require_subcommand(1);
  app.footer("Example:\n  litefs run --dir data -- sqlite3 data/app.db");
  AddRunCommand(app, command, &exit_code);
  AddDaemonCommand(app, &exit_code);
  AddStatusCommand(app, &exit_code);
  AddPosCommand(app, &exit_code);
  AddWaitCommand(app, &exit_code);
  AddExportCommand(app, &exit_code);
  AddRoleCommands(app, &exit_code);
  AddBranchesCommands(app, &exit_code);
  AddRestoreCommand(app, &exit_code);
  AddArchiveCommands(app, &exit_code);
  AddLtxCommands(app, &exit_code);
  AddKeygenCommand(app, &exit_code);
  if (arguments.empty()) {
    std::fputs(app.help().c_str(), stdout);
    return kExitUsage;
  }
  if (const std::string unknown = UnknownCommand(app, arguments); !unknown.empty()) {
    Say(fmt::format("there is no command {} (see litefs --help)", unknown));
    return kExitUsage;
  }
  try {
    std::reverse(arguments.begin(), arguments.end());  // as CLI11 wants them
    app.parse(arguments);
  } catch (const CLI::ParseError& error) {
    return ReportParseError(app, error);
  }
  return exit_code;
}

}  // namespace litefs
