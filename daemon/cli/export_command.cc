#include "daemon/cli/export_command.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <vector>

#include "common/json_text.h"
#include "common/posix_io.h"
#include "common/status_macros.h"
#include "daemon/cli/command_support.h"

namespace litefs {
namespace {

// The daemon copies the database before it answers.
constexpr std::chrono::milliseconds kTimeout = std::chrono::hours(1);
constexpr size_t kCopyBytes = 1 << 20;

struct Options {
  DirOptions dir;
  std::string database;
  std::string file;
  bool force = false;
  bool json = false;
};

bool Exists(const std::string& path) {
  struct stat st;
  return ::lstat(path.c_str(), &st) == 0;
}

// A journal or WAL beside the target belongs to another database: SQLite would play it into the
// copy.
absl::Status CheckTarget(const Options& options) {
  for (const char* suffix : {"-journal", "-wal"}) {
    if (!Exists(options.file + suffix)) continue;
    return absl::FailedPreconditionError(
        fmt::format("{0}{1} exists, and SQLite would take it for part of {0}: remove it first",
                    options.file, suffix));
  }
  if (!options.force && Exists(options.file)) {
    return absl::AlreadyExistsError(fmt::format("{} exists (--force replaces it)", options.file));
  }
  return absl::OkStatus();
}

class Progress {
 public:
  explicit Progress(uint64_t total) : total_(total), on_(total > 0 && ::isatty(STDERR_FILENO)) {}
  ~Progress() {
    if (shown_ >= 0) std::fputs("\r\033[K", stderr);
  }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void Show(uint64_t done) {
    const int percent = on_ ? static_cast<int>(done * 100 / total_) : shown_;
    if (percent == shown_) return;
    shown_ = percent;
    const std::string text = fmt::format("\r{:3} % of {}", percent, FormatSize(total_));
    std::fputs(text.c_str(), stderr);
  }

 private:
  const uint64_t total_;
  const bool on_;
  int shown_ = -1;
};

absl::Status Copy(int from, int to, uint64_t size, const std::string& name) {
  Progress progress(size);
  std::vector<std::byte> buffer(kCopyBytes);
  for (uint64_t done = 0; done < size;) {
    const auto part = std::span(buffer).first(std::min<uint64_t>(size - done, buffer.size()));
    RETURN_IF_ERROR(ReadExactAt(from, part, done, "the daemon's copy"));
    RETURN_IF_ERROR(WriteAt(to, part, done, name));
    done += part.size();
    progress.Show(done);
  }
  return absl::OkStatus();
}

// Durable on return, and FILE is whole or untouched.
absl::Status WriteFile(const Options& options, int from, uint64_t size) {
  const std::string temporary = options.file + ".tmp";
  absl::Status status = [&]() -> absl::Status {
    ASSIGN_OR_RETURN(const UniqueFd to, OpenFile(temporary, O_WRONLY | O_CREAT | O_TRUNC, 0644));
    RETURN_IF_ERROR(Copy(from, to.get(), size, temporary));
    RETURN_IF_ERROR(SyncData(to.get(), temporary));
    RETURN_IF_ERROR(CheckTarget(options));  // once more: the copy may have taken long
    return Rename(temporary, options.file);
  }();
  if (!status.ok()) {
    ::unlink(temporary.c_str());
    return status;
  }
  const size_t slash = options.file.rfind('/');
  return SyncDirectory(slash == std::string::npos ? "." : options.file.substr(0, slash + 1));
}

absl::Status Export(const Options& options, const std::string& dir) {
  RETURN_IF_ERROR(CheckTarget(options));
  auto asked = AskDaemon(dir, {{"request", "export"}, {"database", options.database}},
                         Freshness::kCaptured, kTimeout);
  if (absl::IsNotFound(asked.status())) {
    return absl::NotFoundError(UnknownDatabase(dir, options.database));
  }
  ASSIGN_OR_RETURN(const Answer answer, std::move(asked));
  if (!answer.fd.valid()) return absl::DataLossError("the daemon's reply carries no copy");
  ASSIGN_OR_RETURN(const uint64_t size, FileSize(answer.fd.get(), "the daemon's copy"));
  if (size != static_cast<uint64_t>(Number(answer.json, "size"))) {
    return absl::DataLossError(fmt::format("the daemon's copy has {} bytes; it announced {}", size,
                                           Number(answer.json, "size")));
  }
  RETURN_IF_ERROR(WriteFile(options, answer.fd.get(), size));
  const std::string txid = Text(answer.json, "txid");
  const std::string checksum = Text(answer.json, "checksum");
  if (options.json) {
    const nlohmann::ordered_json line = {{"database", options.database},
                                         {"file", options.file},
                                         {"txid", txid},
                                         {"checksum", checksum},
                                         {"size", size}};
    std::puts(JsonText(line).c_str());
  } else {
    std::puts(
        fmt::format("{}: {} at {}/{}", options.file, FormatSize(size), txid, checksum).c_str());
  }
  return absl::OkStatus();
}

int RunExport(Options options) {
  if (const absl::Status status = SplitDatabasePath(&options.database, &options.dir);
      !status.ok()) {
    Fail(status);
    return kExitUsage;
  }
  const std::optional<Config> config = LoadConfigOrSay(options.dir);
  if (!config) return kExitUsage;
  const absl::Status status = Export(options, config->dir);
  return status.ok() ? 0 : Fail(status);
}

}  // namespace

void AddExportCommand(CLI::App& app, int* exit_code) {
  const auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("export", "Copy a database as of its last transaction into a file");
  AddDirOptions(command, &options->dir);
  command->add_option("DB", options->database, "The database: its name, or its path")->required();
  command->add_option("FILE", options->file, "The file to write")->required();
  command->add_flag("--force", options->force, "Replace FILE if it exists");
  command->add_flag("--json", options->json, "Print what was written as JSON");
  command->footer("Example:\n  litefs export data/app.db backup.db");
  command->callback([options, exit_code] { *exit_code = RunExport(*options); });
}

}  // namespace litefs
