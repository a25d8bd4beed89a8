#include "tests/support/child_commands.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>

#include "common/check.h"
#include "daemon/sqlite/settle.h"

namespace litefs::test {
namespace {

std::vector<std::string> OwnArguments() {
  std::ifstream in("/proc/self/cmdline", std::ios::binary);
  const std::string data{std::istreambuf_iterator<char>(in), {}};
  std::vector<std::string> arguments;
  for (size_t at = 0; at < data.size();) {
    arguments.emplace_back(data.c_str() + at);
    at += arguments.back().size() + 1;
  }
  return arguments;
}

void Answer(const std::string& text) {
  std::printf("%zu\n", text.size());
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

std::string RunSql(sqlite3* db, const std::string& sql) {
  std::string rows;
  const auto append = [](void* out, int count, char** values, char**) {
    for (int i = 0; i < count; ++i) {
      if (i > 0) static_cast<std::string*>(out)->append("|");
      static_cast<std::string*>(out)->append(values[i] != nullptr ? values[i] : "");
    }
    static_cast<std::string*>(out)->append("\n");
    return 0;
  };
  if (sqlite3_exec(db, sql.c_str(), append, &rows, nullptr) == SQLITE_OK) return rows;
  return std::string("error: ") + sqlite3_errmsg(db);
}

std::string SerializeAll(sqlite3* db) {
  // sqlite3_serialize asks for the page size before it reads: let a hot journal be rolled back.
  const std::string read = RunSql(db, "SELECT count(*) FROM sqlite_schema");
  if (read.starts_with("error")) return read;
  sqlite3_int64 size = 0;
  unsigned char* const data = sqlite3_serialize(db, "main", &size, 0);
  if (data == nullptr) return std::string("error: ") + sqlite3_errmsg(db);
  std::string image(reinterpret_cast<const char*>(data), static_cast<size_t>(size));
  sqlite3_free(data);
  return image;
}

// Statements on standard input, one a line; answers as their length, '\n', and themselves.
int StockMain(const std::vector<std::string>& arguments) {
  sqlite3* db = nullptr;
  if (sqlite3_open_v2(arguments[0].c_str(), &db, SQLITE_OPEN_READWRITE, nullptr) != SQLITE_OK) {
    return 1;
  }
  char* line = nullptr;
  size_t capacity = 0;
  for (ssize_t n; (n = getline(&line, &capacity, stdin)) > 0;) {
    const std::string sql(line, static_cast<size_t>(n - 1));
    Answer(sql == ".serialize" ? SerializeAll(db) : RunSql(db, sql));
  }
  std::free(line);
  sqlite3_close(db);
  return 0;
}

// Arguments: database, query, expected rows.  Ends when standard input does; prints the number of
// transactions, a space and the first error.
int HammerMain(const std::vector<std::string>& arguments) {
  int transactions = 0;
  std::string error;
  sqlite3* db = nullptr;
  pollfd input{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
  while (::poll(&input, 1, 0) == 0 && error.empty()) {
    if (transactions % 50 == 0) {
      sqlite3_close(db);
      if (sqlite3_open_v2(arguments[0].c_str(), &db, SQLITE_OPEN_READWRITE, nullptr) != SQLITE_OK) {
        error = sqlite3_errmsg(db);
        break;
      }
      sqlite3_busy_timeout(db, 20'000);
    }
    ++transactions;
    for (const std::string& sql : {std::string("BEGIN"), arguments[1], arguments[1]}) {
      const std::string rows = RunSql(db, sql);
      if (rows != (sql == "BEGIN" ? "" : arguments[2]) && error.empty()) error = rows;
    }
    RunSql(db, "COMMIT");
  }
  sqlite3_close(db);
  std::printf("%d %s\n", transactions, error.c_str());
  return 0;
}

// Dispatches when the registration is that of this process's command.
void Dispatch(std::string_view name, ChildCommand command) {
  std::vector<std::string> arguments = OwnArguments();
  if (arguments.size() < 2 || arguments[1] != name) return;
  arguments.erase(arguments.begin(), arguments.begin() + 2);
  const int code = command(arguments);
  std::fflush(nullptr);
  _exit(code);
}

int SettleCommandMain(const std::vector<std::string>& arguments) {
  return sqlite::SettleMain(arguments[0].c_str(),
                            arguments.size() > 1 ? arguments[1].c_str() : nullptr);
}

const RegisterChildCommand kSettle(sqlite::kSettleCommand, SettleCommandMain);
const RegisterChildCommand kStock("test-stock", StockMain);
const RegisterChildCommand kHammer("test-hammer", HammerMain);

pid_t Spawn(const std::vector<std::string>& argv, int in, int out) {
  std::vector<char*> arguments;
  for (const std::string& argument : argv) arguments.push_back(const_cast<char*>(argument.data()));
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  if (in >= 0) posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
  if (out >= 0) posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
  pid_t pid = -1;
  CHECK(posix_spawnp(&pid, arguments[0], &actions, nullptr, arguments.data(), environ) == 0);
  posix_spawn_file_actions_destroy(&actions);
  return pid;
}

pid_t SpawnWithPipes(const std::vector<std::string>& argv, std::FILE** to, std::FILE** from) {
  int in[2];
  int out[2];
  CHECK(::pipe2(in, O_CLOEXEC) == 0 && ::pipe2(out, O_CLOEXEC) == 0);
  const pid_t pid = Spawn(argv, in[0], out[1]);
  ::close(in[0]);
  ::close(out[1]);
  *to = ::fdopen(in[1], "w");
  *from = ::fdopen(out[0], "r");
  return pid;
}

int Wait(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

RegisterChildCommand::RegisterChildCommand(std::string_view name, ChildCommand command) {
  Dispatch(name, command);
}

std::string OwnProgram() {
  char path[4096];
  const ssize_t n = ::readlink("/proc/self/exe", path, sizeof(path));
  CHECK(n > 0);
  return std::string(path, static_cast<size_t>(n));
}

int RunProcess(const std::vector<std::string>& argv, std::string* output) {
  if (output == nullptr) return Wait(Spawn(argv, -1, -1));
  int out[2];
  CHECK(::pipe2(out, O_CLOEXEC) == 0);
  const pid_t pid = Spawn(argv, -1, out[1]);
  ::close(out[1]);
  output->clear();
  char buffer[4096];
  for (ssize_t n; (n = ::read(out[0], buffer, sizeof(buffer))) > 0;) {
    output->append(buffer, static_cast<size_t>(n));
  }
  ::close(out[0]);
  return Wait(pid);
}

StockProcess::StockProcess(const std::string& database_path) {
  pid_ = SpawnWithPipes({OwnProgram(), "test-stock", database_path}, &to_, &from_);
}

StockProcess::~StockProcess() {
  std::fclose(to_);
  std::fclose(from_);
  Wait(pid_);
}

std::string StockProcess::Run(const std::string& sql) {
  std::fprintf(to_, "%s\n", sql.c_str());
  std::fflush(to_);
  return ReadAnswer();
}

std::string StockProcess::Serialize() { return Run(".serialize"); }

std::string StockProcess::ReadAnswer() {
  size_t size = 0;
  if (std::fscanf(from_, "%zu", &size) != 1 || std::fgetc(from_) != '\n') return "error: it died";
  std::string text(size, '\0');
  CHECK(std::fread(text.data(), 1, size, from_) == size);
  return text;
}

HammeringProcess::HammeringProcess(const std::string& database_path, const std::string& query,
                                   const std::string& expected) {
  pid_ =
      SpawnWithPipes({OwnProgram(), "test-hammer", database_path, query, expected}, &to_, &from_);
}

HammeringProcess::~HammeringProcess() {
  int ignored;
  Stop(&ignored);
}

std::string HammeringProcess::Stop(int* transactions) {
  *transactions = 0;
  if (to_ == nullptr) return "";
  std::fclose(to_);
  to_ = nullptr;
  char line[1000] = "";
  if (std::fgets(line, sizeof(line), from_) == nullptr) std::strcpy(line, "0 it died\n");
  std::fclose(from_);
  Wait(pid_);
  char* rest = nullptr;
  *transactions = static_cast<int>(std::strtol(line, &rest, 10));
  const std::string error = rest + 1;
  return error.substr(0, error.find('\n'));
}

}  // namespace litefs::test
