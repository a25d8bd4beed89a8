#include "daemon/archive/s3_settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>

#include "common/posix_io.h"
#include "tests/support/replica_support.h"

namespace litefs::archive {
namespace {

using testing::HasSubstr;

class S3SettingsTest : public testing::Test {
 protected:
  void SetUp() override { variables_["HOME"] = home_.path(); }

  absl::StatusOr<S3Settings> Resolve(const StoreOptions& options) {
    return ResolveS3Settings(options,
                             [this](const std::string& name) -> std::optional<std::string> {
                               const auto found = variables_.find(name);
                               if (found == variables_.end()) return std::nullopt;
                               return found->second;
                             });
  }
  // Resolves, and fails the test if that is an error.
  S3Settings Settings(const StoreOptions& options) {
    auto settings = Resolve(options);
    EXPECT_TRUE(settings.ok()) << settings.status();
    return settings.ok() ? *settings : S3Settings{};
  }
  std::string ErrorOf(const StoreOptions& options) {
    const auto settings = Resolve(options);
    return settings.ok() ? "no error" : std::string(settings.status().message());
  }
  void SetKeys() {
    variables_["AWS_ACCESS_KEY_ID"] = "id";
    variables_["AWS_SECRET_ACCESS_KEY"] = "secret";
  }
  void WriteAwsFile(const std::string& name, const std::string& text) {
    std::filesystem::create_directories(home_.path() + "/.aws");
    ASSERT_TRUE(WriteWholeFile(home_.path() + "/.aws/" + name, text).ok());
  }

  const test::TemporaryDirectory home_;
  std::map<std::string, std::string> variables_;
};

TEST_F(S3SettingsTest, AmazonIsTheDefaultWithTheBucketInTheHost) {
  SetKeys();
  const S3Settings settings = Settings({.url = "s3://my-bucket/a/b/"});
  EXPECT_EQ(settings.bucket, "my-bucket");
  EXPECT_EQ(settings.prefix, "a/b/");
  EXPECT_EQ(settings.base_url, "https://my-bucket.s3.us-east-1.amazonaws.com");
  EXPECT_EQ(settings.region, "us-east-1");
}

TEST_F(S3SettingsTest, AnEndpointGetsTheBucketInThePath) {
  SetKeys();
  EXPECT_EQ(Settings({.url = "s3://b-1?endpoint=http://h:9000/&region=eu"}).base_url,
            "http://h:9000/b-1");
  EXPECT_EQ(Settings({.url = "s3://b-1?endpoint=https%3A%2F%2Fh&style=virtual"}).base_url,
            "https://b-1.h");
  EXPECT_EQ(Settings({.url = "s3://b-1?ca-file=/x.pem"}).ca_file, "/x.pem");
}

TEST_F(S3SettingsTest, KeysComeFromConfigurationThenEnvironmentThenFiles) {
  WriteAwsFile("credentials",
               "[default]\naws_access_key_id = file\naws_secret_access_key = s1\n"
               "[other]\naws_access_key_id=third\naws_secret_access_key=s3\n"
               "aws_session_token = t3\n");
  WriteAwsFile("config", "[profile other]\nregion = eu-west-9\nendpoint_url = http://other:1\n");
  EXPECT_EQ(Settings({.url = "s3://bucket"}).access_key_id, "file");
  const S3Settings other = Settings({.url = "s3://bucket?profile=other"});
  EXPECT_EQ(other.access_key_id, "third");
  EXPECT_EQ(other.session_token, "t3");
  EXPECT_EQ(other.region, "eu-west-9");
  EXPECT_EQ(other.base_url, "http://other:1/bucket");
  SetKeys();
  variables_["AWS_SESSION_TOKEN"] = "token";
  const S3Settings from_variables = Settings({.url = "s3://bucket"});
  EXPECT_EQ(from_variables.access_key_id, "id");
  EXPECT_EQ(from_variables.session_token, "token");
  const S3Settings given =
      Settings({.url = "s3://bucket", .access_key_id = "mine", .secret_access_key = "x"});
  EXPECT_EQ(given.access_key_id, "mine");
  // A token belongs to its keys.
  EXPECT_EQ(given.session_token, "");
}

TEST_F(S3SettingsTest, SaysWhatIsWrong) {
  EXPECT_THAT(ErrorOf({.url = "s3://bucket"}), HasSubstr("no access key"));
  SetKeys();
  EXPECT_THAT(ErrorOf({.url = "s3://No_Bucket"}), HasSubstr("not a bucket"));
  EXPECT_THAT(ErrorOf({.url = "s3://bucket?colour=red"}), HasSubstr("\"colour\""));
  EXPECT_THAT(ErrorOf({.url = "s3://bucket?style=odd"}), HasSubstr("neither path nor virtual"));
  EXPECT_THAT(ErrorOf({.url = "s3://bucket?endpoint=ftp://x"}), HasSubstr("endpoint"));
  EXPECT_THAT(ErrorOf({.url = "s3://bucket/a/../b"}), HasSubstr(".."));
}

}  // namespace
}  // namespace litefs::archive
