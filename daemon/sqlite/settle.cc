#include "daemon/sqlite/settle.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <spawn.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <string_view>
#include <vector>

#include "common/posix_io.h"
#include "common/sqlite_format.h"
#include "common/status_macros.h"
#include "daemon/sqlite/file_lock.h"

namespace litefs::sqlite {
namespace {

constexpr int kBusyTimeoutMs = 50;  // the daemon waits; it will try again

enum ExitCode : int { kOk = 0, kBusy = 75, kCorrupt = 76, kFailed = 77 };

int ExitCodeOf(int rc) {
  switch (rc & 0xff) {
    case SQLITE_OK:
      return kOk;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
      return kBusy;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return kCorrupt;
    default:
      return kFailed;
  }
}

// A process's attributes: no signal blocked, SIGPIPE and the like at their defaults.
class SpawnAttributes {
 public:
  SpawnAttributes() {
    posix_spawnattr_init(&attributes_);
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_setsigmask(&attributes_, &none);
    sigset_t all;
    sigfillset(&all);
    posix_spawnattr_setsigdefault(&attributes_, &all);
    posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  }
  ~SpawnAttributes() { posix_spawnattr_destroy(&attributes_); }
  SpawnAttributes(const SpawnAttributes&) = delete;
  SpawnAttributes& operator=(const SpawnAttributes&) = delete;
  const posix_spawnattr_t* get() const { return &attributes_; }

 private:
  posix_spawnattr_t attributes_;
};

}  // namespace

absl::StatusOr<bool> JournalHasContent(const std::string& database_path) {
  const std::string journal_path = database_path + std::string(kJournalSuffix);
  absl::StatusOr<UniqueFd> journal = OpenFile(journal_path, O_RDONLY);
  if (absl::IsNotFound(journal.status())) return false;
  RETURN_IF_ERROR(journal.status());
  std::byte first{0};
  ASSIGN_OR_RETURN(const size_t n, ReadAt(journal->get(), {&first, 1}, 0, journal_path));
  return n != 0 && first != std::byte{0};
}

absl::StatusOr<bool> HasHotJournal(const std::string& database_path) {
  ASSIGN_OR_RETURN(const bool content, JournalHasContent(database_path));
  if (!content) return false;
  absl::StatusOr<UniqueFd> database = OpenFile(database_path, O_RDONLY);
  if (absl::IsNotFound(database.status())) return false;
  RETURN_IF_ERROR(database.status());
  ASSIGN_OR_RETURN(const uint64_t size, FileSize(database->get(), database_path));
  if (size == 0) return false;
  ASSIGN_OR_RETURN(const bool reserved, IsLocked(database->get(), kReservedByte, 1));
  return !reserved;
}

absl::StatusOr<bool> JournalIsOpen(const std::string& database_path) {
  const std::string journal_path = database_path + std::string(kJournalSuffix);
  absl::StatusOr<UniqueFd> journal = OpenFile(journal_path, O_RDONLY);
  if (absl::IsNotFound(journal.status())) return false;
  RETURN_IF_ERROR(journal.status());
  // Who opens it now waits for the lease's end and has us signalled: not by SIGIO, which would kill
  // us.
  ::fcntl(journal->get(), F_SETSIG, SIGURG);
  if (::fcntl(journal->get(), F_SETLEASE, F_WRLCK) != 0) return errno == EAGAIN;
  ::fcntl(journal->get(), F_SETLEASE, F_UNLCK);
  return false;
}

int64_t JournalAgeMs(const std::string& database_path, int64_t wall_ms) {
  struct stat st;
  if (::stat((database_path + std::string(kJournalSuffix)).c_str(), &st) != 0) return -1;
  return wall_ms - (st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1'000'000);
}

absl::Status Settle(const std::string& database_path, Locks locks) {
  std::vector<char*> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    if (!std::string_view(*entry).starts_with("LD_PRELOAD=")) environment.push_back(*entry);
  }
  environment.push_back(nullptr);
  std::string name = "litefs";
  std::string command = kSettleCommand;
  std::string path = database_path;
  std::string vfs = "unix-none";  // SQLite's own, without locks
  char* const arguments[] = {name.data(), command.data(), path.data(),
                             locks == Locks::kHeld ? vfs.data() : nullptr, nullptr};
  const SpawnAttributes attributes;
  pid_t pid;
  const int error = ::posix_spawn(&pid, "/proc/self/exe", nullptr, attributes.get(), arguments,
                                  environment.data());
  if (error != 0) return ErrnoStatus("settle " + database_path + ": spawn", error);
  int status;
  while (::waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) return ErrnoStatus("settle " + database_path + ": wait", errno);
  }
  if (!WIFEXITED(status)) {
    return absl::InternalError(
        fmt::format("settle {}: child ended by signal {}", database_path, WTERMSIG(status)));
  }
  switch (WEXITSTATUS(status)) {
    case kOk:
      return absl::OkStatus();
    case kBusy:
      return absl::UnavailableError(fmt::format("settle {}: database is busy", database_path));
    case kCorrupt:
      return absl::DataLossError(fmt::format("settle {}: not a valid database", database_path));
    default:
      return absl::InternalError(
          fmt::format("settle {}: child exited with {}", database_path, WEXITSTATUS(status)));
  }
}

int SettleMain(const char* path, const char* vfs) {
  sqlite3* db = nullptr;
  int rc = sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, vfs);
  if (rc == SQLITE_OK) {
    sqlite3_busy_timeout(db, kBusyTimeoutMs);
    rc = sqlite3_exec(db, "SELECT count(*) FROM sqlite_schema", nullptr, nullptr, nullptr);
  }
  const int code = ExitCodeOf(rc);
  if (code != kOk && code != kBusy) {
    std::fprintf(stderr, "settle %s: %s\n", path,
                 db != nullptr ? sqlite3_errmsg(db) : sqlite3_errstr(rc));
  }
  sqlite3_close(db);
  return code;
}

}  // namespace litefs::sqlite
