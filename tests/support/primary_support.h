// A primary's database of one table, for tests without a daemon.

#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>

#include "common/clock.h"
#include "daemon/db/primary_database.h"
#include "tests/support/child_commands.h"

namespace litefs::test {

// By stock SQLite: DIRECTORY/app.db with t(id, v) and one row.
inline void MakeAppDatabase(const std::string& directory, const std::string& journal_mode) {
  std::filesystem::create_directories(directory + "/control");
  ASSERT_EQ(RunProcess({"sqlite3", directory + "/app.db",
                        "PRAGMA journal_mode = " + journal_mode +
                            "; CREATE TABLE t(id INTEGER PRIMARY KEY, v);"
                            "INSERT INTO t VALUES (1, 'x')"}),
            0);
}

// Null, and a failure, if it cannot be opened.
inline std::unique_ptr<db::PrimaryDatabase> OpenAppDatabase(const std::string& directory,
                                                            bool in_use) {
  std::string report;
  auto database = db::PrimaryDatabase::Open({.name = "app.db",
                                             .path = directory + "/app.db",
                                             .control_directory = directory + "/control",
                                             .temporary_directory = directory,
                                             .node_id = 7,
                                             .clock = &SystemClock(),
                                             .on_commit = {}},
                                            in_use, &report);
  EXPECT_TRUE(database.ok()) << database.status();
  return database.ok() ? *std::move(database) : nullptr;
}

}  // namespace litefs::test
