#include "daemon/archive_settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/posix_io.h"
#include "daemon/config.h"
#include "tests/support/replica_support.h"

namespace litefs {
namespace {

using archive::ArchiveConfig;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

absl::StatusOr<Config> Parse(const std::string& text) {
  return ParseConfig(text, "f.yml", [](const std::string&) { return std::nullopt; });
}

std::string ErrorOf(const std::string& text) {
  const auto config = Parse(text);
  return config.ok() ? "no error" : std::string(config.status().message());
}

TEST(ArchiveSettings, AUrlIsEnough) {
  const auto config = Parse("archive:\n  - url: /backup\n  - {url: 's3://bucket/x', name: s3}\n");
  ASSERT_TRUE(config.ok()) << config.status();
  ASSERT_EQ(config->archives.size(), 2U);
  const ArchiveConfig& first = config->archives[0];
  EXPECT_EQ(first.name, "archive1");
  EXPECT_EQ(first.store.url, "/backup");
  EXPECT_EQ(first.interval, seconds(1));
  EXPECT_THAT(first.databases, ElementsAre("*"));
  EXPECT_THAT(first.levels.windows, ElementsAre(seconds(30), seconds(300), hours(1)));
  EXPECT_TRUE(first.recipients.empty());
  EXPECT_FALSE(first.seed || first.litestream);
  EXPECT_EQ(config->archives[1].name, "s3");
  EXPECT_TRUE(Parse("archive: []")->archives.empty());
}

TEST(ArchiveSettings, ReadsEveryKey) {
  const auto config = Parse(R"(
archive:
  - name: one
    url: s3://bucket
    databases: ["*.db"]
    interval: 250ms
    levels: [10s, 1m]
    snapshots: 12h
    retention: {levels: [1h, 2h, 3h], snapshots: 4d}
    backlog: 3MiB
    encrypt:
      recipients: [age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p]
      identity: key.txt
    seed: true
    s3: {access_key_id: a, secret_access_key: b, session-token: c, endpoint: "http://h:1",
         region: r, style: path, profile: p, ca_file: /ca.pem}
)");
  ASSERT_TRUE(config.ok()) << config.status();
  const ArchiveConfig& one = config->archives.at(0);
  EXPECT_THAT(one.databases, ElementsAre("*.db"));
  EXPECT_EQ(one.interval, milliseconds(250));
  EXPECT_THAT(one.levels.windows, ElementsAre(seconds(10), seconds(60)));
  EXPECT_EQ(one.levels.snapshot_every, hours(12));
  EXPECT_THAT(one.levels.retention, ElementsAre(hours(1), hours(2), hours(3)));
  EXPECT_EQ(one.levels.snapshot_retention, hours(96));
  EXPECT_EQ(one.backlog_bytes, uint64_t{3} << 20);
  EXPECT_EQ(one.recipients.size(), 1U);
  EXPECT_EQ(one.identity_file, "key.txt");
  EXPECT_TRUE(one.seed);
  EXPECT_EQ(one.store.access_key_id + one.store.secret_access_key + one.store.session_token +
                one.store.region + one.store.profile,
            "abcrp");
  EXPECT_EQ(one.store.endpoint, "http://h:1");
  EXPECT_EQ(one.store.style, "path");
  EXPECT_EQ(one.store.ca_file, "/ca.pem");
}

TEST(ArchiveSettings, SaysWhatIsWrongAndWhere) {
  EXPECT_EQ(ErrorOf("archive: /backup"), "f.yml:1: archive: a list of destinations is expected");
  EXPECT_EQ(ErrorOf("archive: [/backup]"), "f.yml:1: archive: a destination is key: value pairs");
  EXPECT_EQ(ErrorOf("archive:\n  - name: x\n"),
            "f.yml:2: archive: a destination without url: where is it?");
  EXPECT_THAT(ErrorOf("archive:\n  - {url: /a, ulr: /b}\n"),
              StartsWith("f.yml:2: archive.ulr: unknown key (did you mean archive.url?)"));
  EXPECT_THAT(ErrorOf("archive:\n  - {url: /a, url: /b}\n"), HasSubstr("also given"));
  EXPECT_THAT(ErrorOf("archive: [{url: /a, name: x}, {url: /b, name: x}]"), HasSubstr("twice"));
  EXPECT_THAT(ErrorOf("archive: [{url: /a, name: ..}]"), HasSubstr("is not a name"));
  EXPECT_THAT(ErrorOf("archive: [{url: /a, levels: [30s, 45s]}]"), HasSubstr("not a multiple"));
  EXPECT_THAT(ErrorOf("archive: [{url: /a, levels: [1m, 30s]}]"), HasSubstr("not a multiple"));
  EXPECT_THAT(ErrorOf("archive: [{url: /a, interval: 1ms}]"), HasSubstr("less than 10ms"));
  EXPECT_THAT(ErrorOf("archive: [{url: /a, encrypt: {recipients: [age1x]}}]"),
              HasSubstr("\"age1x\": "));
  EXPECT_THAT(ErrorOf("archive: [{url: /a, encrypt: {recipients: []}}]"), HasSubstr("empty"));
  EXPECT_THAT(ErrorOf("archive: [{url: /a, dialect: litestream, encrypt: {recipients: "
                      "[age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p]}}]"),
              HasSubstr("Litestream cannot read encrypted files"));
}

TEST(ArchiveSettings, PathsAreRelativeToTheFileThatNamesThem) {
  const test::TemporaryDirectory directory;
  const std::string path = directory.path() + "/f.yml";
  ASSERT_TRUE(WriteWholeFile(path,
                             "dir: d\narchive:\n  - {url: backup, encrypt: {identity: k}}\n"
                             "  - {url: 's3://bucket/x'}\n")
                  .ok());
  const auto config = LoadConfig({path, ""}, [](const std::string&) { return std::nullopt; });
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->archives[0].store.url, directory.path() + "/backup");
  EXPECT_EQ(config->archives[0].identity_file, directory.path() + "/k");
  EXPECT_EQ(config->archives[1].store.url, "s3://bucket/x");
}

}  // namespace
}  // namespace litefs
