// A restore writes a temporary beside FILE, verifies and syncs it, and renames it: FILE is the old
// database or the new one.

#include "daemon/cli/restore_command.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <memory>

#include "common/clock.h"
#include "common/hex.h"
#include "common/json_text.h"
#include "common/posix_io.h"
#include "common/status_macros.h"
#include "daemon/archive/archive_follower.h"
#include "daemon/archive/catalog.h"
#include "daemon/archive/restore_plan.h"
#include "daemon/archive/restorer.h"
#include "daemon/cli/archive_support.h"

namespace litefs {
namespace {

using archive::RestorePlan;
using SteadyClock = std::chrono::steady_clock;

struct Options {
  ArchiveOptions archive;
  std::string file;
  std::string database;
  std::string txid;
  std::string timestamp;
  std::string epoch;
  int threads = 6;
  bool force = false;
  bool dry_run = false;
  bool json = false;
  bool follow = false;
  bool quiet = false;
};

// One line on a terminal, redrawn ten times a second.
class Progress {
 public:
  Progress(uint64_t total, bool wanted) : total_(total), shown_(wanted && ::isatty(2) == 1) {}
  ~Progress() {
    if (shown_) std::fputs("\r\x1b[K", stderr);
  }
  void Add(uint64_t bytes) {
    done_ += bytes;
    const auto now = SteadyClock::now();
    if (!shown_ || now < next_) return;
    next_ = now + std::chrono::milliseconds(100);
    const int percent = total_ == 0 ? 100 : static_cast<int>(done_ * 100 / total_);
    const std::string bar(static_cast<size_t>(percent) * 30 / 100, '#');
    const double seconds = std::chrono::duration<double>(now - began_).count();
    std::fputs(fmt::format("\r\x1b[K[{:<30}] {:3}%  {} of {}  {}/s", bar, percent,
                           FormatSize(done_), FormatSize(total_),
                           FormatSize(static_cast<uint64_t>(static_cast<double>(done_) / seconds)))
                   .c_str(),
               stderr);
  }

 private:
  const uint64_t total_;
  const bool shown_;
  const SteadyClock::time_point began_ = SteadyClock::now();
  SteadyClock::time_point next_ = began_;
  uint64_t done_ = 0;
};

absl::StatusOr<archive::RestoreTarget> Target(const Options& options) {
  archive::RestoreTarget target;
  if (!options.txid.empty()) {
    uint64_t txid = 0;
    const std::string& text = options.txid;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), txid, 16);
    if (error != std::errc() || end != text.data() + text.size() || txid == 0) {
      return absl::InvalidArgumentError(fmt::format(
          "--txid: \"{}\" is no transaction number (hexadecimal, as litefs pos prints it)", text));
    }
    target.txid = txid;
  }
  if (!options.timestamp.empty()) {
    target.timestamp_ms = ParseTimestamp(options.timestamp);
    if (!target.timestamp_ms) {
      return absl::InvalidArgumentError(fmt::format(
          "--timestamp: \"{}\" is no time such as 2026-11-24T22:00:00Z", options.timestamp));
    }
  }
  if (target.txid && target.timestamp_ms) {
    return absl::InvalidArgumentError("--txid and --timestamp exclude each other");
  }
  if (!options.epoch.empty()) {
    uint32_t epoch = 0;
    const std::string& text = options.epoch;
    if (std::from_chars(text.data(), text.data() + text.size(), epoch).ec != std::errc()) {
      return absl::InvalidArgumentError(fmt::format("--epoch: \"{}\" is no number", text));
    }
    target.epoch = epoch;
  }
  return target;
}

void PrintPlan(const Options& options, const std::string& database, const RestorePlan& plan) {
  if (!options.json) {
    std::vector<std::vector<std::string>> rows{{"LEVEL", "FROM", "TO", "TIME", "SIZE", "FILE"}};
    for (const archive::ArchiveFile& file : plan.files) {
      rows.push_back({std::to_string(file.level), Hex16(file.min_txid), Hex16(file.max_txid),
                      FormatTimestamp(file.timestamp_ms), FormatSize(file.size_bytes), file.name});
    }
    std::fputs(Table(rows).c_str(), stdout);
    std::puts(fmt::format("{} files, {}", plan.files.size(), FormatSize(plan.size_bytes)).c_str());
    return;
  }
  nlohmann::ordered_json files = nlohmann::json::array();
  for (const archive::ArchiveFile& file : plan.files) {
    files.push_back({{"name", file.name},
                     {"level", file.level},
                     {"min_txid", Hex16(file.min_txid)},
                     {"max_txid", Hex16(file.max_txid)},
                     {"timestamp_ms", file.timestamp_ms},
                     {"size", file.size_bytes}});
  }
  std::puts(JsonText(nlohmann::ordered_json{{"database", database},
                                            {"txid", Hex16(plan.txid)},
                                            {"partial", plan.stop_txid || plan.stop_ms},
                                            {"bytes", plan.size_bytes},
                                            {"files", files}})
                .c_str());
}

// A log or journal that is there would be taken for the restored file's.
absl::Status CheckPlace(const Options& options) {
  for (const char* suffix : {"", "-wal", "-journal", "-shm"}) {
    const std::string path = options.file + suffix;
    if (options.force || ::access(path.c_str(), F_OK) != 0) continue;
    return absl::AlreadyExistsError(fmt::format("{} exists (--force replaces it)", path));
  }
  return absl::OkStatus();
}

absl::Status Place(const std::string& temporary, const std::string& file) {
  for (const char* suffix : {"-wal", "-journal", "-shm"}) ::unlink((file + suffix).c_str());
  RETURN_IF_ERROR(Rename(temporary, file));
  const std::filesystem::path parent = std::filesystem::path(file).parent_path();
  return SyncDirectory(parent.empty() ? "." : parent.string());
}

void Report(const Options& options, const std::string& database, const archive::Restored& restored,
            double seconds) {
  if (options.json) {
    std::puts(JsonText(nlohmann::ordered_json{
                           {"database", database},
                           {"file", options.file},
                           {"txid", Hex16(restored.position.txid)},
                           {"checksum", Hex16(restored.position.checksum)},
                           {"timestamp_ms", restored.timestamp_ms},
                           {"size", uint64_t{restored.size_pages} * restored.page_bytes},
                           {"fetched", restored.fetched_bytes},
                           {"seconds", seconds}})
                  .c_str());
  } else if (!options.quiet) {
    std::puts(fmt::format("{}: {} at {} ({}), {}, {} fetched in {:.1f} s", options.file, database,
                          Hex16(restored.position.txid), FormatTimestamp(restored.timestamp_ms),
                          FormatSize(uint64_t{restored.size_pages} * restored.page_bytes),
                          FormatSize(restored.fetched_bytes), seconds)
                  .c_str());
  }
}

absl::Status RestoreFile(const Options& options, OpenedArchive& opened, const std::string& database,
                         const RestorePlan& plan) {
  RETURN_IF_ERROR(CheckPlace(options));
  const std::string temporary = fmt::format("{}.restore-{}", options.file, ::getpid());
  const std::filesystem::path parent = std::filesystem::path(options.file).parent_path();
  ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile(temporary, O_RDWR | O_CREAT | O_EXCL));
  const auto began = SteadyClock::now();
  absl::StatusOr<archive::Restored> restored;
  {
    Progress progress(plan.size_bytes, !options.quiet);
    restored = archive::Restore(plan,
                                {.store = opened.store.get(),
                                 .keys = &opened.keys,
                                 .temporary_directory = parent.empty() ? "." : parent.string(),
                                 .threads = options.threads,
                                 .progress = [&](uint64_t bytes) { progress.Add(bytes); }},
                                fd.get(), options.file);
  }
  absl::Status status = restored.status();
  if (status.ok()) status = SyncData(fd.get(), temporary);
  if (status.ok()) status = Place(temporary, options.file);
  if (!status.ok()) {
    ::unlink(temporary.c_str());
    return status;
  }
  Report(options, database, *restored,
         std::chrono::duration<double>(SteadyClock::now() - began).count());
  return absl::OkStatus();
}

// Until a signal comes.
absl::Status Follow(const Options& options, OpenedArchive& opened, const std::string& database) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  ASSIGN_OR_RETURN(const auto follower,
                   archive::ArchiveFollower::Open({.database = database,
                                                   .path = options.file,
                                                   .restore = {.store = opened.store.get(),
                                                               .keys = &opened.keys,
                                                               .temporary_directory = "",
                                                               .threads = options.threads,
                                                               .progress = nullptr}}));
  const auto interval = opened.config.interval;
  const timespec pause{.tv_sec = interval.count() / 1000,
                       .tv_nsec = interval.count() % 1000 * 1'000'000};
  while (true) {
    const absl::StatusOr<bool> moved = follower->Advance();
    if (!moved.ok() && !absl::IsUnavailable(moved.status())) return moved.status();
    if (!moved.ok()) Fail(moved.status());
    if (moved.ok() && *moved && !options.quiet) {
      std::puts(fmt::format("{} {}", FormatTimestamp(SystemClock().WallMs()),
                            ltx::FormatPosition(follower->position()))
                    .c_str());
      std::fflush(stdout);
    }
    if (::sigtimedwait(&signals, nullptr, &pause) > 0) return absl::OkStatus();
  }
}

absl::Status RunRestore(const Options& options) {
  ASSIGN_OR_RETURN(const archive::RestoreTarget target, Target(options));
  if (options.file.empty() && !options.dry_run) {
    return absl::InvalidArgumentError("-o FILE is missing (or --dry-run, to see the plan)");
  }
  ASSIGN_OR_RETURN(OpenedArchive opened, OpenArchive(options.archive));
  std::string database = options.database;
  ASSIGN_OR_RETURN(const archive::DatabaseListing listing,
                   archive::ReadListing(*opened.store, &database));
  ASSIGN_OR_RETURN(const RestorePlan plan, archive::PlanRestore(listing.files, target));
  if (options.dry_run) {
    PrintPlan(options, database, plan);
    return absl::OkStatus();
  }
  if (!options.follow) return RestoreFile(options, opened, database, plan);
  if (target.txid || target.timestamp_ms) {
    return absl::InvalidArgumentError("--follow goes with the newest state only");
  }
  if (::access((options.file + ".litefs").c_str(), F_OK) != 0) RETURN_IF_ERROR(CheckPlace(options));
  return Follow(options, opened, database);
}

}  // namespace

void AddRestoreCommand(CLI::App& app, int* exit_code) {
  const auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("restore", "Bring a moment of a database back from an archive");
  AddArchiveOptions(command, &options->archive);
  command->add_option("-o,--output", options->file, "The file to write");
  command->add_option("--database", options->database,
                      "Which database of the archive, if it holds several");
  command->add_option("--txid", options->txid, "As of this transaction (hexadecimal)");
  command->add_option("--timestamp", options->timestamp,
                      "As of this time: the last transaction not after it");
  command->add_option("--epoch", options->epoch,
                      "Only what was archived until this epoch: a history that was left");
  command->add_option("--threads", options->threads, "Connections to fetch by")
      ->check(CLI::Range(1, 64));
  command->add_flag("--force", options->force, "Replace FILE, and its -wal and -journal");
  command->add_flag("--dry-run", options->dry_run, "Only print which files would be fetched");
  command->add_flag("--follow", options->follow,
                    "Go on for ever: keep FILE current from the archive alone");
  command->add_flag("--quiet", options->quiet, "Print nothing but errors");
  command->add_flag("--json", options->json, "Print JSON");
  command->footer(
      "Examples:\n"
      "  litefs restore -o app.db s3://bucket/prefix --database app.db\n"
      "  litefs restore -o app.db /backup --timestamp 2026-11-24T22:00:00Z --identity key.txt");
  command->callback([options, exit_code] {
    const absl::Status status = RunRestore(*options);
    *exit_code = status.ok() ? 0 : Fail(status);
    if (absl::IsInvalidArgument(status)) *exit_code = kExitUsage;
  });
}

}  // namespace litefs
