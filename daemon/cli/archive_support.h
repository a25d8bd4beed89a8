// What `litefs restore` and `litefs archive` share: which archive is meant, and with which keys.

#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "daemon/archive/archive_config.h"
#include "daemon/archive/object_store.h"
#include "daemon/cli/command_support.h"
#include "daemon/crypto/age.h"

namespace litefs {

struct ArchiveOptions {
  DirOptions dir;
  std::string url;  // or the name of one of the configuration's destinations
  std::string identity_file;
  bool passphrase = false;
};

void AddArchiveOptions(CLI::App* command, ArchiveOptions* options);

struct OpenedArchive {
  archive::ArchiveConfig config;
  std::unique_ptr<archive::ObjectStore> store;
  crypto::AgeKeys keys;
};

// Errors say what to do; exit code kExitUsage belongs to kInvalidArgument.
absl::StatusOr<OpenedArchive> OpenArchive(const ArchiveOptions& options);

// "2026-11-24T22:00:00Z", also with a fraction, an offset (+02:00), or a space instead of T; ms.
// nullopt: not that.
std::optional<int64_t> ParseTimestamp(const std::string& text);
std::string FormatTimestamp(int64_t ms);

}  // namespace litefs
