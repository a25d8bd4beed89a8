// foreign_abi DATABASE: executes each line of its input, by an SQLite compiled in.
#include <stdio.h>

#include "sqlite3.h"

int main(int argc, char** argv) {
  sqlite3* db;
  char* message = NULL;
  char line[4096];
  if (argc != 2 || sqlite3_open(argv[1], &db) != SQLITE_OK) return 1;
  sqlite3_busy_timeout(db, 20000);
  while (fgets(line, sizeof(line), stdin) != NULL) {
    if (sqlite3_exec(db, line, NULL, NULL, &message) != SQLITE_OK) {
      fprintf(stderr, "%s: %s\n", line, message);
      return 1;
    }
  }
  return sqlite3_close(db) == SQLITE_OK ? 0 : 1;
}
