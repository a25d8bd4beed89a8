#include "daemon/cli/role_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "common/json_text.h"
#include "daemon/cli/command_support.h"

namespace litefs {
namespace {

// The daemon gives up earlier by itself, and says why; twice the longest sensible TTL.
constexpr std::chrono::milliseconds kTimeout = std::chrono::seconds(120);

struct Options {
  DirOptions dir;
  std::string node;
  bool force = false;
  bool json = false;
};

// By promote --force.
void PrintAbandoned(const nlohmann::json& answer) {
  const auto abandoned = answer.find("abandoned");
  if (abandoned == answer.end() || !abandoned->is_array() || abandoned->empty()) return;
  std::puts("abandoned, and kept as a branch by the node that has it, when it comes back:");
  for (const nlohmann::json& line : *abandoned) {
    if (line.is_string()) std::puts(("  " + line.get<std::string>()).c_str());
  }
}

int Ask(const Options& options, const nlohmann::json& request) {
  const std::optional<Config> config = LoadConfigOrSay(options.dir);
  if (!config) return kExitUsage;
  const auto answer = AskDaemon(config->dir, request, Freshness::kAsIs, kTimeout);
  if (!answer.ok()) return Fail(answer.status());
  if (options.json) {
    std::puts(JsonText(answer->json).c_str());
  } else if (Text(answer->json, "role") == "primary") {
    std::puts("this node is the primary");
    PrintAbandoned(answer->json);
  } else if (!Text(answer->json, "waits").empty()) {
    std::puts(("this node " + Text(answer->json, "waits")).c_str());
  } else if (Text(answer->json, "role") == "replica") {
    std::puts("this node is a replica");
  } else {
    std::puts(fmt::format("node {} is the primary", Text(answer->json, "primary")).c_str());
  }
  return 0;
}

CLI::App* Add(CLI::App& app, const char* name, const char* what,
              const std::shared_ptr<Options>& options) {
  CLI::App* command = app.add_subcommand(name, what);
  AddDirOptions(command, &options->dir);
  command->add_flag("--json", options->json, "Print JSON");
  return command;
}

}  // namespace

void AddRoleCommands(CLI::App& app, int* exit_code) {
  auto options = std::make_shared<Options>();
  CLI::App* command = Add(app, "promote", "Make this node the primary", options);
  command->add_flag("--force", options->force,
                    "Even if that abandons transactions, where no node holds the lease");
  command->footer(
      "The primary hands over to this node; where there is none, it takes the lease if that is "
      "safe.\nExample:\n  litefs promote --dir /srv/app");
  command->callback([options, exit_code] {
    *exit_code = Ask(*options, {{"request", "promote"}, {"force", options->force}});
  });

  options = std::make_shared<Options>();
  command = Add(app, "demote", "Hand the lease to the candidate that has most", options);
  command->footer("Example:\n  litefs demote --dir /srv/app");
  command->callback([options, exit_code] { *exit_code = Ask(*options, {{"request", "demote"}}); });

  options = std::make_shared<Options>();
  command = Add(app, "reload", "Read the configuration again, for another static role", options);
  command->footer(
      "Takes over lease.primary and replication.primary, as SIGHUP does.\nExample:\n  litefs "
      "reload "
      "--config /etc/litefs.yml");
  command->callback([options, exit_code] { *exit_code = Ask(*options, {{"request", "reload"}}); });

  options = std::make_shared<Options>();
  command = Add(app, "handoff", "Make another node the primary, losing nothing", options);
  command->add_option("NODE", options->node, "Its node id, or the first digits of it")->required();
  command->footer("Example:\n  litefs handoff --dir /srv/app 4f2a9c");
  command->callback([options, exit_code] {
    *exit_code = Ask(*options, {{"request", "handoff"}, {"node", options->node}});
  });
}

}  // namespace litefs
