// Transactions of every kind, one after the other, by SQLite itself:  workload DATABASE SHAPE
// SHAPE is a journal mode, "exclusive-" before it for that locking mode, "-off" after it for
// synchronous=OFF, "attached-" before all: every transaction writes DATABASE-b as well.  Each row
// that COMMIT has confirmed is said on stdout at once ("+ID", "-ID" for one deleted); "!TEXT" tells
// an error of SQLite, after which it goes on with the next transaction. Exit status 0 at the end,
// whatever SQLite said.

#include <sqlite3.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>

namespace {

sqlite3* db = nullptr;
bool attached = false;

void Say(const std::string& line) {
  const std::string text = line + "\n";
  if (::write(1, text.data(), text.size()) < 0) _exit(3);
}

bool Execute(const std::string& sql) {
  char* message = nullptr;
  if (sqlite3_exec(db, sql.c_str(), nullptr, nullptr, &message) == SQLITE_OK) return true;
  Say("!" + sql.substr(0, 40) + ": " + (message != nullptr ? message : "?"));
  sqlite3_free(message);
  return false;
}

void RollBack() {
  if (sqlite3_get_autocommit(db) == 0) Execute("ROLLBACK");
}

// One statement is a transaction; with two databases it is done to both in one.
bool Commit(const std::string& before_table, const std::string& after_table) {
  const std::string sql = before_table + "t" + after_table;
  if (!attached) return Execute(sql);
  return Execute("BEGIN IMMEDIATE") && Execute(sql) &&
         Execute(before_table + "b.t" + after_table) && Execute("COMMIT");
}

void Insert(int id, int bytes) {
  const std::string n = std::to_string(id);
  if (Commit("INSERT INTO ", " VALUES (" + n + ", randomblob(" + std::to_string(bytes) + "))")) {
    Say("+" + n);
  }
  RollBack();
}

void Delete(int id) {
  const std::string n = std::to_string(id);
  if (Commit("DELETE FROM ", " WHERE id = " + n)) Say("-" + n);
  RollBack();
}

void Spill(int id, bool commit) {
  const std::string n = std::to_string(id);
  const bool done =
      Execute("BEGIN IMMEDIATE") && Execute("INSERT INTO t VALUES (" + n + ", randomblob(7000))") &&
      Execute("UPDATE t SET x = randomblob(length(x)) WHERE id <= 4 OR id = " + n) &&
      (!attached || Execute("INSERT INTO b.t VALUES (" + n + ", randomblob(7000))")) &&
      Execute(commit ? "COMMIT" : "ROLLBACK");
  if (done && commit) Say("+" + n);
  RollBack();
}

std::string Shape(std::string shape, std::string* journal) {
  if (shape.starts_with("attached-")) shape = shape.substr(std::strlen("attached-"));
  std::string pragmas = "PRAGMA cache_size = 4; PRAGMA busy_timeout = 20000;";
  if (shape.starts_with("exclusive-")) {
    pragmas += "PRAGMA locking_mode = EXCLUSIVE;";
    shape = shape.substr(std::strlen("exclusive-"));
  }
  if (shape.ends_with("-off") && shape != "off") {
    pragmas += "PRAGMA synchronous = OFF;";
    shape = shape.substr(0, shape.size() - std::strlen("-off"));
  }
  *journal = shape;
  return pragmas + "PRAGMA journal_mode = " + shape + ";";
}

void Transactions(const std::string& journal) {
  Insert(100, 10);
  Insert(101, 2500);
  Delete(3);
  Spill(102, true);
  Spill(103, false);
  if (journal == "wal") {
    Execute("PRAGMA wal_checkpoint(TRUNCATE)");
    Insert(104, 100);
    Execute("PRAGMA wal_checkpoint(RESTART)");
  }
  Delete(102);
  Insert(105, 1500);
  Execute("VACUUM");
  Insert(106, 10);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  if (sqlite3_open(argv[1], &db) != SQLITE_OK) {
    Say(std::string("!open: ") + sqlite3_errmsg(db));
    return 0;
  }
  const std::string path = argv[1];
  attached = std::string_view(argv[2]).starts_with("attached-");
  if (attached && !Execute("ATTACH '" + path.substr(0, path.rfind('.')) + "-b.db' AS b")) return 5;
  std::string journal;
  Execute(Shape(argv[2], &journal));
  Transactions(journal);
  if (sqlite3_close(db) != SQLITE_OK) return 4;
  return 0;
}
