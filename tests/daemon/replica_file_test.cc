// ReplicaFile against real SQLite: histories of transactions, with stock readers in other
// processes.  Deaths are in replica_crash_test.cc.

#include "daemon/db/replica_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <span>
#include <thread>

#include "common/posix_io.h"
#include "common/sqlite_format.h"
#include "daemon/sqlite/file_lock.h"
#include "tests/support/child_commands.h"
#include "tests/support/replica_support.h"

namespace litefs::test {
namespace {

// A table expression with the column value: 1 to n.
std::string Series(int n) {
  return "(WITH RECURSIVE s(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM s WHERE value < " +
         std::to_string(n) + ") SELECT value FROM s)";
}

// Money moves from account to account: the sum stays.
std::string RandomTransfer(const std::string& table, std::mt19937& random) {
  return "UPDATE " + table +
         " SET v = v + CASE WHEN id % 2 = 0 THEN 1 ELSE -1 END WHERE id / 2 = " +
         std::to_string(1 + random() % 99);
}

// A change, to be spoilt.
class Wrapped : public PageSource {
 public:
  explicit Wrapped(Change& change) : change_(change) {}
  size_t count() const override { return change_.count(); }
  ltx::PageNo pgno(size_t i) const override { return change_.pgno(i); }
  absl::Status Read(size_t i, std::span<std::byte> page) override { return change_.Read(i, page); }

 private:
  Change& change_;
};

class ReplicaFileTest : public testing::Test {
 protected:
  std::string Path(const std::string& name) { return directory_.path() + "/" + name; }
  std::string Replica() { return Path("app.db"); }

  void Open() {
    file_.reset();
    auto file = ReplicaFile::Open({.path = Replica(), .temporary_directory = directory_.path()});
    ASSERT_TRUE(file.ok()) << file.status();
    file_ = *std::move(file);
  }
  absl::Status Apply(const Image& to) {
    Change change(applied_, to);
    const absl::Status status = change.ApplyTo(*file_);
    if (status.ok()) applied_ = to;
    return status;
  }
  void ExpectApplied(const Image& to) {
    const absl::Status status = Apply(to);
    ASSERT_TRUE(status.ok()) << status;
    ExpectContent();
  }
  void ExpectContent() {
    ASSERT_EQ(ReadAll(*file_) == applied_.bytes, true) << "content differs";
    StockProcess stock(Replica());
    ASSERT_EQ(stock.Serialize() == applied_.bytes, true) << "stock sqlite sees other content";
  }
  void ExpectIntegrity() {
    std::string output;
    ASSERT_EQ(RunProcess({"sqlite3", Replica(), "PRAGMA integrity_check"}, &output), 0);
    EXPECT_EQ(output, "ok\n");
  }

  TemporaryDirectory directory_;
  std::unique_ptr<ReplicaFile> file_;
  Image applied_;
};

// ---- A database that was written before
// -------------------------------------------------------

class Adoption : public ReplicaFileTest, public testing::WithParamInterface<const char*> {
 protected:
  UniqueFd Written(const Image& image) {
    auto fd = OpenFile(directory_.path(), O_TMPFILE | O_RDWR);
    EXPECT_TRUE(fd.ok()) << fd.status();
    EXPECT_TRUE(WriteAt(fd->get(), std::as_bytes(std::span(image.bytes)), 0, "image").ok());
    return *std::move(fd);
  }
};
INSTANTIATE_TEST_SUITE_P(Mode, Adoption, testing::Values("delete", "wal"));

TEST_P(Adoption, MakesItTheDatabaseAndGoesOn) {
  SourceDatabase source(Path("source.db"));
  source.Run(std::string("PRAGMA journal_mode = ") + GetParam() +
             "; CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t(v) VALUES (1), (2)");
  applied_ = source.Take();
  Open();
  const absl::Status adopted =
      file_->Adopt(Written(applied_), applied_.page_bytes, applied_.size_pages());
  ASSERT_TRUE(adopted.ok()) << adopted;
  EXPECT_EQ(GetParam() == std::string("wal"), file_->shape().wal);
  ExpectContent();
  source.Run("INSERT INTO t(v) VALUES (3)");
  ExpectApplied(source.Take());
  ExpectIntegrity();
  // It holds the write locks as one that was applied does.
  std::string output;
  EXPECT_NE(RunProcess({"sqlite3", Replica(), "INSERT INTO t(v) VALUES (4)"}, &output), 0);
}

TEST_P(Adoption, NeverTakesTheFileOfAnother) {
  SourceDatabase source(Path("source.db"));
  source.Run(std::string("PRAGMA journal_mode = ") + GetParam() + "; CREATE TABLE t(v)");
  const Image image = source.Take();
  Open();
  std::ofstream(Replica()) << "";
  EXPECT_TRUE(
      absl::IsAlreadyExists(file_->Adopt(Written(image), image.page_bytes, image.size_pages())));
  EXPECT_EQ(0u, std::filesystem::file_size(Replica()));
}

TEST_P(Adoption, RefusesWhatIsNoDatabase) {
  SourceDatabase source(Path("source.db"));
  source.Run(std::string("PRAGMA journal_mode = ") + GetParam() + "; CREATE TABLE t(v)");
  Image image = source.Take();
  image.bytes[0] ^= 1;
  Open();
  EXPECT_FALSE(file_->Adopt(Written(image), image.page_bytes, image.size_pages()).ok());
  EXPECT_FALSE(std::filesystem::exists(Replica()));
}

// ---- Histories
// -----------------------------------------------------------------------------------

struct Mode {
  int page_bytes;
  const char* journal;
};

class History : public ReplicaFileTest, public testing::WithParamInterface<Mode> {};

std::string RandomSql(std::mt19937& random) {
  const auto pick = [&](unsigned n) { return std::to_string(random() % n); };
  switch (random() % 8) {
    case 0:
      return "DELETE FROM t WHERE id % 7 = " + pick(7);
    case 1:
      return "UPDATE t SET v = randomblob(" + pick(3000) + ") WHERE id % 11 = " + pick(11);
    case 2:
      return "BEGIN; CREATE TABLE IF NOT EXISTS u" + pick(4) + " AS SELECT * FROM t LIMIT " +
             pick(50) + "; DELETE FROM t WHERE id > 400; COMMIT";
    case 3:
      return "DROP TABLE IF EXISTS u" + pick(4);
    case 4:
      return random() % 3 == 0 ? "VACUUM" : "REINDEX";
    default:
      return "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x < " +
             std::to_string(1 + random() % 60) +
             ") INSERT INTO t(v) SELECT randomblob(abs(random()) % 900) FROM c";
  }
}

TEST_P(History, IsIdenticalAfterEachTransaction) {
  SourceDatabase source(Path("source.db"));
  source.Run("PRAGMA page_size=" + std::to_string(GetParam().page_bytes));
  source.Run(std::string("PRAGMA journal_mode=") + GetParam().journal);
  source.Run("CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB); CREATE INDEX i ON t(v)");
  Open();
  std::mt19937 random(20261123);
  for (int i = 0; i < 60; ++i) {
    ASSERT_NO_FATAL_FAILURE(ExpectApplied(source.Take())) << "transaction " << i;
    if (i % 10 == 0) ExpectIntegrity();
    if (i % 7 == 3) {
      ASSERT_TRUE(file_->Checkpoint().ok());
    }
    if (i % 13 == 5) Open();
    source.Run(RandomSql(random));
  }
  EXPECT_EQ(file_->shape().wal, std::string_view(GetParam().journal) == "WAL");
  ExpectIntegrity();
  file_.reset();
  ExpectIntegrity();
}

INSTANTIATE_TEST_SUITE_P(All, History,
                         testing::Values(Mode{512, "DELETE"}, Mode{4096, "DELETE"},
                                         Mode{65536, "DELETE"}, Mode{512, "WAL"}, Mode{4096, "WAL"},
                                         Mode{65536, "WAL"}),
                         [](const auto& mode) {
                           return std::string(mode.param.journal) +
                                  std::to_string(mode.param.page_bytes);
                         });

// ---- Locks and readers
// ---------------------------------------------------------------------------

class InMode : public ReplicaFileTest, public testing::WithParamInterface<const char*> {
 protected:
  bool wal() const { return std::string_view(GetParam()) == "WAL"; }
  void Start(SourceDatabase& source) {
    source.Run(std::string("PRAGMA journal_mode=") + GetParam());
    source.Run("CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    source.Run("INSERT INTO t(v) SELECT randomblob(300) FROM pragma_function_list LIMIT 90");
    Open();
    ASSERT_TRUE(Apply(source.Take()).ok());
  }
};

TEST_P(InMode, StockWriterIsLockedOutAndReads) {
  SourceDatabase source(Path("source.db"));
  Start(source);
  StockProcess stock(Replica());
  EXPECT_EQ(stock.Run("SELECT count(*) FROM t"), "90\n");
  EXPECT_EQ(stock.Run("INSERT INTO t(v) VALUES(1)"), "error: database is locked");
  EXPECT_EQ(stock.Run("BEGIN IMMEDIATE"), "error: database is locked");
  EXPECT_EQ(stock.Run("PRAGMA journal_mode=" + std::string(wal() ? "DELETE" : "WAL")),
            "error: database is locked");
  EXPECT_EQ(stock.Run("PRAGMA wal_checkpoint(TRUNCATE)"), wal() ? "1|-1|-1\n" : "0|-1|-1\n");
  EXPECT_EQ(stock.Run("VACUUM"), "error: database is locked");
  std::string output;
  RunProcess({"sh", "-c", "sqlite3 '" + Replica() + "' 'DELETE FROM t' 2>&1"}, &output);
  EXPECT_NE(output.find("database is locked"), std::string::npos) << output;
  ExpectContent();
  file_.reset();
  EXPECT_EQ(stock.Run("INSERT INTO t(v) VALUES(1)"), "");
}

TEST_P(InMode, OpenIsRefusedWhileAStockProcessWrites) {
  SourceDatabase source(Path("source.db"));
  Start(source);
  file_.reset();
  StockProcess stock(Replica());
  ASSERT_EQ(stock.Run("BEGIN IMMEDIATE"), "");
  const auto refused =
      ReplicaFile::Open({.path = Replica(), .temporary_directory = directory_.path()});
  EXPECT_TRUE(absl::IsUnavailable(refused.status())) << refused.status();
  ASSERT_EQ(stock.Run("INSERT INTO t(v) VALUES('mine')"), "");
  ASSERT_EQ(stock.Run("COMMIT"), "");
  Open();
  applied_.bytes = ReadAll(*file_);
  ExpectContent();
  EXPECT_EQ(stock.Run("SELECT count(*) FROM t"), "91\n");
}

TEST_P(InMode, LastStockReaderToCloseLeavesTheFilesAlone) {
  SourceDatabase source(Path("source.db"));
  Start(source);
  for (const char* id : {"1", "2", "3"}) {
    source.Run(std::string("UPDATE t SET v = randomblob(500) WHERE id = ") + id);
    ASSERT_NO_FATAL_FAILURE(ExpectApplied(source.Take()));  // opens and closes a stock reader
    EXPECT_EQ(std::filesystem::exists(Replica() + "-wal"), wal());
  }
}

TEST_P(InMode, DeletionRemovesTheFilesAndTheNameCanComeBack) {
  SourceDatabase source(Path("source.db"));
  Start(source);
  const Image image = applied_;
  const Image nothing;
  {
    StockProcess stock(Replica());
    ASSERT_EQ(stock.Run("BEGIN"), "");
    ASSERT_EQ(stock.Run("SELECT count(*) FROM t"), "90\n");
    Change deletion(applied_, nothing);
    EXPECT_TRUE(absl::IsUnavailable(deletion.ApplyTo(*file_)));
    ASSERT_EQ(stock.Run("SELECT count(v) FROM t"), "90\n");
  }
  ASSERT_TRUE(Apply(nothing).ok());
  for (const char* suffix : {"", "-wal", "-shm", "-journal"}) {
    EXPECT_FALSE(std::filesystem::exists(Replica() + suffix)) << suffix;
  }
  EXPECT_EQ(file_->shape().size_pages, 0u);
  ExpectApplied(image);
}

TEST_P(InMode, AnEmptyFileThatAProcessMadeIsFilled) {
  SourceDatabase source(Path("source.db"));
  ASSERT_EQ(::close(::open(Replica().c_str(), O_RDWR | O_CREAT, 0644)), 0);
  StockProcess early(Replica());
  EXPECT_EQ(early.Run("SELECT count(*) FROM sqlite_schema"), "0\n");
  Start(source);
  ASSERT_NO_FATAL_FAILURE(ExpectContent());
  EXPECT_EQ(early.Run("SELECT count(*) FROM t"), "90\n");
}

TEST_P(InMode, PageSizeChangesWhenNobodyHasItOpen) {
  SourceDatabase source(Path("source.db"));
  Start(source);
  source.Run("PRAGMA journal_mode=DELETE; PRAGMA page_size=1024; VACUUM");
  source.Run(std::string("PRAGMA journal_mode=") + GetParam());
  const Image image = source.Take();
  {
    StockProcess stock(Replica());
    ASSERT_EQ(stock.Run("BEGIN"), "");
    ASSERT_EQ(stock.Run("SELECT count(*) FROM t"), "90\n");
    EXPECT_TRUE(absl::IsUnavailable(Apply(image)));
  }
  ASSERT_NO_FATAL_FAILURE(ExpectApplied(image));
  EXPECT_EQ(file_->shape().page_bytes, 1024u);
  ExpectIntegrity();
  source.Run("PRAGMA journal_mode=DELETE; PRAGMA page_size=16384; VACUUM");
  ExpectApplied(source.Take());
  ExpectIntegrity();
}

TEST_P(InMode, AFailingSourceChangesNothing) {
  class Failing : public Wrapped {
   public:
    using Wrapped::Wrapped;
    absl::Status Read(size_t i, std::span<std::byte> page) override {
      return i > 2 ? absl::DataLossError("cut off") : Wrapped::Read(i, page);
    }
  };
  SourceDatabase source(Path("source.db"));
  Start(source);
  source.Run("UPDATE t SET v = randomblob(1000)");
  const Image next = source.Take();
  Change change(applied_, next);
  Failing failing(change);
  EXPECT_EQ(file_->Apply(failing, next.page_bytes, next.size_pages()).code(),
            absl::StatusCode::kDataLoss);
  {
    StockProcess stock(Replica());
    EXPECT_TRUE(stock.Serialize() == applied_.bytes);
  }
  ExpectApplied(next);
  ExpectIntegrity();
}

TEST_P(InMode, PagesThatDoNotBelongHereAreNeverSeen) {
  class Stranger : public Wrapped {
   public:
    using Wrapped::Wrapped;
    absl::Status Check() override { return absl::DataLossError("of another database"); }
  };
  SourceDatabase source(Path("source.db"));
  source.Run("CREATE TABLE before(v)");
  const Image first = source.Take();
  // As a database that is made anew, and on one that is there.
  Open();
  Change all(applied_, first);
  Stranger stranger(all);
  EXPECT_EQ(file_->Apply(stranger, first.page_bytes, first.size_pages()).code(),
            absl::StatusCode::kDataLoss);
  EXPECT_FALSE(std::filesystem::exists(Replica()));
  Start(source);
  source.Run("UPDATE t SET v = randomblob(1000)");
  const Image next = source.Take();
  Change change(applied_, next);
  Stranger second(change);
  EXPECT_EQ(file_->Apply(second, next.page_bytes, next.size_pages()).code(),
            absl::StatusCode::kDataLoss);
  ExpectContent();
  ExpectApplied(next);
}

TEST_P(InMode, RejectsPagesThatDoNotAscendOrFit) {
  SourceDatabase source(Path("source.db"));
  Start(source);
  source.Run("UPDATE t SET v = randomblob(1000)");
  const Image next = source.Take();
  Change change(applied_, next);
  EXPECT_EQ(file_->Apply(change, next.page_bytes, 2).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(file_->Apply(change, 1000, next.size_pages()).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(file_->Apply(change, 1024, next.size_pages()).ok());
  ExpectContent();
}

TEST_P(InMode, ManyReadersAtWorkSeeWholeTransactions) {
  SourceDatabase source(Path("source.db"));
  Start(source);
  source.Run("CREATE TABLE m(id INTEGER PRIMARY KEY, v INTEGER, pad BLOB)");
  source.Run("INSERT INTO m SELECT value, 100, randomblob(400) FROM " + Series(200));
  ASSERT_TRUE(Apply(source.Take()).ok());
  std::vector<std::unique_ptr<HammeringProcess>> readers;
  for (int i = 0; i < 3; ++i) {
    readers.push_back(std::make_unique<HammeringProcess>(
        Replica(), "SELECT sum(v), count(*) FROM m", "20000|200\n"));
  }
  std::mt19937 random(5);
  const int transactions = wal() ? 6000 : 120;
  for (int i = 0; i < transactions; ++i) {
    source.Run(RandomTransfer("m", random));
    if (i % 100 == 50) source.Run("VACUUM");
    const Image next = source.Take();
    absl::Status status;
    do {
      status = Apply(next);
    } while (absl::IsUnavailable(status) && !wal());
    ASSERT_TRUE(status.ok()) << status;
  }
  int read = 0;
  for (const auto& reader : readers) {
    int count = 0;
    EXPECT_EQ(reader->Stop(&count), "");
    EXPECT_GT(count, 0);
    read += count;
  }
  std::printf("%s: %d transactions applied under %d read\n", GetParam(), transactions, read);
  ExpectContent();
  ExpectIntegrity();
}

TEST_P(InMode, WorksBeyondTheLockPage) {
  SourceDatabase source(Path("source.db"));
  Start(source);
  const uint32_t page_bytes = applied_.page_bytes;
  const ltx::PageNo lock_page = sqlite::LockPage(page_bytes);
  // Pages around 1 GiB that no image could hold.
  class Far : public PageSource {
   public:
    Far(const Image& image, ltx::PageNo first) : image_(image), first_(first) {}
    size_t count() const override { return 6; }
    ltx::PageNo pgno(size_t i) const override {
      return i == 0 ? 1 : first_ + static_cast<ltx::PageNo>(i);
    }
    absl::Status Read(size_t i, std::span<std::byte> page) override {
      std::fill(page.begin(), page.end(), static_cast<std::byte>(i));
      if (i == 0) std::memcpy(page.data(), image_.bytes.data(), page.size());
      return absl::OkStatus();
    }

   private:
    const Image& image_;
    const ltx::PageNo first_;
  };
  Far far(applied_, lock_page - 3);
  ASSERT_TRUE(file_->Apply(far, page_bytes, lock_page + 2).ok());
  ASSERT_TRUE(file_->Checkpoint().ok());
  std::vector<std::byte> page(page_bytes);
  for (size_t i = 1; i < 6; ++i) {
    ASSERT_TRUE(file_->ReadPage(far.pgno(i), page).ok());
    EXPECT_EQ(page[7], std::byte(far.pgno(i) == lock_page ? 0 : i)) << i;
  }
  EXPECT_EQ(std::filesystem::file_size(Replica()), uint64_t{lock_page + 2} * page_bytes);
  const int fd = ::open(Replica().c_str(), O_RDONLY);
  ASSERT_EQ(::pread(fd, page.data(), page.size(), off_t{lock_page - 1} * page_bytes),
            static_cast<ssize_t>(page.size()));
  ::close(fd);
  EXPECT_EQ(page[7], std::byte{0});  // never written
  if (!wal()) return;                // a journal of 1 GiB
  const Image small = applied_;
  Change shrink({.page_bytes = page_bytes, .bytes = ""}, small);
  ASSERT_TRUE(shrink.ApplyTo(*file_).ok());
  ASSERT_TRUE(file_->Checkpoint().ok());
  ExpectContent();
  EXPECT_EQ(std::filesystem::file_size(Replica()), small.bytes.size());
}

INSTANTIATE_TEST_SUITE_P(Modes, InMode, testing::Values("DELETE", "WAL"),
                         [](const auto& mode) { return std::string(mode.param); });

TEST_F(ReplicaFileTest, RollbackReadersAreWaitedForAndNewOnesWaitTheirTurn) {
  SourceDatabase source(Path("source.db"));
  source.Run("CREATE TABLE t(v); INSERT INTO t VALUES(1)");
  Open();
  ASSERT_TRUE(Apply(source.Take()).ok());
  source.Run("UPDATE t SET v = 2");
  const Image next = source.Take();
  StockProcess reader(Replica());
  StockProcess newcomer(Replica());
  ASSERT_EQ(newcomer.Run("SELECT v FROM t"), "1\n");
  ASSERT_EQ(reader.Run("BEGIN"), "");
  ASSERT_EQ(reader.Run("SELECT v FROM t"), "1\n");
  EXPECT_TRUE(absl::IsUnavailable(Apply(next)));
  EXPECT_EQ(reader.Run("SELECT v FROM t"), "1\n");
  EXPECT_EQ(newcomer.Run("SELECT v FROM t"), "error: database is locked");  // PENDING
  EXPECT_TRUE(absl::IsUnavailable(Apply(next)));
  ASSERT_EQ(reader.Run("COMMIT"), "");
  ASSERT_TRUE(Apply(next).ok());
  EXPECT_EQ(reader.Run("SELECT v FROM t"), "2\n");
  EXPECT_EQ(newcomer.Run("SELECT v FROM t"), "2\n");
  // Housekeeping without a change to apply lets new readers in.
  ASSERT_EQ(reader.Run("BEGIN"), "");
  ASSERT_EQ(reader.Run("SELECT v FROM t"), "2\n");
  source.Run("UPDATE t SET v = 3");
  EXPECT_TRUE(absl::IsUnavailable(Apply(source.Take())));
  ASSERT_TRUE(file_->Checkpoint().ok());
  EXPECT_EQ(newcomer.Run("SELECT v FROM t"), "2\n");
}

TEST_F(ReplicaFileTest, WalReadersKeepTheirSnapshotsOverThousandsOfTransactions) {
  constexpr int kTransactions = 5000;
  SourceDatabase source(Path("source.db"));
  source.Run("PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF");
  source.Run("CREATE TABLE t(id INTEGER PRIMARY KEY, v INTEGER, pad BLOB)");
  source.Run("INSERT INTO t SELECT value, 100, randomblob(150) FROM " + Series(200));
  Open();
  ASSERT_TRUE(Apply(source.Take()).ok());
  const std::string query = "SELECT sum(v), count(*), max(CASE WHEN id = 1 THEN v END) FROM t";
  std::vector<std::unique_ptr<StockProcess>> readers;
  std::vector<std::string> seen;
  for (int i = 0; i < 4; ++i) {
    readers.push_back(std::make_unique<StockProcess>(Replica()));
    ASSERT_EQ(readers.back()->Run("BEGIN"), "");
    seen.push_back(readers.back()->Run(query));
  }
  std::mt19937 random(3);
  std::chrono::nanoseconds spent{0};
  uint64_t largest_wal = 0;
  for (int i = 1; i <= kTransactions; ++i) {
    source.Run(RandomTransfer("t", random));
    const Image next = source.Take();
    const auto start = std::chrono::steady_clock::now();
    const absl::Status applied = Apply(next);
    spent += std::chrono::steady_clock::now() - start;
    ASSERT_TRUE(applied.ok()) << applied;
    if (i % 25 != 0) continue;
    largest_wal = std::max<uint64_t>(largest_wal, std::filesystem::file_size(Replica() + "-wal"));
    const size_t r = random() % readers.size();
    // Reader 0 keeps its first snapshot up to the middle.
    ASSERT_EQ(readers[r]->Run(query), seen[r]) << "transaction " << i;
    if (r == 0 && i != kTransactions / 2) continue;
    ASSERT_EQ(readers[r]->Run("COMMIT"), "");
    ASSERT_EQ(readers[r]->Run("BEGIN"), "");
    seen[r] = readers[r]->Run(query);
    ASSERT_TRUE(seen[r].starts_with("20000|200|")) << seen[r];
    if (i % 1000 == 0) {
      ASSERT_EQ(readers[r]->Run("PRAGMA integrity_check"), "ok\n");
    }
  }
  for (size_t r = 0; r < readers.size(); ++r) {
    EXPECT_EQ(readers[r]->Run(query), seen[r]);
    EXPECT_EQ(readers[r]->Run("COMMIT"), "");
  }
  ASSERT_TRUE(file_->Checkpoint().ok());
  source.Run("UPDATE t SET v = v");
  ASSERT_TRUE(Apply(source.Take()).ok());
  ASSERT_NO_FATAL_FAILURE(ExpectContent());
  ExpectIntegrity();
  std::printf("%d transactions with 4 readers: %.0f/s, largest WAL %llu KiB\n", kTransactions,
              kTransactions / std::chrono::duration<double>(spent).count(),
              static_cast<unsigned long long>(largest_wal >> 10));
}

TEST_F(ReplicaFileTest, TheLogRestartsWhenNobodyNeedsIt) {
  SourceDatabase source(Path("source.db"));
  source.Run("PRAGMA journal_mode=WAL; CREATE TABLE t(v)");
  Open();
  StockProcess idle(Replica());
  for (int i = 0; i < 2500; ++i) {
    source.Run("DELETE FROM t; INSERT INTO t VALUES(" + std::to_string(i) + ")");
    ASSERT_TRUE(Apply(source.Take()).ok());
  }
  EXPECT_LT(std::filesystem::file_size(Replica() + "-wal"), 1100u * 4120);
  ExpectContent();
}

TEST_F(ReplicaFileTest, ModesSwitchUnderConnectedReaders) {
  SourceDatabase source(Path("source.db"));
  source.Run("CREATE TABLE t(v); INSERT INTO t VALUES(0)");
  Open();
  ASSERT_TRUE(Apply(source.Take()).ok());
  auto reader = std::make_unique<StockProcess>(Replica());
  int value = 0;
  const auto write_and_read = [&](bool wal) {
    source.Run("UPDATE t SET v = " + std::to_string(++value));
    ASSERT_NO_FATAL_FAILURE(ExpectApplied(source.Take()));
    EXPECT_EQ(file_->shape().wal, wal);
    EXPECT_EQ(reader->Run("SELECT v FROM t"), std::to_string(value) + "\n");
  };
  for (int round = 0; round < 5; ++round) {
    write_and_read(false);
    source.Run("PRAGMA journal_mode=WAL");
    ASSERT_NO_FATAL_FAILURE(ExpectApplied(source.Take()));
    write_and_read(true);
    ASSERT_EQ(reader->Run("BEGIN"), "");
    ASSERT_EQ(reader->Run("SELECT v FROM t"), std::to_string(value) + "\n");
    source.Run("PRAGMA journal_mode=DELETE");
    ASSERT_NO_FATAL_FAILURE(ExpectApplied(source.Take()));
    ASSERT_EQ(reader->Run("SELECT v FROM t"), std::to_string(value) + "\n");
    ASSERT_EQ(reader->Run("COMMIT"), "");
    write_and_read(true);  // the reader's connection keeps the log in use
    if (round == 2) Open();
    write_and_read(true);
    EXPECT_EQ(reader->Run("DELETE FROM t"), "error: database is locked");
    reader = nullptr;
    ASSERT_TRUE(file_->Checkpoint().ok());
    EXPECT_FALSE(file_->shape().wal);
    EXPECT_FALSE(std::filesystem::exists(Replica() + "-wal"));
    EXPECT_FALSE(std::filesystem::exists(Replica() + "-shm"));
    reader = std::make_unique<StockProcess>(Replica());
    EXPECT_EQ(reader->Run("DELETE FROM t"), "error: database is locked");
    ExpectIntegrity();
  }
}

TEST_F(ReplicaFileTest, ATransactionMayFillManyBlocksOfTheWalIndex) {
  SourceDatabase source(Path("source.db"));
  source.Run("PRAGMA page_size=512; PRAGMA journal_mode=WAL; CREATE TABLE t(v)");
  Open();
  ASSERT_TRUE(Apply(source.Take()).ok());
  StockProcess holder(Replica());
  ASSERT_EQ(holder.Run("BEGIN"), "");
  ASSERT_EQ(holder.Run("SELECT count(*) FROM t"), "0\n");
  for (int i = 0; i < 3; ++i) {
    source.Run("INSERT INTO t SELECT randomblob(400) FROM " + Series(9000));
    ASSERT_NO_FATAL_FAILURE(ExpectApplied(source.Take()));
    ASSERT_EQ(holder.Run("SELECT count(*) FROM t"), "0\n");
  }
  ASSERT_EQ(holder.Run("COMMIT"), "");
  ASSERT_EQ(holder.Run("SELECT count(*) FROM t"), "27000\n");
  Open();  // the wal-index lives on
  ASSERT_NO_FATAL_FAILURE(ExpectContent());
  source.Run("DELETE FROM t WHERE rowid > 10; VACUUM");
  ASSERT_NO_FATAL_FAILURE(ExpectApplied(source.Take()));
  ExpectIntegrity();
  ASSERT_TRUE(file_->Checkpoint().ok());
  ASSERT_EQ(holder.Run("SELECT count(*) FROM t"), "10\n");
}

TEST_F(ReplicaFileTest, ADeadWalIsRecoveredAndAHotJournalSettled) {
  SourceDatabase source(Path("source.db"));
  source.Run("PRAGMA journal_mode=WAL; CREATE TABLE t(v); INSERT INTO t VALUES(1)");
  Open();
  ASSERT_TRUE(Apply(source.Take()).ok());
  source.Run("INSERT INTO t SELECT randomblob(3000) FROM " + Series(100));
  ASSERT_TRUE(Apply(source.Take()).ok());
  file_.reset();
  std::filesystem::remove(Replica() + "-shm");
  Open();
  ASSERT_NO_FATAL_FAILURE(ExpectContent());
  file_.reset();
  // A torn last transaction: the log ends in the middle of a frame.
  source.Run("INSERT INTO t VALUES(2)");
  const Image before = applied_;
  Open();
  ASSERT_TRUE(Apply(source.Take()).ok());
  file_.reset();
  const std::string log = Replica() + "-wal";
  std::filesystem::resize_file(log, std::filesystem::file_size(log) - 100);
  applied_ = before;
  Open();
  ASSERT_NO_FATAL_FAILURE(ExpectContent());
  ExpectApplied(source.Take());
}

std::string BytesOf(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Many readers that begin in front of a hot journal refuse each other the lock that its rollback
// needs.  PENDING ends that: whoever holds SHARED gives it up and cannot have it again.
TEST_F(ReplicaFileTest, AHotJournalIsRolledBackThoughReadersKeepComing) {
  SourceDatabase source(Path("source.db"));
  source.Run("CREATE TABLE t(v); INSERT INTO t SELECT randomblob(900) FROM " + Series(300));
  const std::string before = BytesOf(Path("source.db"));
  source.Run("PRAGMA cache_size=1; BEGIN; UPDATE t SET v = randomblob(900)");
  std::filesystem::copy_file(Path("source.db"), Replica());
  std::filesystem::copy_file(Path("source.db-journal"), Replica() + "-journal");
  source.Run("ROLLBACK");
  ASSERT_NE(BytesOf(Replica()), before);

  const absl::StatusOr<UniqueFd> fd = OpenFile(Replica(), O_RDWR);
  ASSERT_TRUE(fd.ok()) << fd.status();
  absl::StatusOr<sqlite::SharedLock> reader = sqlite::SharedLock::Take(fd->get());
  ASSERT_TRUE(reader.ok()) << reader.status();
  bool kept_out = false;
  std::thread leaves([&] {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    const absl::StatusOr<UniqueFd> other = OpenFile(Replica(), O_RDWR);
    while (!kept_out && std::chrono::steady_clock::now() < deadline) {
      kept_out = absl::IsUnavailable(sqlite::SharedLock::Take(other->get()).status());
    }
    reader->Release();
  });
  absl::Status opened = absl::UnavailableError("not tried");
  for (int i = 0; i < 20 && absl::IsUnavailable(opened); ++i) {
    opened =
        ReplicaFile::Open({.path = Replica(), .temporary_directory = directory_.path()}).status();
  }
  leaves.join();
  EXPECT_TRUE(opened.ok()) << opened;
  EXPECT_TRUE(kept_out);
  EXPECT_EQ(BytesOf(Replica()) == before, true);
  EXPECT_FALSE(std::filesystem::exists(Replica() + "-journal"));
}

TEST_F(ReplicaFileTest, WhatIsNoDatabaseIsRefusedAndKept) {
  const std::string text(3000, 'x');
  std::FILE* const out = std::fopen(Replica().c_str(), "w");
  std::fwrite(text.data(), 1, text.size(), out);
  std::fclose(out);
  const auto file =
      ReplicaFile::Open({.path = Replica(), .temporary_directory = directory_.path()});
  EXPECT_EQ(file.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(std::filesystem::file_size(Replica()), text.size());
}

TEST_F(ReplicaFileTest, RateOfSmallTransactions) {
  for (const char* journal : {"DELETE", "WAL"}) {
    std::filesystem::remove(Path("source.db"));
    SourceDatabase source(Path("source.db"));
    source.Run(std::string("PRAGMA journal_mode=") + journal + "; PRAGMA synchronous=OFF");
    source.Run("CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    source.Run("INSERT INTO t SELECT value, randomblob(100) FROM " + Series(5000));
    Open();
    ASSERT_TRUE(Apply({}).ok());
    ASSERT_TRUE(Apply(source.Take()).ok());
    std::vector<Image> images;
    for (int i = 0; i < 50; ++i) {
      source.Run("UPDATE t SET v = randomblob(100) WHERE id = " + std::to_string(i * 97 + 1));
      images.push_back(source.Take());
    }
    const int count = std::string_view(journal) == "WAL" ? 5000 : 200;
    std::vector<std::unique_ptr<Change>> changes;
    for (size_t i = 0; i < 50; ++i) {
      changes.push_back(std::make_unique<Change>(images[(i + 49) % 50], images[i]));
    }
    ASSERT_TRUE(Apply(images[49]).ok());
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < count; ++i) {
      ASSERT_TRUE(changes[static_cast<size_t>(i) % 50]->ApplyTo(*file_).ok());
    }
    const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
    applied_ = images[49];
    ASSERT_NO_FATAL_FAILURE(ExpectContent());
    std::printf("%s: %.0f transactions/s\n", journal, count / spent.count());
  }
}

}  // namespace
}  // namespace litefs::test
