#include "daemon/archive/directory_walk.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/status_macros.h"

namespace litefs::archive {
namespace {

constexpr int kMaxDepth = 64;  // of directories below the root

struct Walk {
  std::string_view prefix;
  std::string_view start_after;
  const ReadDirectory& read;
  const ObjectStore::Visitor& visit;
  int depth = 0;
  bool ended = false;

  absl::Status Below(const std::string& relative);
  bool MayHold(const std::string& directory) const;
};

// Every name below is above start_after, or some may be if start_after is below too.
bool Walk::MayHold(const std::string& directory) const {
  return directory >= start_after || start_after.starts_with(directory);
}

absl::Status Walk::Below(const std::string& relative) {
  if (depth == kMaxDepth) {
    return absl::FailedPreconditionError(fmt::format("{}: directories are too deep", relative));
  }
  absl::StatusOr<std::vector<DirectoryEntry>> entries = read(relative);
  if (absl::IsNotFound(entries.status())) return absl::OkStatus();
  RETURN_IF_ERROR(entries.status());
  std::sort(entries->begin(), entries->end(),
            [](const DirectoryEntry& a, const DirectoryEntry& b) { return a.name < b.name; });
  for (const DirectoryEntry& entry : *entries) {
    const std::string name = relative + entry.name;
    const std::string_view common =
        std::string_view(name).substr(0, std::min(name.size(), prefix.size()));
    if (!prefix.starts_with(common)) continue;
    if (name.ends_with('/')) {
      if (!MayHold(name)) continue;
      ++depth;
      RETURN_IF_ERROR(Below(name));
      --depth;
    } else if (name.size() >= prefix.size() && name > start_after) {
      ended = !visit({.name = name, .size = entry.size, .modified_ms = entry.modified_ms});
    }
    if (ended) break;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status WalkDirectories(std::string_view prefix, std::string_view start_after,
                             const ReadDirectory& read, const ObjectStore::Visitor& visit) {
  // Only what is below the last directory of the prefix can match.
  const size_t slash = prefix.rfind('/');
  const std::string relative(prefix.substr(0, slash == std::string_view::npos ? 0 : slash + 1));
  if (!relative.empty()) {
    RETURN_IF_ERROR(CheckObjectName(std::string_view(relative).substr(0, slash)));
  }
  Walk walk{.prefix = prefix, .start_after = start_after, .read = read, .visit = visit};
  return walk.Below(relative);
}

}  // namespace litefs::archive
