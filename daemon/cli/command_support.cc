#include "daemon/cli/command_support.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "common/json_text.h"
#include "common/status_macros.h"

namespace litefs {
namespace {

constexpr std::chrono::milliseconds kListTimeout = std::chrono::seconds(5);

absl::StatusOr<ControlReply> Exchange(const std::string& dir, const std::string& request,
                                      Freshness freshness, std::chrono::milliseconds timeout) {
  ASSIGN_OR_RETURN(ControlConnection connection, ControlConnection::Connect(dir));
  if (freshness == Freshness::kCaptured) {
    // An errno in the reply concerns some database; the question itself will tell if it is ours.
    RETURN_IF_ERROR(connection.Request(R"({"request":"sync"})", timeout).status());
  }
  return connection.Request(request, timeout);
}

}  // namespace

void AddDirOptions(CLI::App* command, DirOptions* options) {
  command->add_option("--dir", options->dir, "The database directory (default: config's, or .)")
      ->type_name("DIR");
  command->add_option("--config", options->config, "The configuration file")->type_name("FILE");
}

void Say(std::string_view message) {
  const std::string line = fmt::format("litefs: {}\n", message);
  std::fflush(stdout);
  std::fputs(line.c_str(), stderr);
}

int Fail(const absl::Status& status) {
  Say(std::string(status.message()));
  return kExitError;
}

std::optional<Config> LoadConfigOrSay(const DirOptions& options) {
  absl::StatusOr<Config> config = LoadConfig({.path = options.config, .dir = options.dir});
  if (config.ok()) return std::move(config).value();
  Fail(config.status());
  return std::nullopt;
}

absl::Status SplitDatabasePath(std::string* database, DirOptions* options) {
  const size_t slash = database->rfind('/');
  if (slash == std::string::npos) return absl::OkStatus();
  if (!options->dir.empty()) {
    return absl::InvalidArgumentError(
        fmt::format("{} is a path: give it without --dir", *database));
  }
  options->dir = slash == 0 ? "/" : database->substr(0, slash);
  *database = database->substr(slash + 1);
  return absl::OkStatus();
}

absl::StatusOr<Answer> AskDaemon(const std::string& dir, const nlohmann::json& request,
                                 Freshness freshness, std::chrono::milliseconds timeout) {
  auto reply = Exchange(dir, JsonText(request), freshness, timeout);
  if (absl::IsUnavailable(reply.status())) {
    return absl::UnavailableError(
        fmt::format("no daemon runs for {0} (start one: litefs daemon --dir {0})", dir));
  }
  if (!reply.ok()) return reply.status();
  Answer answer{.json = nlohmann::json::parse(reply->json, nullptr, false), .fd = {}};
  answer.fd = std::move(reply->fd);
  if (reply->error != 0) {
    const std::string text = Text(answer.json, "error");
    const std::string message = text.empty() ? strerror(reply->error) : text;
    return reply->error == ENOENT ? absl::NotFoundError(message) : absl::UnknownError(message);
  }
  if (!answer.json.is_object()) return absl::UnknownError("the daemon's reply is not understood");
  return answer;
}

std::string UnknownDatabase(const std::string& dir, const std::string& database) {
  std::string known;
  const auto answer = AskDaemon(dir, {{"request", "status"}}, Freshness::kAsIs, kListTimeout);
  if (answer.ok()) {
    for (const auto& item : Items(answer->json, "databases")) {
      known += (known.empty() ? "" : ", ") + Text(item, "name");
    }
  }
  return fmt::format("{} has no database {} (it has: {})", dir, database,
                     known.empty() ? "none yet" : known);
}

std::string Text(const nlohmann::json& object, const char* key) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

int64_t Number(const nlohmann::json& object, const char* key) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  return found != object.end() && found->is_number() ? found->get<int64_t>() : 0;
}

bool Flag(const nlohmann::json& object, const char* key) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  return found != object.end() && found->is_boolean() && found->get<bool>();
}

std::vector<nlohmann::json> Items(const nlohmann::json& object, const char* key) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  if (found == object.end() || !found->is_array()) return {};
  return std::vector<nlohmann::json>(found->begin(), found->end());
}

std::string Table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string out;
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) line += fmt::format("{:<{}}  ", row[i], widths[i]);
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  }
  return out;
}

std::string FormatSize(uint64_t bytes) {
  constexpr std::array kUnits = {"KiB", "MiB", "GiB", "TiB"};
  if (bytes < 1024) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  for (; value >= 1024 && unit + 1 < kUnits.size(); ++unit) value /= 1024;
  return fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string FormatDuration(std::chrono::milliseconds duration) {
  const int64_t ms = std::max<int64_t>(duration.count(), 0);
  const int64_t seconds = ms / 1000;
  if (ms < 1000) return fmt::format("{} ms", ms);
  if (seconds < 60) return fmt::format("{} s", seconds);
  if (seconds < 3600) return fmt::format("{} min {} s", seconds / 60, seconds % 60);
  if (seconds < 86400) return fmt::format("{} h {} min", seconds / 3600, seconds / 60 % 60);
  return fmt::format("{} d {} h", seconds / 86400, seconds / 3600 % 24);
}

}  // namespace litefs
