#include "daemon/config.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <map>
#include <tuple>

#include "common/posix_io.h"

namespace litefs {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;

using Variables = std::map<std::string, std::string>;

Environment With(Variables variables) {
  return [variables = std::move(variables)](const std::string& name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    return found == variables.end() ? std::nullopt : std::make_optional(found->second);
  };
}

absl::StatusOr<Config> Parse(const std::string& text, Variables variables = {}) {
  return ParseConfig(text, "f.yml", With(std::move(variables)));
}

// The message of the error that text gives, or "no error".
std::string ErrorOf(const std::string& text, Variables variables = {}) {
  const auto config = Parse(text, std::move(variables));
  return config.ok() ? "no error" : std::string(config.status().message());
}

TEST(Config, DefaultsMakeASinglePrimary) {
  for (const char* text : {"", "# nothing\n", "---\n", "retention:\n"}) {
    const auto config = Parse(text);
    ASSERT_TRUE(config.ok()) << config.status();
    EXPECT_THAT(config->databases, ElementsAre("*"));
    EXPECT_TRUE(config->primary);
    EXPECT_FALSE(config->insecure);
    EXPECT_EQ(config->node_id, "");
    EXPECT_EQ(config->replication.listen, "");
    EXPECT_EQ(config->replication.primary, "");
    EXPECT_TRUE(config->replication.publish);
    EXPECT_EQ(config->retention.age, hours(1));
    EXPECT_EQ(config->retention.size_bytes, uint64_t{256} << 20);
    EXPECT_EQ(config->write_timeout, seconds(30));
    EXPECT_EQ(config->log_level, LogLevel::kInfo);
  }
}

TEST(Config, ReadsEveryKey) {
  const auto config = Parse(R"(
dir: /srv/app
databases: ["*.db", main.sqlite]
node-id: 00c0ffee00000001
cluster-id: shop.eu_1
lease: {type: static, primary: true}
replication:
  listen: tcp://127.0.0.1:7420
  publish: false
insecure: true
retention: {age: 7d, size: 10GiB}
write-timeout: 1500ms
when-away: continue
on-replica-write: readonly
log: {level: debug}
)");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->dir, "/srv/app");
  EXPECT_THAT(config->databases, ElementsAre("*.db", "main.sqlite"));
  EXPECT_EQ(config->node_id, "00c0ffee00000001");
  EXPECT_EQ(config->cluster_id, "shop.eu_1");
  EXPECT_EQ(config->replication.listen, "tcp://127.0.0.1:7420");
  EXPECT_FALSE(config->replication.publish);
  EXPECT_TRUE(config->insecure);
  EXPECT_EQ(config->retention.age, hours(7 * 24));
  EXPECT_EQ(config->retention.size_bytes, uint64_t{10} << 30);
  EXPECT_EQ(config->write_timeout, milliseconds(1500));
  EXPECT_TRUE(config->continue_when_away);
  EXPECT_EQ(config->on_replica_write, ReplicaWrites::kReadOnly);
  EXPECT_EQ(config->log_level, LogLevel::kDebug);
}

TEST(Config, ReadsSynchronousCommit) {
  const auto config = Parse(R"(
replication: {listen: "tcp://127.0.0.1:7420"}
sync-databases:
  audit.db: 2 30s degrade
  "cache*": 0
  cache-2.db: 3
  three.db: 3 1h
sync: 1
sync-timeout: 5s
)");
  ASSERT_TRUE(config.ok()) << config.status();
  const auto rule = [&](const char* database) {
    const SyncConfig& sync = config->SyncOf(database);
    return std::tuple(sync.replicas, sync.timeout, sync.degrade);
  };
  EXPECT_EQ(rule("app.db"), std::tuple(1, seconds(5), false));
  EXPECT_EQ(rule("audit.db"), std::tuple(2, seconds(30), true));
  EXPECT_EQ(rule("cache-2.db"), std::tuple(0, seconds(5), false)) << "the first that matches";
  EXPECT_EQ(rule("three.db"), std::tuple(3, hours(1), false));
  EXPECT_TRUE(config->syncs());
  const auto defaults = Parse("");
  ASSERT_TRUE(defaults.ok());
  EXPECT_EQ(defaults->SyncOf("app.db").replicas, 0);
  EXPECT_FALSE(defaults->syncs());
}

TEST(Config, RefusesSynchronousCommitThatCannotBe) {
  EXPECT_EQ(ErrorOf("sync: 1\n"),
            "f.yml:1: sync: no replica can connect: give replication.listen, or replication.dial");
  EXPECT_THAT(ErrorOf("sync-databases: {a.db: 1}"), HasSubstr("no replica can connect"));
  EXPECT_EQ(ErrorOf("sync: 1\nlease: {primary: false}\n"
                    "replication: {primary: 'tcp://127.0.0.1:1'}"),
            "no error");
  EXPECT_THAT(ErrorOf("sync: -1"), HasSubstr("\"-1\" is not a number of replicas from 0 to 64"));
  EXPECT_THAT(ErrorOf("sync: 65"), HasSubstr("is not a number of replicas"));
  EXPECT_THAT(ErrorOf("sync-timeout: 0"), HasSubstr("not between 1ms and 24h"));
  EXPECT_THAT(ErrorOf("on-timeout: fail"), HasSubstr("\"fail\" is neither wait nor degrade"));
  EXPECT_THAT(ErrorOf("sync-databases: {a/b: 1}"), HasSubstr("\"a/b\" matches no file name"));
  EXPECT_THAT(ErrorOf("sync-databases: {a: 1 2s wait now}"), HasSubstr("such as \"2 30s wait\""));
  EXPECT_THAT(ErrorOf("sync-databases: {a: 1 wait}"), HasSubstr("\"wait\" is not a duration"));
}

TEST(Config, TakesUnderscoresForHyphens) {
  const auto config = Parse(
      "write_timeout: 7s\nwhen_away: continue\non_replica_write: readonly\n"
      "node_id: 00c0ffee00000001\ncluster_id: a_b\n");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->write_timeout, seconds(7));
  EXPECT_TRUE(config->continue_when_away);
  EXPECT_EQ(config->on_replica_write, ReplicaWrites::kReadOnly);
  EXPECT_EQ(config->node_id, "00c0ffee00000001");
  EXPECT_EQ(config->cluster_id, "a_b");
}

TEST(Config, ReadsALease) {
  const auto config = Parse(R"(
lease:
  {type: consul, url: ["http://a:8500/", "https://b:8500"], key: litefs/shop, ttl: 15s,
   token: s3cret}
)");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->lease.type, LeaseConfig::Type::kConsul);
  EXPECT_THAT(config->lease.urls, ElementsAre("http://a:8500", "https://b:8500"));
  EXPECT_EQ(config->lease.key, "litefs/shop");
  EXPECT_EQ(config->lease.ttl, seconds(15));
  EXPECT_EQ(config->lease.token, "s3cret");
  const auto defaults = Parse("lease: {type: etcd, url: 'http://a:2379'}");
  ASSERT_TRUE(defaults.ok()) << defaults.status();
  EXPECT_EQ(defaults->lease.type, LeaseConfig::Type::kEtcd);
  EXPECT_EQ(defaults->lease.key, "litefs");
  EXPECT_EQ(defaults->lease.ttl, seconds(10));
}

TEST(Config, ReadsALeaseInABucket) {
  const auto config = Parse("lease: {type: s3, url: 's3://shop/a?endpoint=http://h:1'}");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->lease.type, LeaseConfig::Type::kS3);
  EXPECT_THAT(config->lease.urls, ElementsAre("s3://shop/a?endpoint=http://h:1"));
  EXPECT_THAT(ErrorOf("lease: {type: s3}"), HasSubstr("where is it? Give s3://BUCKET"));
  EXPECT_THAT(ErrorOf("lease: {type: s3, url: 'http://a'}"), HasSubstr("has one url"));
  EXPECT_THAT(ErrorOf("lease: {type: s3, url: ['s3://a', 's3://b']}"), HasSubstr("has one url"));
  EXPECT_THAT(ErrorOf("lease: {type: etcd, url: 's3://a'}"), HasSubstr("is for lease.type: s3"));
}

TEST(Config, ReadsTheProxy) {
  const auto config = Parse(R"(
insecure: true
replication: {listen: 'tcp://10.0.0.5:7420'}
proxy:
  addr: 0.0.0.0:8080
  target: localhost:8081
  db: app.db
  passthrough: ["*.png", "/static/*"]
  advertise: https://a.example
  wait: 250ms
)");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->proxy.host, "0.0.0.0");
  EXPECT_EQ(config->proxy.port, 8080);
  EXPECT_EQ(config->proxy.target_host, "localhost");
  EXPECT_EQ(config->proxy.target_port, 8081);
  EXPECT_EQ(config->proxy.database, "app.db");
  EXPECT_THAT(config->proxy.passthrough, ElementsAre("*.png", "/static/*"));
  EXPECT_EQ(config->proxy.wait, milliseconds(250));
  EXPECT_EQ(config->proxy.url(), "https://a.example");

  const auto url = [](const std::string& addr) {
    const auto parsed = Parse("proxy: {addr: '" + addr + "', target: ':81', db: a}");
    return parsed.ok() ? parsed->proxy.url() : std::string(parsed.status().message());
  };
  EXPECT_EQ(url(":80"), "http://127.0.0.1:80") << "this machine only";
  EXPECT_EQ(url("10.0.0.5:80"), "http://10.0.0.5:80");
  EXPECT_EQ(url("[::1]:80"), "http://[::1]:80");
  EXPECT_EQ(url("off"), "");
  EXPECT_EQ(Parse("")->proxy.url(), "");
}

TEST(Config, RefusesAProxyThatCannotBe) {
  EXPECT_THAT(ErrorOf("proxy: {target: ':81'}"), HasSubstr("has no effect without proxy.addr"));
  EXPECT_THAT(ErrorOf("proxy: {addr: '80'}"), HasSubstr("\"80\" is not HOST:PORT"));
  EXPECT_THAT(ErrorOf("proxy: {addr: ':80'}"), HasSubstr("where is the app?"));
  EXPECT_THAT(ErrorOf("proxy: {addr: ':80', target: ':81'}"), HasSubstr("Give a database's name"));
  EXPECT_THAT(ErrorOf("proxy: {addr: ':80', target: ':81', db: a/b}"),
              HasSubstr("is not the name of a database"));
  EXPECT_THAT(ErrorOf("proxy: {passthrough: ['']}"), HasSubstr("\"\" matches no path"));
  EXPECT_THAT(ErrorOf("proxy: {wait: 11m}"), HasSubstr("\"11m\" is more than 10m"));
  for (const char* url : {"a", "ftp://a", "http://", "http://a/b", "http://a?b", "http://u@h",
                          "http://a b", "http://a\\r\\nX: y"}) {
    EXPECT_THAT(ErrorOf("proxy: {advertise: \"" + std::string(url) + "\"}"),
                HasSubstr("is not a URL such as"))
        << url;
  }
  // Where replicas could send nobody.
  const std::string rest = ", target: ':81', db: a}\n";
  EXPECT_THAT(ErrorOf("proxy: {addr: '0.0.0.0:80'" + rest), HasSubstr("give the URL at which"));
  const std::string far = "insecure: true\nreplication: {listen: 'tcp://10.0.0.5:7420'}\n";
  EXPECT_THAT(ErrorOf(far + "proxy: {addr: ':80'" + rest), HasSubstr("give the URL at which"));
  EXPECT_EQ(ErrorOf("lease: {primary: false}\nreplication: {primary: 'ipc:///p'}\n"
                    "proxy: {addr: '0.0.0.0:80'" +
                    rest),
            "no error");
}

TEST(Config, RefusesALeaseThatCannotBe) {
  EXPECT_THAT(ErrorOf("lease: {type: zookeeper}"),
              HasSubstr("there are: static, etcd, consul, s3"));
  EXPECT_THAT(ErrorOf("lease: {type: etcd}"), HasSubstr("f.yml:1: lease.url: where is it?"));
  EXPECT_THAT(ErrorOf("lease: {type: etcd, url: 'http://a', primary: false}"),
              HasSubstr("lease.primary: the lease says who is the primary"));
  EXPECT_THAT(ErrorOf("insecure: true\nlease: {type: etcd, url: 'http://a'}\n"
                      "replication: {listen: 'tcp://0.0.0.0:7420'}"),
              HasSubstr("replication.advertise: give the address"));
  for (const char* url :
       {"a:2379", "ftp://a", "http://", "http://a/path", "http://a?b", "http://a b"}) {
    EXPECT_THAT(ErrorOf(fmt::format("lease: {{type: etcd, url: '{}'}}", url)),
                HasSubstr("is not http://HOST:PORT"));
  }
  for (const char* key : {"", "/a", "a/", "a b", "a%2f"}) {
    EXPECT_THAT(ErrorOf(fmt::format("lease: {{key: '{}'}}", key)), HasSubstr("is not a key"));
  }
  EXPECT_THAT(ErrorOf("lease: {ttl: 500ms}"), HasSubstr("between 1s and 24h"));
  EXPECT_THAT(ErrorOf("lease: {ttl: soon}"), HasSubstr("is not a duration"));
  EXPECT_THAT(ErrorOf("lease: {token: \"a\\nb\"}"), HasSubstr("printable characters"));
}

TEST(Config, ReadsAReplica) {
  const auto config =
      Parse("lease: {primary: false}\nreplication: {primary: 'ipc:///run/primary'}\n");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_FALSE(config->primary);
  EXPECT_EQ(config->replication.primary, "ipc:///run/primary");
}

TEST(Config, TakesOneGlobWithoutAList) {
  EXPECT_THAT(Parse("databases: '*.db'\n")->databases, ElementsAre("*.db"));
}

// ---- Environment
// ---------------------------------------------------------------------------------

TEST(ConfigEnvironment, ExpandsAVariableAnywhereInAValue) {
  EXPECT_EQ(Parse("replication:\n  listen: tcp://127.0.0.1:${PORT}\n", {{"PORT", "81"}})
                ->replication.listen,
            "tcp://127.0.0.1:81");
  EXPECT_EQ(Parse("cluster-id: ${A}-${B}\n", {{"A", "x"}, {"B", "y"}})->cluster_id, "x-y");
}

TEST(ConfigEnvironment, ExpandsInsideFlowCollectionsAndQuotes) {
  const auto config =
      Parse("lease: {primary: ${P:-true}}\ndatabases: [${D}, \"${D}2\"]\n", {{"D", "a, b: [c"}});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_THAT(config->databases, ElementsAre("a, b: [c", "a, b: [c2"));
}

TEST(ConfigEnvironment, NoValueChangesTheStructure) {
  EXPECT_THAT(ErrorOf("cluster-id: ${X}\n", {{"X", "a\ninsecure: true"}}), HasSubstr("cluster-id"));
}

TEST(ConfigEnvironment, TakesTheDefaultWhenUnsetOrEmpty) {
  EXPECT_EQ(Parse("cluster-id: ${X:-fallback}\n")->cluster_id, "fallback");
  EXPECT_EQ(Parse("cluster-id: ${X:-fallback}\n", {{"X", ""}})->cluster_id, "fallback");
  EXPECT_EQ(Parse("cluster-id: ${X:-fallback}\n", {{"X", "set"}})->cluster_id, "set");
  EXPECT_EQ(Parse("replication: {primary: \"${X:-}\"}\n")->replication.primary, "");
}

TEST(ConfigEnvironment, UnsetWithoutDefaultIsAnError) {
  EXPECT_EQ(
      ErrorOf("\ncluster-id: ${HOST}\n"),
      "f.yml:2: cluster-id: ${HOST} is not set in the environment (${HOST:-…} gives a default)");
}

TEST(ConfigEnvironment, SetToNothingIsNothing) {
  EXPECT_EQ(Parse("cluster-id: \"${HOST}\"\n", {{"HOST", ""}})->cluster_id, "");
}

TEST(ConfigEnvironment, RefusesWhatIsNoName) {
  EXPECT_EQ(ErrorOf("cluster-id: ${1 + 1}\n"),
            "f.yml:1: cluster-id: \"${1 + 1}\" names no environment variable");
  EXPECT_EQ(ErrorOf("cluster-id: ${}\n"),
            "f.yml:1: cluster-id: \"${}\" names no environment variable");
}

TEST(ConfigEnvironment, LeavesCommentsAndDollarsAlone) {
  EXPECT_EQ(ErrorOf("# ${UNSET}\ncluster-id: a # ${UNSET}\n"), "no error");
  EXPECT_THAT(Parse("databases: ['a$b', '$${X}']\n")->databases, ElementsAre("a$b", "${X}"));
  EXPECT_THAT(ErrorOf("cluster-id: \"${X\"\n"), HasSubstr("${X"));
}

TEST(ConfigEnvironment, IsNotForKeys) {
  EXPECT_THAT(ErrorOf("${K}: 1\n", {{"K", "dir"}}), HasSubstr("f.yml:1: ${…} stands for values"));
}

TEST(ConfigEnvironment, ValuesAreNotExpandedAgain) {
  EXPECT_THAT(Parse("databases: '${X}'\n", {{"X", "${X}"}})->databases, ElementsAre("${X}"));
}

// ---- Errors: one line that names file, line, key and value
// ----------------------------------------

struct ErrorCase {
  const char* text;
  const char* message;
};

void PrintTo(const ErrorCase& c, std::ostream* out) { *out << c.text; }

class ConfigErrors : public testing::TestWithParam<ErrorCase> {};

TEST_P(ConfigErrors, NameWhatIsWrong) {
  const std::string error = ErrorOf(GetParam().text);
  EXPECT_EQ(error.substr(0, std::string_view(GetParam().message).size()), GetParam().message);
  EXPECT_EQ(error.find('\n'), std::string::npos) << error;
}

INSTANTIATE_TEST_SUITE_P(
    All, ConfigErrors,
    testing::Values(
        ErrorCase{"retention:\n  age: 5 parsecs\n",
                  "f.yml:2: retention.age: \"5 parsecs\" is not a duration such as 30s, 10m, 24h"},
        ErrorCase{"retention: {age: 10}\n", "f.yml:1: retention.age: \"10\" is not a duration"},
        ErrorCase{"retention: {age: -1s}\n", "f.yml:1: retention.age: \"-1s\" is not a duration"},
        ErrorCase{"retention: {age: 999ms}\n", "f.yml:1: retention.age: \"999ms\" is less than 1s"},
        ErrorCase{"retention: {size: 256MB}\n",
                  "f.yml:1: retention.size: \"256MB\" is not a size such as 64KiB, 256MiB, 10GiB"},
        ErrorCase{"retention: {size: 1B}\n", "f.yml:1: retention.size: \"1B\" is less than 64KiB"},
        ErrorCase{"retention: 1h\n", "f.yml:1: retention: key: value pairs are expected here"},
        ErrorCase{"retention:\n  age: [1h]\n",
                  "f.yml:2: retention.age: one plain value is expected"},
        ErrorCase{"retention:\n  age:\n", "f.yml:2: retention.age: a value is missing"},
        ErrorCase{"retnetion:\n  age: 1h\n",
                  "f.yml:1: retnetion: unknown key (did you mean retention?)"},
        ErrorCase{"\n\nage: 1h\n", "f.yml:3: age: unknown key (did you mean retention.age?)"},
        ErrorCase{"node_idd: a\n", "f.yml:1: node_idd: unknown key (did you mean node-id?)"},
        ErrorCase{"node_id: a\nnode-id: b\n", "f.yml:1: node-id: \"a\" is not 16 hexadecimal"},
        ErrorCase{"when_away: refuse\nwhen-away: refuse\n",
                  "f.yml:2: when-away: also given in line 1"},
        ErrorCase{"fuse: 1\n", "f.yml:1: fuse: unknown key (there are: dir databases"},
        ErrorCase{"dir: a\ndir: b\n", "f.yml:2: dir: also given in line 1"},
        ErrorCase{"dir: ''\n", "f.yml:1: dir: \"\" is not a directory"},
        ErrorCase{"lease: {primary: yes}\n",
                  "f.yml:1: lease.primary: \"yes\" is neither true nor false"},
        ErrorCase{"lease: {type: zookeeper}\n",
                  "f.yml:1: lease.type: \"zookeeper\" is not known (there are: static, etcd, "
                  "consul, s3)"},
        ErrorCase{"lease:\n  primary: false\n", "f.yml:2: lease.primary: a replica needs "},
        ErrorCase{"lease: {primary: false}\nreplication:\n  primary: tcp://127.0.0.1:1\n  accept: "
                  "tcp://127.0.0.1:1\n",
                  "f.yml:4: replication.accept: a replica either follows"},
        ErrorCase{"replication:\n  accept: tcp://127.0.0.1:1\n",
                  "f.yml:2: replication.accept: only a replica waits for a primary"},
        ErrorCase{"replication:\n  dial: [tcp://127.0.0.1:1, tcp://127.0.0.1:1]\n",
                  "f.yml:2: replication.dial: \"tcp://127.0.0.1:1\" is there twice"},
        ErrorCase{"replication: {dial: ['tcp://10.0.0.1:7420']}\n",
                  "f.yml:1: replication.dial: \"tcp://10.0.0.1:7420\" leaves this machine"},
        ErrorCase{"replication:\n  primary: tcp://127.0.0.1:1\n",
                  "f.yml:2: replication.primary: only a replica follows another node"},
        ErrorCase{"replication: {listen: 7420}\n",
                  "f.yml:1: replication.listen: \"7420\" is neither tcp://HOST:PORT nor ipc://"},
        ErrorCase{"replication: {listen: 'tcp://:7420'}\n",
                  "f.yml:1: replication.listen: \"tcp://:7420\" is neither"},
        ErrorCase{"replication: {listen: 'tcp://localhost:x'}\n",
                  "f.yml:1: replication.listen: \"tcp://localhost:x\" is neither"},
        ErrorCase{"replication: {listen: 'tcp://localhost:65535'}\n",
                  "f.yml:1: replication.listen: \"tcp://localhost:65535\": the port must be 1 to"},
        ErrorCase{"replication: {listen: 'tcp://*:7420'}\n",
                  "f.yml:1: replication.listen: \"tcp://*:7420\" leaves this machine: set "
                  "security.key-file (litefs keygen makes one), or, on a network that you trust, "
                  "insecure: true"},
        ErrorCase{"replication: {listen: 'tcp://127.0.0.1.evil.org:7420'}\n",
                  "f.yml:1: replication.listen: \"tcp://127.0.0.1.evil.org:7420\" leaves"},
        ErrorCase{"lease: {primary: false}\nreplication: {primary: 'tcp://10.0.0.1:7420'}\n",
                  "f.yml:2: replication.primary: \"tcp://10.0.0.1:7420\" leaves this machine"},
        ErrorCase{"replication: {listen: 'tcp://127.0.0.256:7420'}\n",
                  "f.yml:1: replication.listen: \"tcp://127.0.0.256:7420\" leaves"},
        ErrorCase{"replication: {listen: 'tcp://127.0.0.1:0;10.0.0.1:7420'}\n",
                  "f.yml:1: replication.listen: \"tcp://127.0.0.1:0;10.0.0.1:7420\" leaves"},
        ErrorCase{"replication: {listen: 'tcp://[::2]:7420'}\n",
                  "f.yml:1: replication.listen: \"tcp://[::2]:7420\" leaves"},
        ErrorCase{"security: {peers: {b: short}, key-file: k}\n",
                  "f.yml:1: security.peers: \"short\" is not a public key of 40 characters"},
        ErrorCase{"security: {peers: [b], key-file: k}\n",
                  "f.yml:1: security.peers: NAME: VALUE pairs are expected"},
        ErrorCase{"security:\n  primary-key: 'rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7'\n",
                  "f.yml:2: security.primary-key: has no effect without security.key-file"},
        ErrorCase{"lease: {primary: false}\nreplication: {primary: 'tcp://10.0.0.1:7420'}\n"
                  "security: {key-file: k}\n",
                  "f.yml:3: security.key-file: with keys, security.primary-key must say"},
        ErrorCase{"replication: {listen: 'tcp://*:7420'}\nsecurity: {key-file: k}\n",
                  "f.yml:2: security.key-file: with keys, security.peers or security.peers-file"},
        ErrorCase{"databases: []\n", "f.yml:1: databases: the list is empty"},
        ErrorCase{"databases: [a/b]\n", "f.yml:1: databases: \"a/b\" contains a '/'"},
        ErrorCase{"databases: {a: b}\n", "f.yml:1: databases: a list is expected"},
        ErrorCase{"databases:\n  - a\n  - [b]\n",
                  "f.yml:3: databases: one plain value is expected"},
        ErrorCase{"cluster-id: a b\n", "f.yml:1: cluster-id: \"a b\" is not a name of at most 64"},
        ErrorCase{"node-id: node-1\n", "f.yml:1: node-id: \"node-1\" is not 16 hexadecimal digits"},
        ErrorCase{"node-id: '0000000000000000'\n",
                  "f.yml:1: node-id: \"0000000000000000\" is not 16 hexadecimal digits"},
        ErrorCase{"insecure: 1\n", "f.yml:1: insecure: \"1\" is neither true nor false"},
        ErrorCase{"http: {listen: '7480'}\n",
                  "f.yml:1: http.listen: \"7480\" is not HOST:PORT such as 127.0.0.1:7480"},
        ErrorCase{"on-replica-write: never\n",
                  "f.yml:1: on-replica-write: \"never\" is neither forward, busy nor readonly"},
        ErrorCase{"when-away: maybe\n",
                  "f.yml:1: when-away: \"maybe\" is neither refuse nor continue"},
        ErrorCase{"write-timeout: 2h\n", "f.yml:1: write-timeout: \"2h\" is more than 1h"},
        ErrorCase{"log: {level: loud}\n", "f.yml:1: log.level: \"loud\" is none of debug, info"},
        ErrorCase{"- a\n- b\n", "f.yml:1: key: value pairs are expected here"},
        ErrorCase{"just text\n", "f.yml:1: key: value pairs are expected here"},
        ErrorCase{"dir: a\n---\ndir: b\n", "f.yml:3: a second YAML document begins"},
        ErrorCase{"a: [\n", "f.yml:2: this is not YAML: "},
        ErrorCase{"dir: a\n\tlog: b\n", "f.yml:2: this is not YAML: "},
        ErrorCase{"dir: *nowhere\n", "f.yml:1: this is not YAML: "}));

TEST(Config, NeverThrowsOrCrashesOnAnyPrefix) {
  const std::string text =
      "dir: &a \"x\\n\"\ndatabases: [*a, '${X:-y}']\nlog: {level: info}\nretention:\n  age: 1h\n";
  for (size_t n = 0; n <= text.size(); ++n) {
    const std::string error = ErrorOf(text.substr(0, n));
    EXPECT_EQ(error.find('\n'), std::string::npos) << error;
  }
}

TEST(Config, SurvivesDeepNesting) {
  EXPECT_NE(ErrorOf(std::string(20000, '[')), "no error");
  EXPECT_NE(ErrorOf(std::string(20000, '{')), "no error");
}

// ---- Values
// --------------------------------------------------------------------------------------

TEST(ParseDuration, KnowsItsUnits) {
  EXPECT_EQ(ParseDuration("500ms"), milliseconds(500));
  EXPECT_EQ(ParseDuration("30s"), seconds(30));
  EXPECT_EQ(ParseDuration("10m"), minutes(10));
  EXPECT_EQ(ParseDuration("24h"), hours(24));
  EXPECT_EQ(ParseDuration("7d"), hours(7 * 24));
  EXPECT_EQ(ParseDuration("0"), milliseconds(0));
  EXPECT_EQ(ParseDuration("36500d"), hours(36500 * 24));
}

TEST(ParseDuration, RefusesTheRest) {
  for (const char* text : {"", "s", "1", "1 s", " 1s", "1s ", "1.5h", "-1s", "+1s", "1w", "1S",
                           "36501d", "99999999999999999999s", "0x1s"}) {
    EXPECT_EQ(ParseDuration(text), std::nullopt) << text;
  }
}

TEST(ParseSize, KnowsItsUnits) {
  EXPECT_EQ(ParseSize("4096B"), 4096u);
  EXPECT_EQ(ParseSize("64KiB"), 65536u);
  EXPECT_EQ(ParseSize("256MiB"), uint64_t{256} << 20);
  EXPECT_EQ(ParseSize("10GiB"), uint64_t{10} << 30);
  EXPECT_EQ(ParseSize("2TiB"), uint64_t{2} << 40);
}

TEST(ParseSize, RefusesTheRest) {
  for (const char* text : {"", "1", "1KB", "1k", "1 KiB", "-1B", "1.5GiB", "8388608TiB"}) {
    EXPECT_EQ(ParseSize(text), std::nullopt) << text;
  }
}

TEST(PullEndpoint, IsTheNextPortOrPath) {
  EXPECT_EQ(PullEndpoint("tcp://127.0.0.1:7420"), "tcp://127.0.0.1:7421");
  EXPECT_EQ(PullEndpoint("tcp://[::1]:7420"), "tcp://[::1]:7421");
  EXPECT_EQ(PullEndpoint("ipc:///run/x"), "ipc:///run/x.pull");
}

TEST(Config, RefusesAnIpcPathThatNoSocketCanHave) {
  const std::string long_path(103, 'x');
  EXPECT_THAT(ErrorOf("replication: {listen: 'ipc://" + long_path + "'}\n"),
              HasSubstr("more than 107 bytes"));
  EXPECT_EQ(ErrorOf("replication: {listen: 'ipc://" + long_path.substr(1) + "'}\n"), "no error");
}

TEST(Config, LoopbackNeedsNoInsecure) {
  for (const char* host : {"127.0.0.1", "127.1.2.3", "127.255.255.254", "localhost", "[::1]"}) {
    EXPECT_EQ(ErrorOf(std::string("replication: {listen: 'tcp://") + host + ":7420'}\n"),
              "no error");
  }
  EXPECT_EQ(ErrorOf("insecure: true\nreplication: {listen: 'tcp://*:7420'}\n"), "no error");
}

TEST(Config, KeysNeedNoInsecure) {
  const std::string key = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7";
  const auto primary =
      Parse("replication: {listen: 'tcp://*:7420'}\nsecurity: {key-file: k, peers: {b: '" + key +
            "'}}\n");
  ASSERT_TRUE(primary.ok()) << primary.status();
  EXPECT_EQ(primary->security.key_file, "k");
  EXPECT_EQ(primary->security.peers.at("b"), key);
  const auto replica = Parse(
      "lease: {primary: false}\nreplication: {primary: 'tcp://10.0.0.1:7420'}\n"
      "security: {key-file: k, primary-key: '" +
      key + "'}\n");
  ASSERT_TRUE(replica.ok()) << replica.status();
  EXPECT_EQ(replica->security.primary_key, key);
}

// ---- Files
// ---------------------------------------------------------------------------------------

class LoadConfigTest : public testing::Test {
 protected:
  LoadConfigTest() {
    std::string pattern = testing::TempDir() + "/config_test.XXXXXX";
    dir_ = std::filesystem::canonical(mkdtemp(pattern.data()));
  }
  ~LoadConfigTest() override { std::filesystem::remove_all(dir_); }

  std::string Write(const std::string& name, const std::string& text) {
    const std::string path = dir_ + "/" + name;
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    EXPECT_TRUE(WriteWholeFile(path, text).ok());
    return path;
  }
  std::string dir_;
};

TEST_F(LoadConfigTest, NothingGivenIsTheCurrentDirectory) {
  const auto config = LoadConfig({}, With({}));
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->dir, std::filesystem::current_path());
}

TEST_F(LoadConfigTest, SearchesOptionThenVariableThenDirectory) {
  const std::string option = Write("option.yml", "cluster-id: option\n");
  const std::string variable = Write("variable.yml", "cluster-id: variable\n");
  Write("d/.litefs/config.yml", "cluster-id: directory\n");
  const std::string dir = dir_ + "/d";
  const Environment environment = With({{"LITEFS_CONFIG", variable}});
  EXPECT_EQ(LoadConfig({option, dir}, environment)->cluster_id, "option");
  EXPECT_EQ(LoadConfig({"", dir}, environment)->cluster_id, "variable");
  EXPECT_EQ(LoadConfig({"", dir}, With({}))->cluster_id, "directory");
  EXPECT_EQ(LoadConfig({"", dir}, With({{"LITEFS_CONFIG", ""}}))->cluster_id, "directory");
  EXPECT_EQ(LoadConfig({"", dir_}, With({}))->cluster_id, "");
}

TEST_F(LoadConfigTest, DirOptionWinsOverTheKey) {
  const std::string file = Write("f.yml", "dir: data\n");
  EXPECT_EQ(LoadConfig({file, ""}, With({}))->dir, dir_ + "/data");
  EXPECT_EQ(LoadConfig({file, "/other/"}, With({}))->dir, "/other");
}

TEST_F(LoadConfigTest, FileInsideTheDirectoryCannotNameAnother) {
  Write("d/.litefs/config.yml", "dir: /elsewhere\n");
  const auto config = LoadConfig({"", dir_ + "/d"}, With({}));
  EXPECT_THAT(std::string(config.status().message()),
              HasSubstr("/d/.litefs/config.yml:1: dir: this file is about the directory"));
}

TEST_F(LoadConfigTest, UnreadableFilesAreErrorsThatNameThem) {
  const auto missing = LoadConfig({dir_ + "/none.yml", ""}, With({}));
  EXPECT_EQ(missing.status().message(), "open " + dir_ + "/none.yml: No such file or directory");
  const auto directory = LoadConfig({dir_, ""}, With({}));
  EXPECT_FALSE(directory.ok());
  EXPECT_THAT(std::string(directory.status().message()), HasSubstr(dir_));
  const auto variable = LoadConfig({}, With({{"LITEFS_CONFIG", "/none.yml"}}));
  EXPECT_EQ(variable.status().message(), "open /none.yml: No such file or directory");
  const std::string big = Write("big.yml", std::string(2 << 20, '#'));
  EXPECT_FALSE(LoadConfig({big, ""}, With({})).ok());
}

}  // namespace
}  // namespace litefs
