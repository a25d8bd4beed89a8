// One SQLite application of a chosen kind, for bench/run.py to start plain and under the shim.  It
// knows nothing of litefs.  Prints one line of JSON: what it did, how long each operation took,
// what the process used.
//
//   workload KIND DATABASE --journal wal --sync normal --ops 1000 [--rows 10000] [--processes 4]
//
// KIND: setup (makes the table with --rows rows), insert, batch (--batch rows a transaction),
// update (of 16 hot rows), bulk (one transaction of --ops rows), point, cold, scan, mixed (nine
// reads to a write), readtx (--batch points in one transaction), processes (inserts by --processes
// at once), paced (--rate inserts a second), observe (prints how old each new row is when this
// reader sees it, until --ops rows came).

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

constexpr int kBusyMs = 30'000;
constexpr int kHotRows = 16;
constexpr int kReadsAWrite = 9;
constexpr size_t kBodyBytes = 100;
constexpr int64_t kObservePauseNs = 100'000;
constexpr int64_t kObserveGiveUpNs = 60'000'000'000;

struct Options {
  std::string kind, path, journal = "wal", sync = "normal";
  int64_t ops = 1000, rows = 10'000, batch = 100, processes = 4, rate = 200;
};

[[noreturn]] void Die(const std::string& what) {
  std::fprintf(stderr, "workload: %s\n", what.c_str());
  std::exit(1);
}

int64_t NowNs() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000LL + now.tv_nsec;
}

void SleepUntil(int64_t ns) {
  const timespec at{ns / 1'000'000'000, ns % 1'000'000'000};
  while (::clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, nullptr) == EINTR) {
  }
}

// The same sequence in every run.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15 + 1) {}
  uint64_t Next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_;
  }
  // Half text, half noise: compresses as rows do.
  std::string Body() {
    std::string body(kBodyBytes, ' ');
    for (size_t i = 0; i < kBodyBytes; ++i) {
      body[i] = i % 2 == 0 ? "etaoin shrdlu"[i % 13] : static_cast<char>('a' + Next() % 26);
    }
    return body;
  }

 private:
  uint64_t state_;
};

class Connection {
 public:
  explicit Connection(const Options& options) {
    if (sqlite3_open(options.path.c_str(), &db_) != SQLITE_OK) Fail("open");
    sqlite3_busy_timeout(db_, kBusyMs);
    Run("PRAGMA journal_mode=" + options.journal);
    Run("PRAGMA synchronous=" + options.sync);
  }
  ~Connection() { Close(); }
  void Close() {
    for (sqlite3_stmt* statement : statements_) sqlite3_finalize(statement);
    statements_.clear();
    if (db_ != nullptr && sqlite3_close(db_) != SQLITE_OK) Fail("close");
    db_ = nullptr;
  }
  void Run(const std::string& sql) {
    if (sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) Fail(sql);
  }
  sqlite3_stmt* Prepare(const char* sql) {
    sqlite3_stmt* statement = nullptr;
    if (sqlite3_prepare_v2(db_, sql, -1, &statement, nullptr) != SQLITE_OK) Fail(sql);
    statements_.push_back(statement);
    return statement;
  }
  // Returns the first column of the first row, 0 without one.
  int64_t Step(sqlite3_stmt* statement) {
    int64_t value = 0;
    int rc;
    while ((rc = sqlite3_step(statement)) == SQLITE_ROW) value = sqlite3_column_int64(statement, 0);
    if (rc != SQLITE_DONE) Fail(sqlite3_sql(statement));
    sqlite3_reset(statement);
    return value;
  }

 private:
  [[noreturn]] void Fail(const std::string& what) { Die(what + ": " + sqlite3_errmsg(db_)); }
  sqlite3* db_ = nullptr;
  std::vector<sqlite3_stmt*> statements_;
};

// What one process does; operations are timed by the caller.
class Application {
 public:
  Application(const Options& options, uint64_t seed)
      : options_(options), db_(options), random_(seed) {
    insert_ = db_.Prepare("INSERT INTO t(k, at, body) VALUES(?1, ?2, ?3)");
    update_ = db_.Prepare("UPDATE t SET body = ?2 WHERE id = ?1");
    point_ = db_.Prepare("SELECT length(body) FROM t WHERE id = ?1");
    scan_ = db_.Prepare("SELECT sum(length(body)) FROM t");
  }
  void Close() { db_.Close(); }

  void Operation(int64_t n) {
    const std::string& kind = options_.kind;
    if (kind == "batch") return Batch(options_.batch);
    if (kind == "bulk") return Batch(options_.ops);
    if (kind == "update") return Update();
    if (kind == "point") return Point();
    if (kind == "cold") return Cold();
    if (kind == "readtx") return ReadTransaction();
    if (kind == "scan") return static_cast<void>(db_.Step(scan_));
    if (kind == "mixed" && n % (kReadsAWrite + 1) != 0) return Point();
    Insert();
  }

 private:
  void Insert() {
    const std::string body = random_.Body();
    sqlite3_bind_int64(insert_, 1, static_cast<int64_t>(random_.Next() >> 1));
    sqlite3_bind_int64(insert_, 2, NowNs());
    sqlite3_bind_text(insert_, 3, body.data(), static_cast<int>(body.size()), SQLITE_STATIC);
    db_.Step(insert_);
  }
  void Batch(int64_t rows) {
    db_.Run("BEGIN IMMEDIATE");
    for (int64_t i = 0; i < rows; ++i) Insert();
    db_.Run("COMMIT");
  }
  void Update() {
    const std::string body = random_.Body();
    sqlite3_bind_int64(update_, 1, 1 + static_cast<int64_t>(random_.Next() % kHotRows));
    sqlite3_bind_text(update_, 2, body.data(), static_cast<int>(body.size()), SQLITE_STATIC);
    db_.Step(update_);
  }
  void Point() {
    const auto rows = static_cast<uint64_t>(options_.rows);
    sqlite3_bind_int64(point_, 1, 1 + static_cast<int64_t>(random_.Next() % rows));
    db_.Step(point_);
  }
  void ReadTransaction() {
    db_.Run("BEGIN");
    for (int64_t i = 0; i < options_.batch; ++i) Point();
    db_.Run("COMMIT");
  }
  // Nothing of the file is in SQLite's cache, nor, as far as the kernel obeys, in its own.
  void Cold() {
    db_.Run("PRAGMA shrink_memory");
    const int fd = ::open(options_.path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) Die("open " + options_.path);
    ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    // Closing it here would drop the process's locks on the database: none is held now.
    ::close(fd);
    Point();
  }

  const Options& options_;
  Connection db_;
  Random random_;
  sqlite3_stmt *insert_, *update_, *point_, *scan_;
};

void Setup(const Options& options) {
  Connection db(options);
  db.Run("CREATE TABLE t(id INTEGER PRIMARY KEY, k INTEGER, at INTEGER, body TEXT)");
  db.Run("CREATE INDEX t_k ON t(k)");
  sqlite3_stmt* const insert = db.Prepare("INSERT INTO t(k, at, body) VALUES(?1, 0, ?2)");
  Random random(7);
  db.Run("BEGIN");
  for (int64_t i = 0; i < options.rows; ++i) {
    const std::string body = random.Body();
    sqlite3_bind_int64(insert, 1, static_cast<int64_t>(random.Next() >> 1));
    sqlite3_bind_text(insert, 2, body.data(), static_cast<int>(body.size()), SQLITE_STATIC);
    db.Step(insert);
  }
  db.Run("COMMIT");
}

struct Usage {
  double user_s = 0, system_s = 0;
  int64_t wrote_bytes = 0, disk_bytes = 0;  // of /proc/self/io: wchar, write_bytes
};

Usage UsageNow() {
  Usage usage;
  for (const auto who : {RUSAGE_SELF, RUSAGE_CHILDREN}) {
    rusage r{};
    ::getrusage(who, &r);
    const auto seconds = [](const timeval& t) {
      return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
    };
    usage.user_s += seconds(r.ru_utime);
    usage.system_s += seconds(r.ru_stime);
  }
  if (FILE* const io = std::fopen("/proc/self/io", "r"); io != nullptr) {
    char line[128];
    while (std::fgets(line, sizeof(line), io) != nullptr) {
      std::sscanf(line, "wchar: %ld", &usage.wrote_bytes);
      std::sscanf(line, "write_bytes: %ld", &usage.disk_bytes);
    }
    std::fclose(io);
  }
  return usage;
}

double At(const std::vector<int64_t>& sorted, double part) {
  if (sorted.empty()) return 0;
  const auto last = static_cast<double>(sorted.size() - 1);
  return static_cast<double>(sorted[static_cast<size_t>(part * last)]) / 1000;
}

void Report(const Options& options, int64_t operations, double seconds, double close_s,
            std::vector<int64_t> latencies, const Usage& before) {
  std::sort(latencies.begin(), latencies.end());
  const Usage now = UsageNow();
  std::printf(
      "{\"kind\":\"%s\",\"operations\":%ld,\"seconds\":%.6f,\"close_s\":%.6f,\"p50_us\":%.2f,"
      "\"p99_us\":%.2f,\"p999_us\":%.2f,\"user_s\":%.6f,\"system_s\":%.6f,\"wrote_bytes\":%ld,"
      "\"disk_bytes\":%ld}\n",
      options.kind.c_str(), operations, seconds, close_s, At(latencies, 0.5), At(latencies, 0.99),
      At(latencies, 0.999), now.user_s - before.user_s, now.system_s - before.system_s,
      now.wrote_bytes - before.wrote_bytes, now.disk_bytes - before.disk_bytes);
}

void RunOne(const Options& options) {
  Application app(options, 11);
  const Usage before = UsageNow();
  std::vector<int64_t> latencies;
  const int64_t operations = options.kind == "bulk" ? 1 : options.ops;
  latencies.reserve(static_cast<size_t>(operations));
  const int64_t start = NowNs();
  int64_t last = start;
  for (int64_t i = 0; i < operations; ++i) {
    if (options.kind == "paced") {
      SleepUntil(start + i * (1'000'000'000 / options.rate));
      last = NowNs();
    }
    app.Operation(i);
    const int64_t now = NowNs();
    latencies.push_back(now - last);
    last = now;
  }
  app.Close();
  const auto seconds = static_cast<double>(last - start) / 1e9;
  const auto close_s = static_cast<double>(NowNs() - last) / 1e9;
  Report(options, options.ops, seconds, close_s, std::move(latencies), before);
}

// Each child inserts its share and sends its latencies through a pipe; all start at once.
void RunProcesses(const Options& options) {
  const Usage before = UsageNow();
  const int64_t share = options.ops / options.processes;
  int go[2];
  if (::pipe(go) != 0) Die("pipe");
  std::vector<int> results;
  for (int64_t p = 0; p < options.processes; ++p) {
    int pipe_fds[2];
    if (::pipe(pipe_fds) != 0) Die("pipe");
    const pid_t child = ::fork();
    if (child < 0) Die("fork");
    if (child == 0) {
      ::close(go[1]);
      Application app(options, 100 + static_cast<uint64_t>(p));
      char byte;
      (void)!::read(go[0], &byte, 1);
      for (int64_t i = 0; i < share; ++i) {
        const int64_t start = NowNs();
        app.Operation(i);
        const int64_t took = NowNs() - start;
        if (::write(pipe_fds[1], &took, sizeof(took)) != sizeof(took)) ::_exit(1);
      }
      app.Close();
      ::_exit(0);
    }
    ::close(pipe_fds[1]);
    ::fcntl(pipe_fds[0], F_SETPIPE_SZ, 1 << 20);
    results.push_back(pipe_fds[0]);
  }
  const int64_t start = NowNs();
  ::close(go[0]);
  ::close(go[1]);
  int failed = 0;
  int status = 0;
  while (::wait(&status) > 0) failed += status != 0 ? 1 : 0;
  const auto seconds = static_cast<double>(NowNs() - start) / 1e9;
  if (failed != 0) Die("a child failed");
  std::vector<int64_t> latencies;
  for (const int fd : results) {
    int64_t took;
    while (::read(fd, &took, sizeof(took)) == sizeof(took)) latencies.push_back(took);
  }
  const auto count = static_cast<int64_t>(latencies.size());
  Report(options, count, seconds, 0, std::move(latencies), before);
}

// Rows carry the clock at their insertion; all processes of a machine share it.
void Observe(const Options& options) {
  sqlite3* db = nullptr;
  if (sqlite3_open_v2(options.path.c_str(), &db, SQLITE_OPEN_READONLY, nullptr) != SQLITE_OK) {
    Die("open " + options.path);
  }
  sqlite3_busy_timeout(db, kBusyMs);
  sqlite3_stmt* rows = nullptr;
  if (sqlite3_prepare_v2(db, "SELECT id, at FROM t WHERE id > ?1 ORDER BY id", -1, &rows,
                         nullptr) != SQLITE_OK) {
    Die(sqlite3_errmsg(db));
  }
  std::vector<int64_t> ages;
  const Usage before = UsageNow();
  const int64_t start = NowNs();
  int64_t last_id = options.rows;
  while (static_cast<int64_t>(ages.size()) < options.ops) {
    sqlite3_bind_int64(rows, 1, last_id);
    int rc;
    while ((rc = sqlite3_step(rows)) == SQLITE_ROW) {
      ages.push_back(NowNs() - sqlite3_column_int64(rows, 1));
      last_id = sqlite3_column_int64(rows, 0);
    }
    if (rc != SQLITE_DONE) Die(sqlite3_errmsg(db));
    sqlite3_reset(rows);
    if (NowNs() - start > kObserveGiveUpNs) Die("the rows did not come");
    SleepUntil(NowNs() + kObservePauseNs);
  }
  sqlite3_finalize(rows);
  sqlite3_close(db);
  const auto seconds = static_cast<double>(NowNs() - start) / 1e9;
  Report(options, options.ops, seconds, 0, std::move(ages), before);
}

Options Parse(int argc, char** argv) {
  Options options;
  if (argc < 3) Die("usage: workload KIND DATABASE [--OPTION VALUE]...");
  options.kind = argv[1];
  options.path = argv[2];
  for (int i = 3; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    const char* const value = argv[i + 1];
    int64_t* const number = name == "--ops"         ? &options.ops
                            : name == "--rows"      ? &options.rows
                            : name == "--batch"     ? &options.batch
                            : name == "--processes" ? &options.processes
                            : name == "--rate"      ? &options.rate
                                                    : nullptr;
    if (number != nullptr) {
      *number = std::strtoll(value, nullptr, 10);
      if (*number <= 0) Die(name + " wants a number above 0");
    } else if (name == "--journal") {
      options.journal = value;
    } else if (name == "--sync") {
      options.sync = value;
    } else {
      Die("unknown option " + name);
    }
  }
  static constexpr const char* kKinds[] = {"setup",     "readtx", "insert", "batch", "update",
                                           "bulk",      "point",  "cold",   "scan",  "mixed",
                                           "processes", "paced",  "observe"};
  const bool known = std::any_of(std::begin(kKinds), std::end(kKinds),
                                 [&](const char* kind) { return options.kind == kind; });
  if (!known) Die("unknown kind " + options.kind);
  return options;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = Parse(argc, argv);
  if (options.kind == "setup") {
    Setup(options);
  } else if (options.kind == "processes") {
    RunProcesses(options);
  } else if (options.kind == "observe") {
    Observe(options);
  } else {
    RunOne(options);
  }
  return 0;
}
