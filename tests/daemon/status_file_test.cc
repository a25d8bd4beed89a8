// StatusFile: whether a daemon serves is to be seen in the page, however it ended.

#include "daemon/session/status_file.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "tests/support/replica_support.h"

namespace litefs::session {
namespace {

class StatusFileTest : public testing::Test {
 protected:
  std::unique_ptr<StatusFile> Open() {
    auto file = StatusFile::Open(directory_.path() + "/status");
    EXPECT_TRUE(file.ok()) << file.status();
    return *std::move(file);
  }
  test::TemporaryDirectory directory_;
};

TEST_F(StatusFileTest, SaysWhetherSomebodyServes) {
  const auto daemon = Open(), app = Open();
  EXPECT_FALSE(ipc::IsServing(app->status()));
  daemon->StartServing();
  EXPECT_TRUE(ipc::IsServing(app->status()));
  daemon->StopServing();
  EXPECT_FALSE(ipc::IsServing(app->status()));
  daemon->StartServing();
  EXPECT_TRUE(ipc::IsServing(app->status()));
  daemon->StopServing();
}

TEST_F(StatusFileTest, AThreadThatEndedDoesNotServe) {
  const auto daemon = Open();
  std::thread([&] { daemon->StartServing(); }).join();
  EXPECT_FALSE(ipc::IsServing(daemon->status()));
}

TEST_F(StatusFileTest, NorDoesAKilledProcess) {
  const auto app = Open();
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const auto daemon = Open();
    daemon->StartServing();
    if (::write(ready[1], "x", 1) != 1) ::_exit(1);
    for (;;) ::pause();
  }
  char byte;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  EXPECT_TRUE(ipc::IsServing(app->status()));
  ASSERT_EQ(::kill(child, SIGKILL), 0);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_FALSE(ipc::IsServing(app->status()));
  const auto next = Open();
  next->StartServing();
  EXPECT_TRUE(ipc::IsServing(app->status()));
  next->StopServing();
  ::close(ready[0]);
  ::close(ready[1]);
}

}  // namespace
}  // namespace litefs::session
