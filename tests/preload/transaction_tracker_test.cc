// The table of docs/CAPTURE.md, line by line.

#include "preload/transaction_tracker.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

namespace litefs::preload {
namespace {

using Type = LockRequest::Type;

constexpr uint64_t kPending = 0x40000000;
constexpr LockRequest kReserved{Type::kWrite, kPending + 1, kPending + 2};
constexpr LockRequest kExclusive{Type::kWrite, kPending + 2, kPending + 512};
constexpr LockRequest kDowngrade{Type::kRead, kPending + 2, kPending + 512};
constexpr LockRequest kUnlockAll{Type::kUnlock, 0, ~uint64_t{0}};
constexpr LockRequest kShmWrite{Type::kWrite, 120, 121};
constexpr LockRequest kShmUnwrite{Type::kUnlock, 120, 121};
constexpr LockRequest kReadMarks{Type::kWrite, 124, 128};

Write Bytes(uint64_t offset, std::string_view data) { return {offset, data.size(), data}; }

Locks Holding(std::initializer_list<std::pair<FileKind, LockRequest>> requests) {
  Locks locks;
  locks.any_seen = true;
  for (const auto& [kind, request] : requests) NoteLock(kind, &locks, request);
  return locks;
}

TEST(TransactionTracker, NotesDatabaseWritesUnderExclusiveOnly) {
  const Write page = Bytes(4096, "page");
  EXPECT_EQ(PlanWrite(FileKind::kDatabase, Locks{}, page).after, After::kNoteRange);  // nolock
  EXPECT_EQ(PlanWrite(FileKind::kDatabase, Holding({}), page).after, After::kNothing);
  const Locks held = Holding({{FileKind::kDatabase, kExclusive}});
  EXPECT_EQ(PlanWrite(FileKind::kDatabase, held, page).after, After::kNoteRange);
  EXPECT_EQ(PlanTruncate(FileKind::kDatabase, held, 8192, 4096).after, After::kNoteSize);
  EXPECT_EQ(PlanTruncate(FileKind::kDatabase, Holding({}), 8192, 4096).after, After::kNothing);
}

TEST(TransactionTracker, FollowsExclusiveThroughDowngradeAndUnlock) {
  for (const LockRequest& release : {kDowngrade, kUnlockAll}) {
    Locks locks = Holding({{FileKind::kDatabase, kReserved}, {FileKind::kDatabase, kExclusive}});
    EXPECT_TRUE(locks.exclusive);
    EXPECT_EQ(PlanLock(FileKind::kDatabase, locks, release).before, Before::kRecheck);
    NoteLock(FileKind::kDatabase, &locks, release);
    EXPECT_FALSE(locks.exclusive);
    EXPECT_EQ(PlanLock(FileKind::kDatabase, locks, release).before, Before::kNothing);
  }
}

TEST(TransactionTracker, TellsARollbackOfAnothersJournal) {
  Locks writer;
  for (const LockRequest& request : {kDowngrade, kReserved, kExclusive}) {
    NoteLock(FileKind::kDatabase, &writer, request);
  }
  EXPECT_TRUE(writer.exclusive);
  EXPECT_FALSE(writer.rolls_back);
  Locks reader;
  for (const LockRequest& request : {kDowngrade, kExclusive}) {
    NoteLock(FileKind::kDatabase, &reader, request);
  }
  EXPECT_TRUE(reader.rolls_back);
  NoteLock(FileKind::kDatabase, &reader, kDowngrade);
  EXPECT_TRUE(reader.rolls_back) << "until it is told";
}

TEST(TransactionTracker, BecomesWriterAtReserved) {
  EXPECT_EQ(PlanLock(FileKind::kDatabase, Locks{}, kReserved).before, Before::kBecomeWriter);
  const LockRequest pending{Type::kWrite, kPending, kPending + 1};
  const LockRequest shared{Type::kRead, kPending + 2, kPending + 512};
  for (const LockRequest& other : {pending, shared, kExclusive}) {
    EXPECT_EQ(PlanLock(FileKind::kDatabase, Locks{}, other).before, Before::kNothing);
  }
}

TEST(TransactionTracker, CommitsWhereTheJournalGoes) {
  const Locks locks = Holding({});
  EXPECT_EQ(PlanUnlink(FileKind::kJournal).before, Before::kCommit);
  EXPECT_EQ(PlanTruncate(FileKind::kJournal, locks, 9000, 0).before, Before::kCommit);
  EXPECT_EQ(PlanTruncate(FileKind::kJournal, locks, 9000, 4096).before, Before::kNothing);
  const std::string zeros(28, '\0');
  EXPECT_EQ(PlanWrite(FileKind::kJournal, locks, Bytes(0, zeros)).before, Before::kCommit);
  EXPECT_EQ(PlanWrite(FileKind::kJournal, locks, Bytes(512, zeros)).before, Before::kNothing);
  const std::string header = "\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + std::string(20, '\0');
  EXPECT_EQ(PlanWrite(FileKind::kJournal, locks, Bytes(0, header)).before, Before::kNothing);
  EXPECT_EQ(PlanWrite(FileKind::kJournal, locks, Bytes(0, "\0\0")).before, Before::kNothing);
}

TEST(TransactionTracker, PreparesAtASyncOfTheDatabase) {
  EXPECT_EQ(PlanSync(FileKind::kDatabase, Locks{}).before, Before::kPrepare);
  EXPECT_EQ(PlanSync(FileKind::kJournal, Locks{}).before, Before::kNothing);
  EXPECT_EQ(PlanSync(FileKind::kWal, Locks{}).before, Before::kNothing);
}

TEST(TransactionTracker, TakesASyncWithoutAJournalForACommit) {
  const Locks writer{.any_seen = true, .exclusive = true};
  const Locks journaled{.any_seen = true, .exclusive = true, .journal_open = true};
  const Locks checkpoint{.any_seen = true};
  EXPECT_EQ(PlanSync(FileKind::kDatabase, writer).after, After::kRecheck);
  EXPECT_EQ(PlanSync(FileKind::kDatabase, journaled).after, After::kNothing);
  EXPECT_EQ(PlanSync(FileKind::kDatabase, checkpoint).after, After::kNothing);
}

TEST(TransactionTracker, TellsAWriterFromAReaderThatRecoversTheIndex) {
  const LockRequest mark{Type::kRead, 123, 124};
  const Locks reader = Holding({{FileKind::kShm, mark}});
  EXPECT_EQ(PlanLock(FileKind::kShm, reader, kShmWrite).before, Before::kBecomeWriter);
  EXPECT_EQ(PlanLock(FileKind::kShm, Locks{}, kShmWrite).before, Before::kNothing);
  const Locks gone = Holding({{FileKind::kShm, mark}, {FileKind::kShm, {Type::kUnlock, 123, 124}}});
  EXPECT_EQ(PlanLock(FileKind::kShm, gone, kShmWrite).before, Before::kNothing);
}

TEST(TransactionTracker, TellsWhenAWriterLetsGoOfTheDatabase) {
  const Locks writer = Holding({{FileKind::kDatabase, kReserved}});
  EXPECT_EQ(PlanLock(FileKind::kDatabase, writer, kUnlockAll).after, After::kUnlock);
  EXPECT_EQ(PlanLock(FileKind::kDatabase, writer, {Type::kUnlock, kPending, kPending + 2}).after,
            After::kUnlock);
  EXPECT_EQ(PlanLock(FileKind::kDatabase, writer, {Type::kUnlock, kPending, kPending + 1}).after,
            After::kNothing);
  EXPECT_EQ(PlanLock(FileKind::kDatabase, Holding({}), kUnlockAll).after, After::kNothing);
}

TEST(TransactionTracker, RingsWhenTheWalIsUnlocked) {
  const Locks locks = Holding({{FileKind::kShm, kShmWrite}});
  EXPECT_EQ(PlanLock(FileKind::kShm, locks, kShmUnwrite).after, After::kBell);
  EXPECT_EQ(PlanLock(FileKind::kShm, Locks{}, kShmUnwrite).after, After::kNothing);
}

TEST(TransactionTracker, DrainsBeforeARestartAndOnlyThen) {
  const Plan plan = PlanLock(FileKind::kShm, Locks{}, kReadMarks);
  EXPECT_EQ(plan.before, Before::kDrain);
  EXPECT_EQ(plan.reason, ipc::DrainReason::kRestart);
  EXPECT_EQ(plan.refusal, EAGAIN);
  for (uint64_t mark = 123; mark < 128; ++mark) {
    EXPECT_EQ(PlanLock(FileKind::kShm, Locks{}, {Type::kWrite, mark, mark + 1}).before,
              Before::kNothing);
  }
  const LockRequest release{Type::kUnlock, 124, 128};
  EXPECT_EQ(PlanLock(FileKind::kShm, Locks{}, release).before, Before::kNothing);
}

TEST(TransactionTracker, DrainsBeforeFramesVanish) {
  EXPECT_EQ(PlanUnlink(FileKind::kWal).before, Before::kDrain);
  EXPECT_EQ(PlanUnlink(FileKind::kShm).before, Before::kDrain);
  EXPECT_EQ(PlanUnlink(FileKind::kWal).refusal, EIO);
  EXPECT_EQ(PlanTruncate(FileKind::kWal, {}, 100, 0).before, Before::kDrain);
  EXPECT_EQ(PlanTruncate(FileKind::kWal, {}, 100, 100).before, Before::kNothing);
  const std::string header(32, 'h');
  EXPECT_EQ(PlanWrite(FileKind::kWal, {}, Bytes(0, header)).before, Before::kDrain);
  const Locks writer = Holding({{FileKind::kShm, kShmWrite}});
  EXPECT_EQ(PlanWrite(FileKind::kWal, writer, Bytes(0, header)).before, Before::kNothing);
}

TEST(TransactionTracker, RingsAfterACommitFrameWithoutShmLocks) {
  const std::string page(4096, 'p');
  const std::string plain = std::string(3, '\0') + '\7' + std::string(20, '\0');
  const std::string commit = plain.substr(0, 7) + '\x02' + plain.substr(8);
  Locks locks;
  NoteWrite(FileKind::kWal, &locks, Bytes(32, plain));
  EXPECT_EQ(PlanWrite(FileKind::kWal, locks, Bytes(56, page)).after, After::kNothing);
  NoteWrite(FileKind::kWal, &locks, Bytes(32, commit));
  EXPECT_EQ(PlanWrite(FileKind::kWal, locks, Bytes(56, page)).after, After::kBell);
  NoteWrite(FileKind::kWal, &locks, Bytes(56, page));
  EXPECT_EQ(PlanWrite(FileKind::kWal, locks, Bytes(56, page)).after, After::kNothing);
  // Header and page in one write, several frames in one write.
  EXPECT_EQ(PlanWrite(FileKind::kWal, {}, Bytes(32, commit + page)).after, After::kBell);
  EXPECT_EQ(PlanWrite(FileKind::kWal, {}, Bytes(32, plain + page + plain + page)).after,
            After::kBell);
}

TEST(TransactionTracker, AsksForTheLeaseAtEveryPartOfACommitFrame) {
  const std::string page(4096, 'p');
  const std::string plain = std::string(3, '\0') + '\7' + std::string(20, '\0');
  const std::string commit = plain.substr(0, 7) + '\x02' + plain.substr(8);
  for (Locks locks : {Locks{}, Holding({{FileKind::kShm, kShmWrite}})}) {
    EXPECT_EQ(PlanWrite(FileKind::kWal, locks, Bytes(32, plain)).before, Before::kNothing);
    NoteWrite(FileKind::kWal, &locks, Bytes(32, plain));
    EXPECT_EQ(PlanWrite(FileKind::kWal, locks, Bytes(56, page)).before, Before::kNothing);
    EXPECT_EQ(PlanWrite(FileKind::kWal, locks, Bytes(32, commit)).before, Before::kMayCommit);
    NoteWrite(FileKind::kWal, &locks, Bytes(32, commit));
    EXPECT_EQ(PlanWrite(FileKind::kWal, locks, Bytes(56, page)).before, Before::kMayCommit);
    EXPECT_EQ(PlanWrite(FileKind::kWal, locks, Bytes(32, commit + page)).before,
              Before::kMayCommit);
  }
}

TEST(TransactionTracker, UntracksWhatProvesToBeNoDatabase) {
  const std::string magic("SQLite format 3\0....", 20);
  EXPECT_FALSE(RefutesDatabase(Bytes(0, magic), true));
  EXPECT_TRUE(RefutesDatabase(Bytes(0, "a line of a log\n"), true));
  EXPECT_FALSE(RefutesDatabase(Bytes(4096, "page 2 first"), true));
  EXPECT_TRUE(RefutesDatabase(Bytes(4096, "appended to a log"), false));
}

// The short way of Interceptor::Control.  Whatever the locks held: nothing is planned, and nothing
// but a read mark changes.
TEST(TransactionTracker, LocksOfReadersMeanNothingElse) {
  int readers = 0;
  for (unsigned bits = 0; bits < 256; ++bits) {
    Locks locks{.any_seen = (bits & 1) != 0,
                .exclusive = (bits & 2) != 0,
                .shm_write = (bits & 4) != 0,
                .shm_read = static_cast<uint8_t>((bits & 8) != 0 ? 2 : 0),
                .frame_begun = (bits & 16) != 0,
                .journal_open = (bits & 32) != 0,
                .reserved = (bits & 64) != 0,
                .rolls_back = (bits & 128) != 0};
    for (const FileKind kind :
         {FileKind::kDatabase, FileKind::kJournal, FileKind::kWal, FileKind::kShm}) {
      for (const Type type : {Type::kRead, Type::kWrite, Type::kUnlock}) {
        for (const auto& [start, end] :
             std::vector<std::pair<uint64_t, uint64_t>>{{0, ~uint64_t{0}},
                                                        {kPending, kPending + 1},
                                                        {kPending + 1, kPending + 2},
                                                        {kPending + 2, kPending + 512},
                                                        {120, 121},
                                                        {121, 122},
                                                        {122, 123},
                                                        {123, 124},
                                                        {127, 128},
                                                        {124, 128},
                                                        {128, 129}}) {
          const LockRequest request{type, start, end};
          if (!IsReadersLock(kind, locks, request)) continue;
          ++readers;
          const Plan plan = PlanLock(kind, locks, request);
          EXPECT_EQ(plan.before, Before::kNothing);
          EXPECT_EQ(plan.after, After::kNothing);
          Locks after = locks;
          NoteLock(kind, &after, request);
          if (kind == FileKind::kShm) after.shm_read = locks.shm_read;
          EXPECT_EQ(std::memcmp(&after, &locks, sizeof(locks)), 0);
        }
      }
    }
  }
  EXPECT_GT(readers, 1000);
}

TEST(TransactionTracker, KnowsTheLocksOfReaders) {
  const Locks none = Holding({});
  EXPECT_TRUE(IsReadersLock(FileKind::kDatabase, none, {Type::kRead, kPending, kPending + 1}));
  EXPECT_TRUE(IsReadersLock(FileKind::kDatabase, none, kUnlockAll));
  EXPECT_TRUE(IsReadersLock(FileKind::kShm, none, {Type::kRead, 124, 125}));
  EXPECT_TRUE(IsReadersLock(FileKind::kShm, none, {Type::kUnlock, 124, 125}));
  EXPECT_FALSE(IsReadersLock(FileKind::kShm, none, kShmUnwrite));
  EXPECT_FALSE(IsReadersLock(FileKind::kDatabase, none, kReserved));
  EXPECT_FALSE(IsReadersLock(FileKind::kDatabase, Locks{}, kUnlockAll));
}

}  // namespace
}  // namespace litefs::preload
