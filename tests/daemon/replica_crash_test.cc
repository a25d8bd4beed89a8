// ReplicaFile and kill -9: at random moments, and at every system call that changes a file or a
// lock.  After each death a stock reader opens the database before we do.

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>

#include "common/check.h"
#include "daemon/db/replica_file.h"
#include "tests/support/child_commands.h"
#include "tests/support/replica_support.h"

namespace litefs::test {
namespace {

std::string ReadFileBytes(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

absl::StatusOr<std::unique_ptr<ReplicaFile>> OpenReplica(const std::string& path) {
  return ReplicaFile::Open({.path = path, .temporary_directory = path.substr(0, path.rfind('/'))});
}

// What a reader sees must be one of two images, and a whole database.
void ExpectOneOf(const std::string& path, const Image& before, const Image& after,
                 const std::string& when) {
  std::string seen;
  if (std::filesystem::exists(path)) {
    StockProcess stock(path);
    seen = stock.Serialize();
    const std::string integrity = stock.Run("PRAGMA integrity_check");
    EXPECT_EQ(integrity, "ok\n") << when;
  }
  EXPECT_TRUE(seen == before.bytes || seen == after.bytes)
      << when << ": " << seen.size() << " bytes, " << (seen.size() < 200 ? seen : "")
      << ", expected " << before.bytes.size() << " or " << after.bytes.size();
}

// Apply, where a reader's or a killed child's lock may be in the way for a moment.
absl::Status ApplyPatiently(Change& change, ReplicaFile& file) {
  for (int i = 0;; ++i) {
    const absl::Status status = change.ApplyTo(file);
    if (!absl::IsUnavailable(status) || i == 1000) return status;
    ::usleep(100);
  }
}

// ---- Random moments
// ------------------------------------------------------------------------------

struct Progress {
  std::atomic<uint64_t> started{0};
  std::atomic<uint64_t> finished{0};
};

// Images that follow each other, the first after the last.
std::vector<Image> MakeRing(const std::string& path, const char* journal, uint32_t page_bytes) {
  SourceDatabase source(path);
  source.Run("PRAGMA page_size=" + std::to_string(page_bytes));
  source.Run(std::string("PRAGMA journal_mode=") + journal);
  source.Run("CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB); CREATE INDEX i ON t(v)");
  std::vector<Image> ring;
  for (int i = 0; i < 24; ++i) {
    source.Run("INSERT INTO t(v) SELECT randomblob(200) FROM pragma_function_list LIMIT 60");
    source.Run("UPDATE t SET v = randomblob(300) WHERE id % 5 = " + std::to_string(i % 5));
    if (i % 6 == 5) source.Run("DELETE FROM t WHERE id % 3 = 0; VACUUM");
    ring.push_back(source.Take());
  }
  return ring;
}

// The applying process: from image `at` on, for ever.
[[noreturn]] void ApplyForEver(const std::string& path, const std::vector<Image>& ring, size_t at,
                               Progress* progress) {
  auto file = OpenReplica(path);
  if (!file.ok()) _exit(1);
  for (size_t i = at;; ++i) {
    Change change(ring[i % ring.size()], ring[(i + 1) % ring.size()]);
    progress->started = i + 1;
    if (!ApplyPatiently(change, **file).ok()) _exit(2);
    progress->finished = i + 1;
    if (i % 5 == 0 && !(*file)->Checkpoint().ok()) _exit(3);
  }
}

class Kill : public testing::TestWithParam<const char*> {};

TEST_P(Kill, AtRandomMomentsLeavesOneOfTwoContents) {
  constexpr int kRounds = 220;
  TemporaryDirectory directory;
  const std::string path = directory.path() + "/app.db";
  const std::vector<Image> ring = MakeRing(directory.path() + "/source.db", GetParam(), 8192);
  auto* const progress = static_cast<Progress*>(
      ::mmap(nullptr, sizeof(Progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  {
    auto file = OpenReplica(path);
    ASSERT_TRUE(file.ok());
    const Image nothing;
    Change change(nothing, ring[0]);
    ASSERT_TRUE(change.ApplyTo(**file).ok());
  }
  const unsigned seed = 7;
  std::mt19937 random(seed);
  size_t at = 0;
  int died_inside = 0;
  int applied = 0;
  for (int round = 0; round < kRounds; ++round) {
    const std::string when = std::string(GetParam()) + " round " + std::to_string(round);
    // In WAL mode every other death leaves the wal-index alive, with a snapshot in use.
    std::unique_ptr<StockProcess> bystander;
    if (round % 2 == 1 && std::string_view(GetParam()) == "WAL") {
      bystander = std::make_unique<StockProcess>(path);
      bystander->Run("BEGIN");
      bystander->Run("SELECT count(*) FROM t");
    }
    progress->started = progress->finished = at;
    const pid_t child = ::fork();
    if (child == 0) ApplyForEver(path, ring, at, progress);
    const timespec delay{.tv_sec = 0, .tv_nsec = static_cast<long>(random() % 40'000'000)};
    while (progress->started == at && ::waitpid(child, nullptr, WNOHANG) == 0) ::usleep(50);
    ::nanosleep(&delay, nullptr);
    ::kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child) << when;
    ASSERT_TRUE(WIFSIGNALED(status)) << when << " exit " << WEXITSTATUS(status);
    const bool inside = progress->started > progress->finished;
    died_inside += inside;
    applied += static_cast<int>(progress->finished - at);
    at = progress->finished;
    const Image& before = ring[at % ring.size()];
    const Image& after = inside ? ring[(at + 1) % ring.size()] : before;
    if (round % 3 != 0) ExpectOneOf(path, before, after, when);
    auto file = OpenReplica(path);
    ASSERT_TRUE(file.ok()) << when << ": " << file.status();
    if (inside) {
      Change change(before, after);
      const absl::Status again = ApplyPatiently(change, **file);
      ASSERT_TRUE(again.ok()) << when << ": " << again;
      ++at;
    }
    ASSERT_TRUE(ReadAll(**file) == after.bytes) << when;
    StockProcess stock(path);
    ASSERT_TRUE(stock.Serialize() == after.bytes) << when;
    ASSERT_EQ(stock.Run("PRAGMA integrity_check"), "ok\n") << when;
    if (bystander) {
      ASSERT_EQ(bystander->Run("PRAGMA integrity_check"), "ok\n") << when;
    }
    ASSERT_FALSE(testing::Test::HasFailure());
  }
  EXPECT_GT(died_inside, 0);
  std::printf("%s: %d rounds, %d died inside Apply, %d applied, seed %u\n", GetParam(), kRounds,
              died_inside, applied, seed);
  ::munmap(progress, sizeof(Progress));
}

INSTANTIATE_TEST_SUITE_P(Modes, Kill, testing::Values("DELETE", "WAL"),
                         [](const auto& mode) { return std::string(mode.param); });

// ---- Every system call
// ---------------------------------------------------------------------------

// Arguments: database, the image it has, the image it gets, "checkpoint" or "".
int ApplyOnceMain(const std::vector<std::string>& arguments) {
  Image images[2];
  for (int i = 0; i < 2; ++i) {
    images[i].bytes = ReadFileBytes(arguments[static_cast<size_t>(i) + 1]);
    const std::string& bytes = images[i].bytes;
    if (bytes.empty()) continue;
    const auto size = static_cast<uint32_t>(static_cast<unsigned char>(bytes[16]) << 8 |
                                            static_cast<unsigned char>(bytes[17]));
    images[i].page_bytes = size == 1 ? 65536 : size;
  }
  auto file = OpenReplica(arguments[0]);
  if (!file.ok()) return 2;
  for (int i = 0; i < (arguments[3] == "again" ? 3 : 1); ++i) {
    Change change(images[i % 2], images[1 - i % 2]);
    if (!change.ApplyTo(**file).ok()) return 3;
  }
  if (arguments[3] == "checkpoint" && !(*file)->Checkpoint().ok()) return 4;
  return 0;
}

const RegisterChildCommand kApplyOnce("test-apply-once", ApplyOnceMain);

struct Step {
  const char* name;
  const char* before_mode;  // nullptr: no database
  const char* change;       // SQL on the source
  const char* then;
};

class KillSweep : public testing::TestWithParam<Step> {
 protected:
  void Prepare() {
    SourceDatabase source(directory_.path() + "/source.db");
    source.Run("PRAGMA page_size=4096");
    if (GetParam().before_mode != nullptr) {
      source.Run(std::string("PRAGMA journal_mode=") + GetParam().before_mode);
      source.Run("CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB)");
      source.Run("INSERT INTO t(v) SELECT randomblob(900) FROM pragma_function_list LIMIT 60");
      first_ = source.Take();
      source.Run("UPDATE t SET v = randomblob(900) WHERE id < 20");
      before_ = source.Take();
    }
    source.Run(GetParam().change);
    after_ = source.Take();
    std::ofstream(directory_.path() + "/before", std::ios::binary) << before_.bytes;
    std::ofstream(directory_.path() + "/after", std::ios::binary) << after_.bytes;
  }
  void Reset() {
    for (const char* suffix : {"", "-wal", "-shm", "-journal"}) {
      std::filesystem::remove(path_ + suffix);
    }
    if (before_.bytes.empty()) return;
    auto file = OpenReplica(path_);
    ASSERT_TRUE(file.ok());
    Change create({}, first_);
    ASSERT_TRUE(create.ApplyTo(**file).ok());
    Change change(first_, before_);
    ASSERT_TRUE(change.ApplyTo(**file).ok());
  }

  // Kills the applying process at its n-th call, and checks what it left; false if it ended first.
  bool KillAt(const std::string& call, int n) {
    Reset();
    const std::string when = std::string(GetParam().name) + " " + call + " " + std::to_string(n);
    const int code =
        RunProcess({"strace", "-o", "/dev/null", "-e", "trace=" + call, "-e",
                    "inject=" + call + ":signal=KILL:when=" + std::to_string(n), OwnProgram(),
                    "test-apply-once", path_, directory_.path() + "/before",
                    directory_.path() + "/after", GetParam().then});
    if (code == 0) return false;
    EXPECT_EQ(code, 128 + SIGKILL) << when;
    if (n % 2 == 0) ExpectOneOf(path_, before_, after_, when);
    auto file = OpenReplica(path_);
    EXPECT_TRUE(file.ok()) << when << ": " << file.status();
    if (!file.ok()) return false;
    Change change(before_, after_);
    const absl::Status again = ApplyPatiently(change, **file);
    EXPECT_TRUE(again.ok()) << when << ": " << again;
    EXPECT_TRUE(ReadAll(**file) == after_.bytes) << when;
    ExpectOneOf(path_, after_, after_, when);
    return !HasFailure();
  }

  TemporaryDirectory directory_;
  const std::string path_ = directory_.path() + "/app.db";
  Image first_;
  Image before_;
  Image after_;
};

TEST_P(KillSweep, AtEverySystemCallLeavesOneOfTwoContents) {
  if (RunProcess({"sh", "-c", "strace -o /dev/null true 2>/dev/null"}) != 0) {
    GTEST_SKIP() << "strace does not work here";
  }
  Prepare();
  // LeakSanitizer does not work under strace.
  ::setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
  int deaths = 0;
  // strace counts each system call by itself.
  for (const char* call : {"pwrite64", "fdatasync", "rename", "renameat2", "unlink", "ftruncate",
                           "fcntl", "fchmod", "openat"}) {
    for (int n = 1; KillAt(call, n); ++n) ++deaths;
    ASSERT_FALSE(HasFailure());
  }
  ExpectOneOf(path_, after_, after_, "at the end");
  EXPECT_GT(deaths, 10);
  std::printf("%s: killed at each of %d system calls\n", GetParam().name, deaths);
}

INSTANTIATE_TEST_SUITE_P(
    Steps, KillSweep,
    testing::Values(
        Step{"CreateDelete", nullptr, "CREATE TABLE t(v); INSERT INTO t VALUES(1)", ""},
        Step{"CreateWal", nullptr, "PRAGMA journal_mode=WAL; CREATE TABLE t(v)", ""},
        Step{"Rollback", "DELETE", "UPDATE t SET v = randomblob(1000) WHERE id % 4 = 1", ""},
        Step{"RollbackAgain", "DELETE", "UPDATE t SET v = randomblob(1000) WHERE id % 4 = 1",
             "again"},
        Step{"RollbackShrink", "DELETE", "DELETE FROM t WHERE id > 9; VACUUM", ""},
        Step{"PageSize", "DELETE", "PRAGMA page_size=1024; VACUUM", ""},
        Step{"Wal", "WAL", "UPDATE t SET v = randomblob(1000) WHERE id % 4 = 1", "checkpoint"},
        Step{"WalShrink", "WAL", "DELETE FROM t WHERE id > 9; VACUUM", "checkpoint"},
        Step{"DeleteToWal", "DELETE", "PRAGMA journal_mode=WAL", "checkpoint"},
        Step{"WalToDelete", "WAL", "PRAGMA journal_mode=DELETE", "checkpoint"},
        Step{"WalPageSize", "WAL",
             "PRAGMA journal_mode=DELETE; PRAGMA page_size=1024; VACUUM; "
             "PRAGMA journal_mode=WAL",
             ""}),
    [](const auto& step) { return std::string(step.param.name); });

}  // namespace
}  // namespace litefs::test
