#include "daemon/cli/branches_command.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <ctime>
#include <memory>
#include <vector>

#include "common/json_text.h"
#include "common/posix_io.h"
#include "common/status_macros.h"
#include "daemon/cli/command_support.h"
#include "daemon/db/branches.h"
#include "ipc/protocol.h"

namespace litefs {
namespace {

struct Options {
  DirOptions dir;
  std::string database;
  std::string branch;
  std::string file;
  bool force = false;
  bool json = false;
};

struct Row {
  std::string database;
  db::Branch branch;
};

std::string DatabasesDirectory(const Config& config) {
  return fmt::format("{}/{}/dbs", config.dir, ipc::kControlDirectory);
}

std::string TimeText(int64_t ms) {
  return fmt::format("{:%Y-%m-%d %H:%M:%S}Z", fmt::gmtime(static_cast<std::time_t>(ms / 1000)));
}

absl::StatusOr<std::vector<Row>> Collect(const Options& options, const Config& config) {
  const std::string parent = DatabasesDirectory(config);
  std::vector<std::string> databases{options.database};
  if (options.database.empty()) {
    ASSIGN_OR_RETURN(databases, ListDirectory(parent));
  } else if (::access((parent + "/" + options.database).c_str(), F_OK) != 0) {
    return absl::NotFoundError(fmt::format("{} has no database {}", config.dir, options.database));
  }
  std::vector<Row> rows;
  for (const std::string& database : databases) {
    ASSIGN_OR_RETURN(const std::vector<db::Branch> branches,
                     db::ListBranches(parent + "/" + database));
    for (const db::Branch& branch : branches) rows.push_back({database, branch});
  }
  return rows;
}

void PrintJson(const std::vector<Row>& rows) {
  nlohmann::ordered_json list = nlohmann::json::array();
  for (const auto& [database, branch] : rows) {
    list.push_back({{"database", database},
                    {"branch", branch.name},
                    {"txid", branch.name.substr(0, 16)},
                    {"files", branch.files},
                    {"size", branch.size_bytes},
                    {"timestamp_ms", branch.timestamp_ms},
                    {"whole", branch.whole}});
  }
  std::puts(JsonText(nlohmann::ordered_json{{"branches", list}}).c_str());
}

absl::Status List(const Options& options, const Config& config) {
  ASSIGN_OR_RETURN(const std::vector<Row> rows, Collect(options, config));
  if (options.json) {
    PrintJson(rows);
    return absl::OkStatus();
  }
  if (rows.empty()) {
    std::puts("no branches");
    return absl::OkStatus();
  }
  std::vector<std::vector<std::string>> table{
      {"DATABASE", "BRANCH", "LAST TRANSACTION", "FILES", "SIZE", "EXPORT"}};
  for (const auto& [database, branch] : rows) {
    table.push_back({database, branch.name, TimeText(branch.timestamp_ms),
                     std::to_string(branch.files), FormatSize(branch.size_bytes),
                     branch.whole ? "yes" : "no snapshot"});
  }
  std::fputs(Table(table).c_str(), stdout);
  return absl::OkStatus();
}

absl::Status Export(const Options& options, const Config& config) {
  if (!options.force && ::access(options.file.c_str(), F_OK) == 0) {
    return absl::AlreadyExistsError(fmt::format("{} exists (--force replaces it)", options.file));
  }
  const std::string directory = DatabasesDirectory(config) + "/" + options.database;
  RETURN_IF_ERROR(db::ExportBranch(directory, options.branch, options.file));
  if (options.json) {
    const nlohmann::ordered_json line = {
        {"database", options.database}, {"branch", options.branch}, {"file", options.file}};
    std::puts(JsonText(line).c_str());
  } else {
    std::puts(
        fmt::format("{}: {} as of {}", options.file, options.database, options.branch).c_str());
  }
  return absl::OkStatus();
}

absl::Status Discard(const Options& options, const Config& config) {
  RETURN_IF_ERROR(db::DiscardBranch(DatabasesDirectory(config) + "/" + options.database,
                                    options.branch, options.force));
  if (options.json) {
    const nlohmann::ordered_json line = {{"database", options.database},
                                         {"discarded", options.branch}};
    std::puts(JsonText(line).c_str());
  } else {
    std::puts(fmt::format("{}: discarded {}", options.database, options.branch).c_str());
  }
  return absl::OkStatus();
}

using Action = absl::Status (*)(const Options&, const Config&);

int Run(Options options, Action action) {
  if (!options.database.empty()) {
    const absl::Status status = SplitDatabasePath(&options.database, &options.dir);
    if (!status.ok()) {
      Fail(status);
      return kExitUsage;
    }
  }
  const std::optional<Config> config = LoadConfigOrSay(options.dir);
  if (!config) return kExitUsage;
  const absl::Status status = action(options, *config);
  return status.ok() ? 0 : Fail(status);
}

CLI::App* Add(CLI::App* parent, const char* name, const char* what, Action action,
              const std::shared_ptr<Options>& options, int* exit_code) {
  CLI::App* command = parent->add_subcommand(name, what);
  AddDirOptions(command, &options->dir);
  command->add_flag("--json", options->json, "Print JSON");
  command->callback([options, action, exit_code] { *exit_code = Run(*options, action); });
  return command;
}

}  // namespace

void AddBranchesCommands(CLI::App& app, int* exit_code) {
  const auto options = std::make_shared<Options>();
  CLI::App* branches = app.add_subcommand(
      "branches", "What a replica had and its primary has not: list, export, discard");
  branches->require_subcommand(1);
  branches->footer("Example:\n  litefs branches list --dir data");

  CLI::App* list =
      Add(branches, "list", "List the branches that were kept", List, options, exit_code);
  list->add_option("DB", options->database, "Only of this database: its name, or its path");
  list->footer("Example:\n  litefs branches list --dir data");

  CLI::App* exported = Add(branches, "export", "Write the database as a branch left it to a file",
                           Export, options, exit_code);
  exported->add_option("DB", options->database, "The database: its name, or its path")->required();
  exported->add_option("BRANCH", options->branch, "As listed")->required();
  exported->add_option("FILE", options->file, "The file to write")->required();
  exported->add_flag("--force", options->force, "Replace FILE if it exists");
  exported->footer(
      "Example:\n  litefs branches export data/app.db 000000000000002a-9d3c1f0a77e2b845 old.db");

  CLI::App* discard =
      Add(branches, "discard", "Delete a branch for good", Discard, options, exit_code);
  discard->add_option("DB", options->database, "The database: its name, or its path")->required();
  discard->add_option("BRANCH", options->branch, "As listed")->required();
  discard->add_flag("--force", options->force, "Though a later branch begins where it ended");
  discard->footer(
      "Example:\n  litefs branches discard data/app.db 000000000000002a-9d3c1f0a77e2b845");
}

}  // namespace litefs
