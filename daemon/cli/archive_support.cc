#include "daemon/cli/archive_support.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <ctime>

#include "absl/strings/numbers.h"
#include "absl/time/time.h"
#include "common/status_macros.h"
#include "daemon/archive/destination.h"

namespace litefs {
namespace {

constexpr const char kPassphraseVariable[] = "LITEFS_PASSPHRASE";

bool IsPlace(const std::string& url) {
  return url.find("://") != std::string::npos || url.find('/') != std::string::npos;
}

absl::StatusOr<archive::ArchiveConfig> FindConfig(const ArchiveOptions& options) {
  archive::ArchiveConfig config;
  if (IsPlace(options.url)) {
    config.store.url = options.url;
    return config;
  }
  const std::optional<Config> whole = LoadConfigOrSay(options.dir);
  if (!whole) return absl::InvalidArgumentError("the configuration cannot be read");
  std::string names;
  for (const archive::ArchiveConfig& one : whole->archives) {
    if (one.name == options.url) return one;
    names += " " + one.name;
  }
  return absl::InvalidArgumentError(
      fmt::format("\"{}\" is neither a URL (s3://…, file:///…, /DIRECTORY) nor an archive of the "
                  "configuration (there are:{})",
                  options.url, names.empty() ? " none" : names));
}

absl::StatusOr<crypto::SecretString> AskPassphrase() {
  if (const char* const given = std::getenv(kPassphraseVariable)) {
    return crypto::SecretString(given);
  }
  if (char* const typed = ::getpass("Passphrase: "); typed != nullptr) {
    return crypto::SecretString(typed);
  }
  return absl::InvalidArgumentError(
      fmt::format("there is no terminal to ask for the passphrase; set {}", kPassphraseVariable));
}

}  // namespace

void AddArchiveOptions(CLI::App* command, ArchiveOptions* options) {
  AddDirOptions(command, &options->dir);
  command
      ->add_option("URL", options->url,
                   "s3://BUCKET/PREFIX, file:///DIR, a directory's path, or "
                   "the name of an archive in the configuration")
      ->required();
  command->add_option("--identity", options->identity_file,
                      "File with the age identities that decrypt the archive");
  command->add_flag("--passphrase", options->passphrase,
                    "The archive is encrypted to a passphrase ($LITEFS_PASSPHRASE, or asked for)");
}

absl::StatusOr<OpenedArchive> OpenArchive(const ArchiveOptions& options) {
  OpenedArchive opened;
  ASSIGN_OR_RETURN(opened.config, FindConfig(options));
  ASSIGN_OR_RETURN(opened.store, archive::OpenObjectStore(opened.config.store));
  const std::string& identity =
      options.identity_file.empty() ? opened.config.identity_file : options.identity_file;
  ASSIGN_OR_RETURN(opened.keys, archive::ReadKeys(identity));
  if (options.passphrase) {
    ASSIGN_OR_RETURN(opened.keys.passphrase, AskPassphrase());
  }
  return opened;
}

std::optional<int64_t> ParseTimestamp(const std::string& text) {
  absl::Time time;
  std::string error;
  for (const char* format : {"%Y-%m-%d%ET%H:%M:%E*S%Ez", "%Y-%m-%d %H:%M:%E*S%Ez",
                             "%Y-%m-%d%ET%H:%M:%E*S", "%Y-%m-%d %H:%M:%E*S", "%Y-%m-%d"}) {
    if (absl::ParseTime(format, text, absl::UTCTimeZone(), &time, &error)) {
      return absl::ToUnixMillis(time);
    }
  }
  return std::nullopt;
}

std::string FormatTimestamp(int64_t ms) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", absl::FromUnixMillis(ms), absl::UTCTimeZone());
}

}  // namespace litefs
