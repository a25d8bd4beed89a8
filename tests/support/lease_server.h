// A real etcd or Consul on loopback, as a child process (tests/system/servers/); or the gateway of
// a Ceph that is there (tests/system/lease_s3_test.py): LITEFS_TEST_CEPH_CONF is its configuration,
// LITEFS_TEST_S3_URL the bucket.

#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "daemon/lease/lease.h"

namespace litefs::test {

enum class ServerKind { kEtcd, kConsul, kS3 };

class LeaseServer {
 public:
  // Starts one and waits until it answers.  Null: this machine has none of that kind.
  static std::unique_ptr<LeaseServer> Start(ServerKind kind);
  ~LeaseServer();  // kills it and removes its data
  LeaseServer(const LeaseServer&) = delete;
  LeaseServer& operator=(const LeaseServer&) = delete;

  // A node's view of it.
  std::unique_ptr<lease::Lease> Connect(const std::string& key, std::chrono::milliseconds ttl);
  std::string url() const;

  // Between two looks at something that no event tells of.
  static void Pause(std::chrono::milliseconds time);

  void Stop();      // SIGSTOP
  void Continue();  // SIGCONT
  void Kill();      // SIGKILL
  void Restart();   // after Kill, on the same data; waits until it answers

 private:
  explicit LeaseServer(ServerKind kind);
  std::vector<std::string> Command() const;
  void Spawn();
  bool WaitUntilReady();

  const ServerKind kind_;
  std::string directory_;
  int ports_[3] = {};
  pid_t pid_ = -1;
};

}  // namespace litefs::test
