#include "preload/fd_table.h"

#include <gtest/gtest.h>

#include <memory>

namespace litefs::preload {
namespace {

TEST(FdTable, KnowsNothingAtFirst) {
  EXPECT_TRUE(fd_table.Get(-1).empty());
  EXPECT_TRUE(fd_table.Get(0).empty());
  EXPECT_TRUE(fd_table.Get(FdTable::kCapacity).empty());
  EXPECT_TRUE(fd_table.Get(INT32_MAX).empty());
  EXPECT_TRUE(fd_table.Get(INT32_MIN).empty());
}

TEST(FdTable, ReturnsWhatWasEntered) {
  const auto table = std::make_unique<FdTable>();
  for (const uint32_t database : {0U, 1U, kMaxDatabases - 1}) {
    for (const FileKind kind :
         {FileKind::kDatabase, FileKind::kJournal, FileKind::kWal, FileKind::kShm}) {
      table->Exchange(5, FdEntry(kind, database));
      EXPECT_TRUE(table->Get(5).file());
      EXPECT_EQ(table->Get(5).kind(), kind);
      EXPECT_EQ(table->Get(5).database(), database);
    }
  }
  EXPECT_TRUE(table->Exchange(5, FdEntry()).file());
  EXPECT_TRUE(table->Get(5).empty());
}

TEST(FdTable, TellsOwnDescriptorsFromFiles) {
  const auto table = std::make_unique<FdTable>();
  table->Exchange(FdTable::kCapacity - 1, FdEntry::Own());
  const FdEntry entry = table->Get(FdTable::kCapacity - 1);
  EXPECT_TRUE(entry.own());
  EXPECT_FALSE(entry.file());
  EXPECT_FALSE(entry.empty());
  EXPECT_EQ(table->end(), 0);  // only files count
}

TEST(FdTable, EndsAfterTheHighestFile) {
  const auto table = std::make_unique<FdTable>();
  table->Exchange(40, FdEntry(FileKind::kWal, 0));
  table->Exchange(9, FdEntry(FileKind::kWal, 0));
  EXPECT_EQ(table->end(), 41);
}

}  // namespace
}  // namespace litefs::preload
