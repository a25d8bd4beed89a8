// Looks at databases for the fault sweeps, in one process for many points:  fault_check SCRATCH
// One request a line, one answer a line:
//
//   content PATH          opens the database as an app does (run this under the shim):
//                         "ids 1 2 3", the rows of t, or "fail TEXT": it is not sound
//   chain DIRECTORY NAME  asks the daemon of DIRECTORY to capture, and compares what the chain
//                         replays to with what SQLite makes of a copy of the files:
//                         "equal", or "fail TEXT" if it is not so within 20 s
//   same PATH PATH        SQLite makes the same bytes of both databases; within 20 s
//
// The oracle is SQLite: it recovers the copy, in SCRATCH, where there is no daemon.

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "common/endian.h"
#include "common/posix_io.h"
#include "common/unique_fd.h"
#include "ltx/apply_file.h"
#include "ltx/byte_stream.h"

namespace {

namespace fs = std::filesystem;
using litefs::UniqueFd;
using std::chrono::steady_clock;

constexpr std::chrono::seconds kDeadline{20};

struct Failed {
  std::string why;
};

class Connection {
 public:
  explicit Connection(const std::string& path) {
    if (sqlite3_open(path.c_str(), &db_) != SQLITE_OK) Fail();
    sqlite3_busy_timeout(db_, 20000);
  }
  ~Connection() { sqlite3_close(db_); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // The first column of every row.
  std::vector<std::string> Query(const std::string& sql) {
    sqlite3_stmt* statement = nullptr;
    if (sqlite3_prepare_v2(db_, sql.c_str(), -1, &statement, nullptr) != SQLITE_OK) Fail();
    std::vector<std::string> rows;
    int result;
    while ((result = sqlite3_step(statement)) == SQLITE_ROW) {
      rows.emplace_back(reinterpret_cast<const char*>(sqlite3_column_text(statement, 0)));
    }
    if (sqlite3_finalize(statement) != SQLITE_OK || result != SQLITE_DONE) Fail();
    return rows;
  }

 private:
  [[noreturn]] void Fail() { throw Failed{std::string("sqlite: ") + sqlite3_errmsg(db_)}; }
  sqlite3* db_ = nullptr;
};

std::string Content(const std::string& path) {
  Connection db(path);
  const std::vector<std::string> verdict = db.Query("PRAGMA integrity_check");
  if (verdict != std::vector<std::string>{"ok"}) throw Failed{"integrity_check: " + verdict.at(0)};
  std::string answer = "ids";
  for (const std::string& id : db.Query("SELECT id FROM t")) answer += " " + id;
  return answer;
}

// All that has been committed is captured (docs/IPC.md, control requests).
void Sync(const std::string& directory) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = directory + "/.litefs/socket";
  if (path.size() >= sizeof(address.sun_path)) throw Failed{path + " is too long"};
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  const UniqueFd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  constexpr std::string_view kRequest = "\x93\x14\x01\xb2{\"request\":\"sync\"}";
  std::array<char, 4096> reply{};
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 ||
      ::send(fd.get(), kRequest.data(), kRequest.size(), MSG_NOSIGNAL) < 0 ||
      ::recv(fd.get(), reply.data(), reply.size(), 0) < 4 ||
      std::memcmp(reply.data(), "\x94\x67\x01\x00", 4) != 0) {
    throw Failed{"the daemon of " + directory + " does not answer"};
  }
}

std::string Bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// The committed content of the database at path.
std::string Committed(const std::string& path, const std::string& copy) {
  for (const char* suffix : {"", "-journal", "-wal", "-shm"}) {
    fs::remove(copy + suffix);
    if (suffix != std::string("-shm") && fs::exists(path + suffix)) {
      fs::copy_file(path + suffix, copy + suffix);
    }
  }
  if (fs::exists(copy + "-journal") || fs::exists(copy + "-wal")) {
    Connection db(copy);
    db.Query("SELECT count(*) FROM sqlite_schema");
    db.Query("PRAGMA wal_checkpoint(TRUNCATE)");
  }
  std::string bytes = Bytes(copy);
  if (bytes.size() < 100) throw Failed{path + " has no header"};
  // The header's size counts if it is as new as the change counter (SQLite file format, 1.3.7).
  const auto* data = reinterpret_cast<const std::byte*>(bytes.data());
  const uint32_t page_bytes = litefs::LoadBig16(data + 16);
  const uint32_t pages = litefs::LoadBig32(data + 28);
  if (litefs::LoadBig32(data + 24) == litefs::LoadBig32(data + 92) && pages != 0) {
    bytes.resize(uint64_t{pages} * (page_bytes == 1 ? 65536 : page_bytes));
  }
  return bytes;
}

std::string Replayed(const std::string& chain, const std::string& copy, size_t* count) {
  std::vector<std::string> files;
  for (const auto& entry : fs::directory_iterator(chain)) {
    if (entry.path().extension() == ".ltx") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  *count = files.size();
  fs::remove(copy);
  for (const std::string& path : files) {
    const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    auto source = litefs::ltx::FdSource::Open(fd.get(), path);
    if (!source.ok()) throw Failed{source.status().ToString()};
    const auto info = litefs::ltx::ApplyFile(*source, copy);
    if (!info.ok()) throw Failed{path + ": " + info.status().ToString()};
  }
  return Bytes(copy);
}

// Calls look until it returns an empty text; else what it has found is told at the deadline.
template <typename Look>
std::string Await(Look look) {
  const auto deadline = steady_clock::now() + kDeadline;
  while (true) {
    std::string why;
    try {
      why = look();
      if (why.empty()) return "equal";
    } catch (const Failed& failed) {
      why = failed.why;
    } catch (const fs::filesystem_error& error) {
      why = error.what();
    }
    if (steady_clock::now() > deadline) throw Failed{why};
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

std::string Chain(const std::string& scratch, const std::string& directory,
                  const std::string& name) {
  return Await([&]() -> std::string {
    Sync(directory);
    const std::string wanted = Committed(directory + "/" + name, scratch + "/committed.db");
    size_t files = 0;
    const std::string got =
        Replayed(directory + "/.litefs/dbs/" + name + "/ltx", scratch + "/replayed.db", &files);
    if (got == wanted) return "";
    return "the chain of " + std::to_string(files) + " files replays to " +
           std::to_string(got.size()) + " other bytes than " + std::to_string(wanted.size());
  });
}

std::string Same(const std::string& scratch, const std::string& one, const std::string& other) {
  return Await([&]() -> std::string {
    const std::string a = Committed(one, scratch + "/one.db");
    const std::string b = Committed(other, scratch + "/other.db");
    return a == b ? "" : one + " and " + other + " differ";
  });
}

std::string Answer(const std::string& scratch, const std::string& line) {
  std::istringstream words(line);
  std::string what, first, second;
  words >> what >> first >> second;
  try {
    if (what == "content") return Content(first);
    if (what == "chain") return Chain(scratch, first, second);
    if (what == "same") return Same(scratch, first, second);
    return "fail unknown request";
  } catch (const Failed& failed) {
    return "fail " + failed.why;
  } catch (const std::exception& error) {
    return std::string("fail ") + error.what();
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  for (std::string line; std::getline(std::cin, line);) {
    std::string answer = Answer(argv[1], line);
    std::replace(answer.begin(), answer.end(), '\n', ' ');
    std::cout << answer << std::endl;
  }
  return 0;
}
