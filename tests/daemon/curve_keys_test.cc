#include "daemon/replication/curve_keys.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <set>

#include "common/posix_io.h"

namespace litefs::replication {
namespace {

using testing::HasSubstr;

class CurveKeysTest : public testing::Test {
 protected:
  CurveKeysTest() {
    std::string pattern = testing::TempDir() + "/curve_keys_test.XXXXXX";
    dir_ = mkdtemp(pattern.data());
  }
  ~CurveKeysTest() override { std::filesystem::remove_all(dir_); }
  std::string Path() const { return dir_ + "/node.key"; }
  // A key file with this text and mode 0600.
  void Write(const std::string& text) {
    ASSERT_TRUE(WriteWholeFile(Path(), text).ok());
    ASSERT_EQ(0, ::chmod(Path().c_str(), 0600));
  }
  std::string ReadError() {
    const auto keys = ReadCurveKeys(Path());
    return keys.ok() ? "no error" : std::string(keys.status().message());
  }

  std::string dir_;
};

// The pair of CurveZMQ's documentation (zmq_curve(7)).
constexpr char kClientPublic[] = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID";
constexpr char kClientSecret[] = "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs";

TEST_F(CurveKeysTest, AreWrittenAndReadBack) {
  const auto keys = MakeCurveKeys();
  ASSERT_TRUE(keys.ok()) << keys.status();
  ASSERT_TRUE(WriteCurveKeys(Path(), *keys).ok());
  struct stat st;
  ASSERT_EQ(0, ::stat(Path().c_str(), &st));
  EXPECT_EQ(0600u, st.st_mode & 07777);
  const auto read = ReadCurveKeys(Path());
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(keys->public_key, read->public_key);
  EXPECT_EQ(keys->secret_key, read->secret_key);
}

TEST_F(CurveKeysTest, AreNeverOverwritten) {
  const auto keys = MakeCurveKeys();
  const auto others = MakeCurveKeys();
  ASSERT_TRUE(keys.ok() && others.ok());
  ASSERT_TRUE(WriteCurveKeys(Path(), *keys).ok());
  EXPECT_TRUE(absl::IsAlreadyExists(WriteCurveKeys(Path(), *others)));
  EXPECT_EQ(keys->public_key, ReadCurveKeys(Path())->public_key);
  EXPECT_EQ(1, std::distance(std::filesystem::directory_iterator(dir_), {}));
}

TEST_F(CurveKeysTest, OfAFileThatOthersCanGetAtAreRefused) {
  const auto keys = MakeCurveKeys();
  ASSERT_TRUE(keys.ok() && WriteCurveKeys(Path(), *keys).ok());
  for (const mode_t mode : {0604, 0640, 0602, 0660, 0644}) {
    ASSERT_EQ(0, ::chmod(Path().c_str(), mode));
    EXPECT_TRUE(absl::IsPermissionDenied(ReadCurveKeys(Path()).status())) << std::oct << mode;
    EXPECT_THAT(ReadError(), HasSubstr("chmod 600 " + Path()));
  }
}

TEST_F(CurveKeysTest, ThatAreNoPairAreRefused) {
  const auto keys = MakeCurveKeys();
  const auto others = MakeCurveKeys();
  ASSERT_TRUE(keys.ok() && others.ok());
  for (const std::string& text :
       {std::string(), "public-key: " + keys->public_key + "\n",
        "secret-key: " + keys->secret_key + "\n",
        "public-key: " + others->public_key + "\nsecret-key: " + keys->secret_key + "\n"}) {
    Write(text);
    EXPECT_THAT(ReadError(), HasSubstr("does not hold a public key and the secret key")) << text;
  }
  Write("-----BEGIN PRIVATE KEY-----\n");
  EXPECT_THAT(ReadError(), HasSubstr("is not a key file of litefs keygen"));
  EXPECT_TRUE(absl::IsInvalidArgument(ReadCurveKeys(dir_).status()));
}

TEST_F(CurveKeysTest, OfTheManualAreAPair) {
  Write(std::string("# by hand\n\n public-key:  ") + kClientPublic +
        "\r\nsecret-key: " + kClientSecret);
  EXPECT_EQ("no error", ReadError());
}

TEST(CurveKeys, AreToldFromOtherText) {
  EXPECT_TRUE(IsCurveKey(kClientPublic));
  EXPECT_FALSE(IsCurveKey(""));
  EXPECT_FALSE(IsCurveKey(std::string(kClientPublic, 39)));
  EXPECT_FALSE(IsCurveKey(std::string(kClientPublic) + "a"));
  EXPECT_FALSE(IsCurveKey(std::string(39, 'a') + "\""));
  EXPECT_FALSE(IsCurveKey(std::string(39, 'a') + " "));
  EXPECT_FALSE(IsCurveKey(std::string(40, '\0')));
}

TEST(CurveKeys, DifferAndGoIntoAConfiguration) {
  std::set<std::string> seen;
  for (int i = 0; i < 200; ++i) {
    const auto keys = MakeCurveKeys();
    ASSERT_TRUE(keys.ok());
    EXPECT_TRUE(IsCurveKey(keys->public_key));
    EXPECT_EQ(std::string::npos, keys->public_key.find("${"));
    EXPECT_NE('#', keys->public_key[0]);
    EXPECT_TRUE(seen.insert(keys->public_key).second);
  }
}

}  // namespace
}  // namespace litefs::replication
