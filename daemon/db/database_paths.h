// The files of one database.

#pragma once

#include <string>

#include "common/sqlite_format.h"

namespace litefs {

struct DatabasePaths {
  explicit DatabasePaths(const std::string& path)
      : database(path),
        journal(path + std::string(sqlite::kJournalSuffix)),
        wal(path + std::string(sqlite::kWalSuffix)),
        shm(path + std::string(sqlite::kShmSuffix)) {
    const size_t slash = path.rfind('/');
    directory = slash == std::string::npos ? "." : path.substr(0, slash + 1);
    name = slash == std::string::npos ? path : path.substr(slash + 1);
  }

  std::string database;
  std::string journal;
  std::string wal;
  std::string shm;
  std::string directory;  // where they are
  std::string name;       // of the database file in directory
};

}  // namespace litefs
