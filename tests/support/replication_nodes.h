// A primary and a replica over real sockets and fake chains, for tests of the two together.

#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "daemon/replication/replication_client.h"
#include "daemon/replication/replication_server.h"
#include "tests/support/fake_chain.h"

namespace litefs::replication {

// A server for source; restart it with the endpoints that it had.
struct Primary {
  explicit Primary(FakeSource* chain, bool publish = true) : source(chain) {
    options.pub_endpoint = options.pull_endpoint = "tcp://127.0.0.1:*";
    options.cluster_id = "cluster-1";
    options.node_id = "primary";
    options.epoch = 1;
    options.publish = publish;
    Start();
  }
  void Start() {
    server = std::make_unique<ReplicationServer>(options, source);
    const absl::Status status = server->Start();
    ASSERT_TRUE(status.ok()) << status;
    options.pub_endpoint = server->pub_endpoint();
    options.pull_endpoint = server->pull_endpoint();
  }
  ltx::Position Commit(const std::string& database, size_t bytes = 100) {
    const ltx::Position position = source->Commit(database, bytes);
    server->Committed(database, position.txid, position.txid);
    return position;
  }

  FakeSource* source;
  ReplicationServer::Options options;
  std::unique_ptr<ReplicationServer> server;
};

struct Replica {
  explicit Replica(const Primary& primary, bool subscribe = true) {
    options.pub_endpoint = primary.options.pub_endpoint;
    options.pull_endpoint = primary.options.pull_endpoint;
    options.cluster_id = "cluster-1";
    options.node_id = "replica";
    options.subscribe = subscribe;
  }
  void Start() {
    client = std::make_unique<ReplicationClient>(options, &sink);
    const absl::Status status = client->Start();
    ASSERT_TRUE(status.ok()) << status;
  }
  void Stop() { client.reset(); }
  bool WaitForPub() {
    return Eventually([&] { return client->Status().pub_healthy; });
  }

  FakeSink sink;
  ReplicationClient::Options options;
  std::unique_ptr<ReplicationClient> client;
};

}  // namespace litefs::replication
