#include "tests/support/lease_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "common/check.h"
#include "common/unique_fd.h"
#include "daemon/lease/consul_lease.h"
#include "daemon/lease/etcd_lease.h"
#include "daemon/lease/object_lease.h"
#include "daemon/s3_lease_store.h"
#include "tests/support/child_commands.h"

namespace litefs::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

constexpr seconds kStartDeadline{30};

int FreePort() {
  const UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  CHECK(::bind(fd.get(), generic, size) == 0 && ::getsockname(fd.get(), generic, &size) == 0);
  return ntohs(address.sin_port);
}

// BUILD/tests/lease_test lies three directories below the source's.
std::string Script(ServerKind kind) {
  const std::filesystem::path program = OwnProgram();
  const std::filesystem::path root =
      program.parent_path().parent_path().parent_path().parent_path();
  return (root / "tests/system/servers" / (kind == ServerKind::kEtcd ? "etcd.sh" : "consul.sh"))
      .string();
}

}  // namespace

LeaseServer::LeaseServer(ServerKind kind) : kind_(kind) {
  char name[] = "/tmp/lfs.lease.XXXXXX";
  CHECK(::mkdtemp(name) != nullptr);
  directory_ = name;
  for (int& port : ports_) port = FreePort();
}

LeaseServer::~LeaseServer() {
  if (pid_ > 0) Kill();
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

std::unique_ptr<LeaseServer> LeaseServer::Start(ServerKind kind) {
  if (kind == ServerKind::kConsul && RunProcess({Script(kind), "--fetch"}) != 0) return nullptr;
  if (kind == ServerKind::kEtcd && RunProcess({"etcd", "--version"}) != 0) return nullptr;
  if (kind == ServerKind::kS3 && ::getenv("LITEFS_TEST_CEPH_CONF") == nullptr) return nullptr;
  std::unique_ptr<LeaseServer> server(new LeaseServer(kind));
  server->Spawn();
  CHECK(server->WaitUntilReady());
  return server;
}

std::vector<std::string> LeaseServer::Command() const {
  if (kind_ == ServerKind::kS3) {
    return {"radosgw", "-n", "client.rgw", "-c", ::getenv("LITEFS_TEST_CEPH_CONF"), "-f"};
  }
  return {Script(kind_), directory_ + "/data", std::to_string(ports_[0]), std::to_string(ports_[1]),
          std::to_string(ports_[2])};
}

void LeaseServer::Spawn() {
  const std::string log = directory_ + "/log";
  std::vector<std::string> command = Command();
  std::vector<char*> arguments;
  for (std::string& word : command) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  const pid_t parent = ::getpid();
  pid_ = ::fork();
  CHECK(pid_ >= 0);
  if (pid_ != 0) return;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(127);
  const int out = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
  ::dup2(out, STDOUT_FILENO);
  ::dup2(out, STDERR_FILENO);
  ::execvp(arguments[0], arguments.data());
  ::_exit(127);
}

// Ready is who has granted something: a leader alone is too early for Consul's sessions.
bool LeaseServer::WaitUntilReady() {
  const auto deadline = steady_clock::now() + kStartDeadline;
  while (steady_clock::now() < deadline) {
    const std::unique_ptr<lease::Lease> probe = Connect("ready", seconds(10));
    if (probe->Announce({.node = {.node_id = "0000000000000001"}}, seconds(1)).ok()) {
      return probe->Release(std::nullopt, seconds(5)).ok();
    }
    if (::waitpid(pid_, nullptr, WNOHANG) == pid_) {
      pid_ = -1;
      return false;
    }
    Pause(milliseconds(20));
  }
  return false;
}

std::unique_ptr<lease::Lease> LeaseServer::Connect(const std::string& key, milliseconds ttl) {
  lease::LeaseOptions options{.urls = {url()}, .key = key, .token = "", .ttl = ttl};
  if (kind_ == ServerKind::kS3) {
    auto store = S3LeaseStore::Open(url(), seconds(5));
    CHECK(store.ok());
    return std::make_unique<lease::ObjectLease>(std::move(options), *std::move(store),
                                                &SystemClock());
  }
  if (kind_ == ServerKind::kEtcd) {
    return std::make_unique<lease::EtcdLease>(std::move(options), &SystemClock());
  }
  return std::make_unique<lease::ConsulLease>(std::move(options), &SystemClock());
}

std::string LeaseServer::url() const {
  if (kind_ == ServerKind::kS3) return ::getenv("LITEFS_TEST_S3_URL");
  return fmt::format("http://127.0.0.1:{}", ports_[0]);
}

void LeaseServer::Pause(milliseconds time) { std::this_thread::sleep_for(time); }

void LeaseServer::Stop() {
  CHECK(::kill(pid_, SIGSTOP) == 0);
  int status = 0;
  CHECK(::waitpid(pid_, &status, WUNTRACED) == pid_ && WIFSTOPPED(status));
}

void LeaseServer::Continue() { CHECK(::kill(pid_, SIGCONT) == 0); }

void LeaseServer::Kill() {
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

void LeaseServer::Restart() {
  CHECK(pid_ == -1);
  Spawn();
  CHECK(WaitUntilReady());
}

}  // namespace litefs::test
