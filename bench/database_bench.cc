// What a database costs the daemon: to be opened, with every page read and compared, and on a
// replica to be brought through a backlog of transactions, as received: verified, stored, applied.
// The page cache is warm.

#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <sqlite3.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "common/check.h"
#include "common/clock.h"
#include "daemon/db/primary_database.h"
#include "daemon/db/replica_database.h"
#include "ltx/byte_stream.h"

namespace litefs::db {
namespace {

namespace fs = std::filesystem;
using Seconds = std::chrono::duration<double>;

// Under TMPDIR, removed at the end.
class Directory {
 public:
  Directory() {
    path_ = (fs::temp_directory_path() / "litefs-bench-XXXXXX").string();
    CHECK(::mkdtemp(path_.data()) != nullptr);
    fs::create_directory(path_ + "/control");
  }
  ~Directory() { fs::remove_all(path_); }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  DatabaseOptions Options() const {
    return {.name = "app.db",
            .path = path_ + "/app.db",
            .control_directory = path_ + "/control",
            .temporary_directory = path_,
            .node_id = 1,
            .clock = &SystemClock(),
            .on_commit = {}};
  }

 private:
  std::string path_;
};

class Sqlite {
 public:
  explicit Sqlite(const std::string& path) {
    CHECK(sqlite3_open(path.c_str(), &db_) == SQLITE_OK);
    Run("PRAGMA synchronous = off");
  }
  ~Sqlite() { sqlite3_close(db_); }
  Sqlite(const Sqlite&) = delete;
  Sqlite& operator=(const Sqlite&) = delete;
  void Run(const std::string& sql) {
    CHECK(sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK);
  }

 private:
  sqlite3* db_ = nullptr;
};

std::unique_ptr<PrimaryDatabase> OpenPrimary(const Directory& directory) {
  std::string report;
  auto database = PrimaryDatabase::Open(directory.Options(), /*in_use=*/false, &report);
  CHECK(database.ok());
  return *std::move(database);
}

// Rows that fill half of their page with what does not compress.
std::string Fill(int mib) {
  return fmt::format(
      "CREATE TABLE t(id INTEGER PRIMARY KEY, n, filler); "
      "WITH RECURSIVE i(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM i WHERE x < {}) "
      "INSERT INTO t SELECT x, 0, randomblob(2000) || zeroblob(1900) FROM i",
      mib * 256);
}

void Open(benchmark::State& state) {
  const Directory directory;
  const std::string path = directory.Options().path;
  Sqlite(path).Run(Fill(static_cast<int>(state.range(0))));
  OpenPrimary(directory);  // its chain begins
  for (auto _ : state) {
    const auto database = OpenPrimary(directory);
    benchmark::DoNotOptimize(database->position());
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(fs::file_size(path)));
}
BENCHMARK(Open)->Arg(64)->Arg(1024)->Unit(benchmark::kMillisecond)->UseRealTime();

// The LTX files of a workload's transactions, the first a snapshot.
std::vector<std::string> Record(const std::string& journal_mode, int transactions,
                                const std::string& transaction) {
  const Directory directory;
  Sqlite app(directory.Options().path);
  app.Run("PRAGMA journal_mode = " + journal_mode);
  app.Run(Fill(64));
  {
    const auto database = OpenPrimary(directory);
    for (int n = 0; n < transactions; ++n) {
      app.Run(fmt::format(fmt::runtime(transaction), n % 1000 + 1));
      CHECK(database->CaptureWal().ok());
    }
  }
  std::vector<fs::path> paths;
  for (const auto& entry : fs::directory_iterator(directory.Options().control_directory + "/ltx")) {
    if (entry.path().extension() == ".ltx") paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  std::vector<std::string> files;
  for (const fs::path& path : paths) {
    std::ifstream in(path, std::ios::binary);
    files.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
  }
  return files;
}

void Receive(ReplicaDatabase& replica, const std::string& file) {
  ltx::SpanSource source(std::as_bytes(std::span(file)));
  CHECK(replica.Receive(source).ok());
}

void ApplyAll(ReplicaDatabase& replica) {
  while (replica.HasPending()) CHECK(replica.ApplyPending().ok());
}

void Backlog(benchmark::State& state, const std::vector<std::string>& files, int64_t bytes) {
  for (auto _ : state) {
    const Directory directory;
    std::string report;
    auto replica = ReplicaDatabase::Open(directory.Options(), &report);
    CHECK(replica.ok());
    Receive(**replica, files[0]);
    ApplyAll(**replica);
    const auto start = std::chrono::steady_clock::now();
    for (size_t i = 1; i < files.size(); ++i) Receive(**replica, files[i]);
    ApplyAll(**replica);
    state.SetIterationTime(Seconds(std::chrono::steady_clock::now() - start).count());
  }
  state.SetBytesProcessed(state.iterations() * bytes);
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(files.size() - 1));
}

void BacklogOfSmall(benchmark::State& state) {
  static const auto kFiles = Record("wal", 5000, "UPDATE t SET n = n + 1 WHERE id = {}");
  Backlog(state, kFiles, 5000 * 4096);
}
BENCHMARK(BacklogOfSmall)->UseManualTime()->Unit(benchmark::kMillisecond);

void BacklogOfLarge(benchmark::State& state) {
  static const auto kFiles = Record("wal", 4, "UPDATE t SET n = n + {}");
  Backlog(state, kFiles, int64_t{4} * 64 << 20);
}
BENCHMARK(BacklogOfLarge)->UseManualTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace litefs::db
