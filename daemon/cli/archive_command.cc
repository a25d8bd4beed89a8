#include "daemon/cli/archive_command.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <memory>

#include "common/clock.h"
#include "common/hex.h"
#include "common/json_text.h"
#include "common/posix_io.h"
#include "common/status_macros.h"
#include "daemon/archive/catalog.h"
#include "daemon/archive/level_plan.h"
#include "daemon/archive/restore_plan.h"
#include "daemon/archive/restorer.h"
#include "daemon/cli/archive_support.h"

namespace litefs {
namespace {

using archive::ArchiveFile;
using archive::Catalog;
using nlohmann::ordered_json;

struct Options {
  ArchiveOptions archive;
  std::string database;
  std::string file;
  bool dry_run = false;
  bool json = false;
};

absl::StatusOr<Catalog> Read(const Options& options, OpenedArchive& opened) {
  ASSIGN_OR_RETURN(Catalog catalog, archive::ReadCatalog(*opened.store, options.database));
  if (catalog.empty()) {
    return absl::NotFoundError(
        fmt::format("{} holds no archive{}", opened.store->Describe(),
                    options.database.empty() ? "" : " of " + options.database));
  }
  return catalog;
}

absl::Status List(const Options& options) {
  ASSIGN_OR_RETURN(OpenedArchive opened, OpenArchive(options.archive));
  ASSIGN_OR_RETURN(const Catalog catalog, Read(options, opened));
  ordered_json list = nlohmann::json::array();
  std::vector<std::vector<std::string>> rows{
      {"DATABASE", "LEVEL", "FROM", "TO", "TIME", "EPOCH", "SIZE", "KIND"}};
  for (const auto& [database, listing] : catalog) {
    for (const ArchiveFile& file : listing.files) {
      const std::string kind = fmt::format("{}{}",
                                           file.is_snapshot() ? "snapshot"
                                           : file.bundle      ? "bundle"
                                                              : "delta",
                                           file.encrypted ? ", encrypted" : "");
      rows.push_back({database, std::to_string(file.level), Hex16(file.min_txid),
                      Hex16(file.max_txid), FormatTimestamp(file.timestamp_ms),
                      std::to_string(file.epoch), FormatSize(file.size_bytes), kind});
      list.push_back({{"name", file.name},
                      {"database", database},
                      {"level", file.level},
                      {"min_txid", Hex16(file.min_txid)},
                      {"max_txid", Hex16(file.max_txid)},
                      {"timestamp_ms", file.timestamp_ms},
                      {"epoch", file.epoch},
                      {"size", file.size_bytes},
                      {"bundle", file.bundle},
                      {"encrypted", file.encrypted}});
    }
  }
  const std::string text =
      options.json ? JsonText(ordered_json{{"files", list}}) + "\n" : Table(rows);
  std::fputs(text.c_str(), stdout);
  return absl::OkStatus();
}

absl::Status Info(const Options& options) {
  ASSIGN_OR_RETURN(OpenedArchive opened, OpenArchive(options.archive));
  ASSIGN_OR_RETURN(const Catalog catalog, Read(options, opened));
  ordered_json list = nlohmann::json::array();
  std::vector<std::vector<std::string>> rows{
      {"DATABASE", "FILES", "SIZE", "OLDEST SNAPSHOT", "NEWEST", "TIME", "EPOCH", "OTHER FILES"}};
  for (const auto& [database, listing] : catalog) {
    const std::vector<ArchiveFile> line = archive::FilesOnLine(listing.files);
    uint64_t size = 0;
    for (const ArchiveFile& file : listing.files) size += file.size_bytes;
    const auto snapshot = std::find_if(line.begin(), line.end(),
                                       [](const ArchiveFile& file) { return file.is_snapshot(); });
    const std::string oldest =
        snapshot == line.end() ? "none" : FormatTimestamp(snapshot->timestamp_ms);
    const ArchiveFile newest = line.empty() ? ArchiveFile{} : line.back();
    const size_t others = listing.files.size() - line.size();
    rows.push_back({database, std::to_string(listing.files.size()), FormatSize(size), oldest,
                    Hex16(newest.max_txid), FormatTimestamp(newest.timestamp_ms),
                    std::to_string(listing.epoch), std::to_string(others)});
    list.push_back({{"database", database},
                    {"files", listing.files.size()},
                    {"size", size},
                    {"oldest_snapshot_ms", snapshot == line.end() ? 0 : snapshot->timestamp_ms},
                    {"txid", Hex16(newest.max_txid)},
                    {"timestamp_ms", newest.timestamp_ms},
                    {"epoch", listing.epoch},
                    {"other_files", others}});
  }
  const std::string text =
      options.json ? JsonText(ordered_json{{"databases", list}}) + "\n" : Table(rows);
  std::fputs(text.c_str(), stdout);
  return absl::OkStatus();
}

absl::Status Verify(const Options& options) {
  ASSIGN_OR_RETURN(OpenedArchive opened, OpenArchive(options.archive));
  ASSIGN_OR_RETURN(const Catalog catalog, Read(options, opened));
  const archive::RestoreOptions restore{
      .store = opened.store.get(),
      .keys = &opened.keys,
      .temporary_directory = std::filesystem::temp_directory_path().string(),
      .progress = nullptr};
  ordered_json problems = nlohmann::json::array();
  size_t files = 0;
  const auto problem = [&](const std::string& what) {
    if (!options.json) std::puts(what.c_str());
    problems.push_back(what);
  };
  for (const auto& [database, listing] : catalog) {
    for (const ArchiveFile& file : listing.files) {
      ++files;
      const absl::Status status = archive::VerifyArchiveFile(file, restore);
      if (absl::IsUnavailable(status)) return status;
      if (!status.ok()) problem(std::string(status.message()));
    }
    // The newest state must come out right: that is what an archive is for.
    const auto plan = archive::PlanRestore(listing.files, {});
    absl::Status status = plan.status();
    if (plan.ok()) {
      ASSIGN_OR_RETURN(const UniqueFd fd,
                       OpenFile(restore.temporary_directory, O_RDWR | O_TMPFILE));
      status = archive::Restore(*plan, restore, fd.get(), database).status();
    }
    if (!status.ok())
      problem(fmt::format("{}: restore: {}", database, std::string(status.message())));
  }
  if (options.json) {
    std::puts(JsonText(ordered_json{{"files", files}, {"problems", problems}}).c_str());
  } else {
    std::puts(fmt::format("{} files verified, {} problems", files, problems.size()).c_str());
  }
  if (problems.empty()) return absl::OkStatus();
  return absl::DataLossError(
      fmt::format("{} of {} files or restores are not right", problems.size(), files));
}

absl::Status Prune(const Options& options) {
  ASSIGN_OR_RETURN(OpenedArchive opened, OpenArchive(options.archive));
  ASSIGN_OR_RETURN(const Catalog catalog, Read(options, opened));
  ordered_json list = nlohmann::json::array();
  uint64_t bytes = 0;
  for (const auto& [database, listing] : catalog) {
    const archive::Expired expired =
        archive::WhatHasExpired(listing.files, opened.config.levels, SystemClock().WallMs());
    std::vector<std::string> names;
    for (const ArchiveFile& file : expired.files) {
      bytes += file.size_bytes;
      names.push_back(file.name);
      list.push_back(file.name);
      if (!options.json) std::puts(file.name.c_str());
    }
    if (!options.dry_run && !names.empty()) RETURN_IF_ERROR(opened.store->Delete(names));
  }
  const char* const verb = options.dry_run ? "would be deleted" : "deleted";
  if (options.json) {
    std::puts(
        JsonText(ordered_json{{"files", list}, {"bytes", bytes}, {"dry_run", options.dry_run}})
            .c_str());
  } else {
    std::puts(fmt::format("{} files, {}, {}", list.size(), FormatSize(bytes), verb).c_str());
  }
  return absl::OkStatus();
}

// The file is the only copy of the key: never replaced, and for its owner's eyes.
absl::Status Keygen(const Options& options) {
  ASSIGN_OR_RETURN(const crypto::AgeIdentity identity, crypto::AgeIdentity::Generate());
  const crypto::SecretString text = crypto::FormatIdentityFile(identity);
  ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile(options.file, O_WRONLY | O_CREAT | O_EXCL, 0600));
  RETURN_IF_ERROR(WriteAt(fd.get(), std::as_bytes(std::span(text.view())), 0, options.file));
  RETURN_IF_ERROR(SyncData(fd.get(), options.file));
  const std::string recipient = identity.recipient().ToString();
  if (options.json) {
    std::puts(JsonText(ordered_json{{"recipient", recipient}, {"file", options.file}}).c_str());
  } else {
    std::puts(recipient.c_str());
  }
  return absl::OkStatus();
}

using Action = absl::Status (*)(const Options&);

CLI::App* Add(CLI::App* parent, const char* name, const char* what, Action action,
              const std::shared_ptr<Options>& options, int* exit_code) {
  CLI::App* command = parent->add_subcommand(name, what);
  command->add_flag("--json", options->json, "Print JSON");
  command->callback([options, action, exit_code] {
    const absl::Status status = action(*options);
    *exit_code = status.ok() ? 0 : Fail(status);
    if (absl::IsInvalidArgument(status)) *exit_code = kExitUsage;
  });
  return command;
}

}  // namespace

void AddArchiveCommands(CLI::App& app, int* exit_code) {
  const auto options = std::make_shared<Options>();
  CLI::App* parent = app.add_subcommand("archive", "Look into an archive and look after it");
  parent->require_subcommand(1);
  parent->footer("Example:\n  litefs archive info s3://bucket/prefix");
  const auto about_archive = [&](const char* name, const char* what, Action action,
                                 const char* example) {
    CLI::App* command = Add(parent, name, what, action, options, exit_code);
    AddArchiveOptions(command, &options->archive);
    command->add_option("--database", options->database, "Only of this database");
    command->footer(example);
    return command;
  };
  about_archive("list", "List the files", List, "Example:\n  litefs archive list /backup --json");
  about_archive("info", "Say how far back and forward each database goes", Info,
                "Example:\n  litefs archive info s3://bucket/prefix");
  about_archive("verify", "Read every file, and restore the newest state of each database", Verify,
                "Example:\n  litefs archive verify /backup --identity key.txt");
  about_archive("prune", "Delete what retention lets go, now", Prune,
                "Example:\n  litefs archive prune offsite --dry-run")
      ->add_flag("--dry-run", options->dry_run, "Only say what would go");
  CLI::App* keygen = Add(parent, "keygen", "Make an age key pair; prints the recipient", Keygen,
                         options, exit_code);
  keygen->add_option("-o,--output", options->file, "The file for the identity, the secret part")
      ->required();
  keygen->footer("Example:\n  litefs archive keygen -o key.txt");
}

}  // namespace litefs
