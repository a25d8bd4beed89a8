// Processes that the tests start from their own program: POSIX locks belong to a process, so
// SQLite must not run in the one that holds the replica's locks.  A static initialiser dispatches
// the child's command before gtest starts.

#pragma once

#include <sys/types.h>

#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

namespace litefs::test {

// Called with the arguments behind the command's name; returns the exit code.
using ChildCommand = int (*)(const std::vector<std::string>& arguments);
struct RegisterChildCommand {
  RegisterChildCommand(std::string_view name, ChildCommand command);
};

// Runs argv (found in PATH) to its end; its standard output goes to output if that is not null.
// Returns the exit code, or 128 + the signal.
int RunProcess(const std::vector<std::string>& argv, std::string* output = nullptr);
// The path of this program, to start it with a command.
std::string OwnProgram();

// Another process with a database open by stock SQLite.
class StockProcess {
 public:
  explicit StockProcess(const std::string& database_path);
  ~StockProcess();
  StockProcess(const StockProcess&) = delete;
  StockProcess& operator=(const StockProcess&) = delete;

  // Runs one statement.  Returns its rows, columns joined by '|' and each row ended by '\n', or
  // "error: TEXT".
  std::string Run(const std::string& sql);
  // The whole database as this process sees it (sqlite3_serialize), or "error: TEXT".
  std::string Serialize();

 private:
  std::string ReadAnswer();
  pid_t pid_ = -1;
  std::FILE* to_ = nullptr;
  std::FILE* from_ = nullptr;
};

// A process that reads a database as fast as it can, on connections that it opens and closes: each
// read transaction runs the query twice, which must give expected both times.
class HammeringProcess {
 public:
  HammeringProcess(const std::string& database_path, const std::string& query,
                   const std::string& expected);
  ~HammeringProcess();
  HammeringProcess(const HammeringProcess&) = delete;
  HammeringProcess& operator=(const HammeringProcess&) = delete;

  // Ends it.  Returns "" if all went well, else the first error.
  std::string Stop(int* transactions);

 private:
  pid_t pid_ = -1;
  std::FILE* to_ = nullptr;
  std::FILE* from_ = nullptr;
};

}  // namespace litefs::test
