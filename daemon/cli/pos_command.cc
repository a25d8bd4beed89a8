#include "daemon/cli/pos_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "common/json_text.h"
#include "daemon/cli/command_support.h"

namespace litefs {
namespace {

constexpr std::chrono::milliseconds kTimeout = std::chrono::seconds(30);

struct Options {
  DirOptions dir;
  std::string database;
  bool json = false;
};

int PrintPosition(Options options) {
  if (const absl::Status status = SplitDatabasePath(&options.database, &options.dir);
      !status.ok()) {
    Fail(status);
    return kExitUsage;
  }
  const std::optional<Config> config = LoadConfigOrSay(options.dir);
  if (!config) return kExitUsage;
  const auto answer = AskDaemon(config->dir, {{"request", "pos"}, {"database", options.database}},
                                Freshness::kCaptured, kTimeout);
  if (absl::IsNotFound(answer.status())) {
    Say(UnknownDatabase(config->dir, options.database));
    return kExitError;
  }
  if (!answer.ok()) return Fail(answer.status());
  const std::string txid = Text(answer->json, "txid");
  const std::string checksum = Text(answer->json, "checksum");
  if (options.json) {
    const nlohmann::ordered_json line = {
        {"database", options.database}, {"txid", txid}, {"checksum", checksum}};
    std::puts(JsonText(line).c_str());
  } else {
    std::puts(fmt::format("{}/{}", txid, checksum).c_str());
  }
  return 0;
}

}  // namespace

void AddPosCommand(CLI::App& app, int* exit_code) {
  const auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("pos", "Print a database's position: its last transaction and checksum");
  AddDirOptions(command, &options->dir);
  command->add_option("DB", options->database, "The database: its name, or its path")->required();
  command->add_flag("--json", options->json, "Print JSON");
  command->footer("Example:\n  litefs pos data/app.db\n  000000000000002a/9d3c1f0a77e2b845");
  command->callback([options, exit_code] { *exit_code = PrintPosition(*options); });
}

}  // namespace litefs
