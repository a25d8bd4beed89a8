#include "daemon/cli/wait_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <memory>

#include "common/hex.h"
#include "common/json_text.h"
#include "daemon/cli/command_support.h"
#include "ltx/types.h"

namespace litefs {
namespace {

constexpr int kExitTimeout = 3;
constexpr int kExitOtherBranch = 4;
constexpr std::chrono::milliseconds kGrace = std::chrono::seconds(30);  // for the answer itself

struct Options {
  DirOptions dir;
  std::string database;
  std::string position;
  std::string timeout = "30s";
  bool json = false;
};

// "TXID" or "TXID/CHECKSUM" to the two, as the request has them; false if it is neither.
bool SplitPosition(const std::string& text, std::string* txid, std::string* checksum) {
  const size_t slash = text.find('/');
  *txid = text.substr(0, slash);
  *checksum = slash == std::string::npos ? "" : text.substr(slash + 1);
  const std::string whole =
      *txid + "/" + (slash == std::string::npos ? Hex16(ltx::kEmptyDatabaseChecksum) : *checksum);
  return ltx::ParsePosition(whole).has_value();
}

int Wait(Options options) {
  if (const absl::Status status = SplitDatabasePath(&options.database, &options.dir);
      !status.ok()) {
    Fail(status);
    return kExitUsage;
  }
  std::string txid, checksum;
  if (!SplitPosition(options.position, &txid, &checksum)) {
    Say(fmt::format("\"{}\" is not a position such as 000000000000002a, or 000000000000002a/{}",
                    options.position, "9d3c1f0a77e2b845 (litefs pos prints one)"));
    return kExitUsage;
  }
  const auto timeout = ParseDuration(options.timeout);
  if (!timeout || *timeout > std::chrono::hours(24)) {
    Say(fmt::format("--timeout: \"{}\" is not a duration up to 24h such as 500ms, 30s",
                    options.timeout));
    return kExitUsage;
  }
  const std::optional<Config> config = LoadConfigOrSay(options.dir);
  if (!config) return kExitUsage;
  const nlohmann::json request = {{"request", "wait"},
                                  {"database", options.database},
                                  {"txid", txid},
                                  {"checksum", checksum},
                                  {"timeout_ms", timeout->count()}};
  const absl::StatusOr<ControlReply> reply =
      ControlRequest(config->dir, JsonText(request), *timeout + kGrace);
  if (!reply.ok()) return Fail(reply.status());
  const nlohmann::json answer = nlohmann::json::parse(reply->json, nullptr, false);
  if (reply->error != 0) Say(Text(answer, "error"));
  if (options.json && answer.is_object() && answer.contains("txid")) {
    const nlohmann::ordered_json line = {{"database", options.database},
                                         {"reached", reply->error == 0},
                                         {"txid", Text(answer, "txid")},
                                         {"checksum", Text(answer, "checksum")}};
    std::puts(JsonText(line).c_str());
  }
  if (reply->error == 0) return 0;
  if (reply->error == ETIMEDOUT) return kExitTimeout;
  return reply->error == EIDRM ? kExitOtherBranch : kExitError;
}

}  // namespace

void AddWaitCommand(CLI::App& app, int* exit_code) {
  const auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "wait", "Wait until a database has reached a position, on any node: read your writes");
  AddDirOptions(command, &options->dir);
  command->add_option("DB", options->database, "The database: its name, or its path")->required();
  command
      ->add_option("TXID", options->position,
                   "The transaction, or TXID/CHECKSUM as litefs pos prints it")
      ->required();
  command->add_option("--timeout", options->timeout, "How long at most")->capture_default_str();
  command->add_flag("--json", options->json, "Print where the database is then, as JSON");
  command->footer(
      "Exit status: 0 reached, 3 not in time, 4 the position is of another branch, 1 other "
      "errors.\n"
      "Example:\n  litefs wait data/app.db 000000000000002a/9d3c1f0a77e2b845 --timeout 5s");
  command->callback([options, exit_code] { *exit_code = Wait(*options); });
}

}  // namespace litefs
