// Which files can be a database, its journal, WAL or wal-index: by name, by the directory they lie
// in and by their first bytes.  Shim-safe; no state.

#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "preload/fd_table.h"

namespace litefs::preload {

struct NameMatch {
  bool matches = false;
  FileKind kind = FileKind::kDatabase;
  std::string_view database;  // the database file's name
};

// What a file of this name (no directory) would be; matches is false for the names of SQLite's
// other files (super-journals, temporary files) and for names that are too long or empty.
NameMatch MatchName(std::string_view name);

struct SplitPath {
  std::string_view directory;  // "" if the path has no '/'; "/" for the root
  std::string_view name;
};
SplitPath Split(std::string_view path);

// The absolute path behind a descriptor, as the kernel tells it; empty if there is none.
std::string_view DescriptorPath(int fd, std::span<char> buffer);

// True if a daemon manages the directory: it holds kControlDirectory, and is not inside of one.
bool IsManaged(std::string_view directory);

enum class Content : uint8_t { kDatabase, kEmpty, kOther, kUnreadable };
// What the file begins with, read through the descriptor of the app without moving its offset.
Content ReadContent(int fd, uint64_t size);

}  // namespace litefs::preload
