#include "daemon/replication/peer_list.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "common/posix_io.h"

namespace litefs::replication {
namespace {

using testing::HasSubstr;

const std::string kOne = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID";
const std::string kTwo = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7";

class PeerListTest : public testing::Test {
 protected:
  PeerListTest() : path_(testing::TempDir() + "/peers." + std::to_string(::getpid())) {}
  ~PeerListTest() override { ::unlink(path_.c_str()); }
  void Write(const std::string& text) { ASSERT_TRUE(WriteWholeFile(path_, text).ok()); }

  const std::string path_;
};

TEST_F(PeerListTest, HasTheConfiguredAndThoseOfTheFile) {
  Write("# comment\n\n  " + kTwo + "  berlin # rack 7\n#" + kOne + "\n");
  PeerList peers({{kOne, "paris"}}, path_);
  ASSERT_TRUE(peers.Reload().ok());
  EXPECT_EQ("paris", peers.Find(kOne));
  EXPECT_EQ("berlin", peers.Find(kTwo));
  EXPECT_EQ(std::nullopt, peers.Find(std::string(40, '0')));
  EXPECT_EQ(std::nullopt, peers.Find(""));
  EXPECT_EQ(2u, peers.size());
}

TEST_F(PeerListTest, FollowsItsFile) {
  Write(kOne + "\n");
  PeerList peers({}, path_);
  ASSERT_TRUE(peers.Reload().ok());
  EXPECT_EQ(kOne, peers.Find(kOne));
  Write(kOne + " a\n" + kTwo + " b\n");
  ASSERT_TRUE(peers.Reload().ok());
  EXPECT_EQ("b", peers.Find(kTwo));
  EXPECT_EQ(0u, peers.removals());
  Write(kTwo + " b\n");
  ASSERT_TRUE(peers.Reload().ok());
  EXPECT_EQ(std::nullopt, peers.Find(kOne));
  EXPECT_EQ(1u, peers.removals());
}

TEST_F(PeerListTest, LetsNobodyInByAFileThatItCannotRead) {
  Write(kOne + "\n");
  PeerList peers({{kTwo, "b"}}, path_);
  ASSERT_TRUE(peers.Reload().ok());
  Write(kOne + "\nnot a key\n");
  const absl::Status status = peers.Reload();
  EXPECT_THAT(std::string(status.message()),
              HasSubstr(path_ + ":2: a line begins with a public key"));
  EXPECT_EQ(std::nullopt, peers.Find(kOne));
  EXPECT_EQ("b", peers.Find(kTwo));
  ::unlink(path_.c_str());
  EXPECT_TRUE(absl::IsNotFound(peers.Reload()));
  EXPECT_TRUE(peers.Reload().ok());  // said once
}

}  // namespace
}  // namespace litefs::replication
