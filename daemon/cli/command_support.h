// What every command needs: its directory, the daemon of it, tables and errors for people.
// The command line is single-threaded.

#pragma once

#include <chrono>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/config.h"
#include "ipc/control_connection.h"

namespace CLI {
class App;
}

namespace litefs {

inline constexpr int kExitError = 1;
inline constexpr int kExitUsage = 2;  // wrong options, wrong configuration

// --dir and --config.
struct DirOptions {
  std::string dir;
  std::string config;
};
void AddDirOptions(CLI::App* command, DirOptions* options);

// Prints "litefs: message" to standard error.
void Say(std::string_view message);
// Says what went wrong, and returns kExitError.
int Fail(const absl::Status& status);

// The configuration that the options and the environment lead to; says what is wrong with it.
std::optional<Config> LoadConfigOrSay(const DirOptions& options);

// Takes DB as the user gives it, a name or a path: of a path, the directory goes to options->dir.
// kInvalidArgument if that contradicts --dir.
absl::Status SplitDatabasePath(std::string* database, DirOptions* options);

struct Answer {
  nlohmann::json json;
  UniqueFd fd;
};
// kCaptured: all that was committed before the question is part of the answer.
enum class Freshness { kAsIs, kCaptured };

// Asks the daemon of dir.  kUnavailable: none runs, said in words for the user; kNotFound: the
// daemon answers ENOENT (no such database); kUnknown: any other errno, with its text.
absl::StatusOr<Answer> AskDaemon(const std::string& dir, const nlohmann::json& request,
                                 Freshness freshness, std::chrono::milliseconds timeout);

// What to say to kNotFound of AskDaemon: names the databases that the daemon has.
std::string UnknownDatabase(const std::string& dir, const std::string& database);

// A member of a reply, or the default if it is absent or of another type.
std::string Text(const nlohmann::json& object, const char* key);
int64_t Number(const nlohmann::json& object, const char* key);
bool Flag(const nlohmann::json& object, const char* key);
// An array's elements; nothing if it is absent or no array.
std::vector<nlohmann::json> Items(const nlohmann::json& object, const char* key);

// Columns aligned to the left, two spaces apart; each line ends in a newline.
std::string Table(const std::vector<std::vector<std::string>>& rows);

// "512 B", "1.2 MiB"; "350 ms", "12 s", "3 h 5 min".
std::string FormatSize(uint64_t bytes);
std::string FormatDuration(std::chrono::milliseconds duration);

}  // namespace litefs
