// DirectoryWalk: the flat listing of an ObjectStore whose objects are files in a tree of
// directories.  No state; any thread.

#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/archive/object_store.h"

namespace litefs::archive {

// A file, or a directory, whose name ends in '/': that makes the order of entries that of the whole
// names.
struct DirectoryEntry {
  std::string name;
  uint64_t size = 0;
  int64_t modified_ms = 0;  // 0: unknown
};

// What the directory holds, in any order, without what is no object.  relative: from the root,
// empty or ending in '/'.  kNotFound: nothing.
using ReadDirectory =
    std::function<absl::StatusOr<std::vector<DirectoryEntry>>(const std::string& relative)>;

// ObjectStore::List.  Errors of read end it; kFailedPrecondition if directories are too deep, and
// kInvalidArgument if prefix is none.
absl::Status WalkDirectories(std::string_view prefix, std::string_view start_after,
                             const ReadDirectory& read, const ObjectStore::Visitor& visit);

// Components of names that begin so are uploads in progress.
inline bool IsTemporaryName(std::string_view component) {
  return component.starts_with(kTemporaryPrefix);
}

}  // namespace litefs::archive
