// What every ObjectStore must do, on a directory always, and on the servers that the environment
// names (tests/system/object_stores_test.py starts them).

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <atomic>
#include <thread>

#include "common/posix_io.h"
#include "tests/support/store_support.h"

namespace litefs::archive {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class StoreContract : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { OpenFresh(GetParam(), &store_); }

  absl::Status Put(std::string_view name, std::string_view data, PutOptions options = {}) {
    return store_->Put(name, std::as_bytes(std::span(data)), options);
  }
  std::vector<std::string> Names(std::string_view prefix = {}, std::string_view start_after = {}) {
    const auto objects = store_->ListAll(prefix, start_after);
    EXPECT_TRUE(objects.ok()) << objects.status();
    std::vector<std::string> names;
    if (objects.ok()) {
      for (const ObjectInfo& object : *objects) names.push_back(object.name);
    }
    return names;
  }
  std::string Read(std::string_view name, uint64_t offset = 0, uint64_t length = 1 << 30) {
    const auto data = store_->Get(name, offset, length);
    return data.ok() ? *data : data.status().ToString();
  }

  std::unique_ptr<ObjectStore> store_;
};

TEST_P(StoreContract, GivesBackWhatWasPut) {
  ASSERT_EQ(Put("db/0/a.ltx", "hello"), absl::OkStatus());
  EXPECT_EQ(Read("db/0/a.ltx"), "hello");
  ASSERT_EQ(Put("db/0/a.ltx", "other"), absl::OkStatus());
  EXPECT_EQ(Read("db/0/a.ltx"), "other");
  ASSERT_EQ(Put("empty", ""), absl::OkStatus());
  EXPECT_EQ(Read("empty"), "");
}

TEST_P(StoreContract, ReadsRanges) {
  ASSERT_EQ(Put("r", "0123456789"), absl::OkStatus());
  EXPECT_EQ(Read("r", 3, 4), "3456");
  EXPECT_EQ(Read("r", 8, 100), "89");
  EXPECT_EQ(Read("r", 10, 1), "");
  EXPECT_EQ(Read("r", 1000, 1), "");
  EXPECT_EQ(Read("r", 0, 0), "");
}

TEST_P(StoreContract, NamesWhatIsMissing) {
  const auto data = store_->Get("no/such", 0, 1);
  EXPECT_TRUE(absl::IsNotFound(data.status())) << data.status();
  EXPECT_THAT(data.status().message(), HasSubstr("no/such"));
  EXPECT_TRUE(absl::IsNotFound(store_->GetToFile("no/such", memfd_create("x", 0)).status()));
  EXPECT_EQ(store_->Delete("no/such"), absl::OkStatus());
  EXPECT_THAT(Names("no/"), IsEmpty());
}

TEST_P(StoreContract, PutsNothingOverAnExistingObject) {
  ASSERT_EQ(Put("once", "first", {.if_none_match = true}), absl::OkStatus());
  const absl::Status again = Put("once", "second", {.if_none_match = true});
  EXPECT_TRUE(absl::IsAlreadyExists(again)) << again;
  EXPECT_EQ(Read("once"), "first");
}

TEST_P(StoreContract, OfTenParallelWritersOneWins) {
  std::atomic<int> won = 0;
  std::atomic<int> refused = 0;
  std::vector<std::thread> writers;
  for (int i = 0; i < 10; ++i) {
    writers.emplace_back([&, i] {
      const absl::Status status = Put("race", std::to_string(i), {.if_none_match = true});
      won += status.ok() ? 1 : 0;
      refused += absl::IsAlreadyExists(status) ? 1 : 0;
      EXPECT_TRUE(status.ok() || absl::IsAlreadyExists(status)) << status;
    });
  }
  for (std::thread& writer : writers) writer.join();
  EXPECT_EQ(won, 1);
  EXPECT_EQ(refused, 9);
}

TEST_P(StoreContract, ListsInByteOrder) {
  // '-' and '.' sort before '/', so a directory is not where its bare name would be.
  for (const char* name : {"a/b", "a-c", "a.d", "a0", "b/x/y", "b/x-y", "c"}) {
    ASSERT_EQ(Put(name, name), absl::OkStatus());
  }
  EXPECT_THAT(Names(), ElementsAre("a-c", "a.d", "a/b", "a0", "b/x-y", "b/x/y", "c"));
  EXPECT_THAT(Names("a"), ElementsAre("a-c", "a.d", "a/b", "a0"));
  EXPECT_THAT(Names("a/"), ElementsAre("a/b"));
  EXPECT_THAT(Names("b/x"), ElementsAre("b/x-y", "b/x/y"));
  EXPECT_THAT(Names("", "a/b"), ElementsAre("a0", "b/x-y", "b/x/y", "c"));
  EXPECT_THAT(Names("b/", "b/x-y"), ElementsAre("b/x/y"));
  EXPECT_THAT(Names("d"), IsEmpty());
}

TEST_P(StoreContract, EndsAListingWhenTold) {
  for (const char* name : {"l/1", "l/2", "l/3"}) ASSERT_EQ(Put(name, ""), absl::OkStatus());
  std::vector<std::string> seen;
  EXPECT_EQ(store_->List("l/", "",
                         [&seen](const ObjectInfo& object) {
                           seen.push_back(object.name);
                           return seen.size() < 2;
                         }),
            absl::OkStatus());
  EXPECT_THAT(seen, ElementsAre("l/1", "l/2"));
  EXPECT_TRUE(absl::IsOutOfRange(store_->ListAll("l/", "", 2).status()));
}

TEST_P(StoreContract, ListsSizesAndTimes) {
  ASSERT_EQ(Put("sized", "12345"), absl::OkStatus());
  const auto objects = store_->ListAll("sized");
  ASSERT_TRUE(objects.ok()) << objects.status();
  ASSERT_EQ(objects->size(), 1U);
  EXPECT_EQ((*objects)[0].size, 5U);
  if (GetParam() != "sftp") {
    EXPECT_NEAR(static_cast<double>((*objects)[0].modified_ms), 1000.0 * time(nullptr), 60'000);
  }
}

TEST_P(StoreContract, TakesOddNames) {
  std::vector<std::string> names = {"odd/a b+c",      "odd/x&y=z", "odd/100%", "odd/\xc3\xbc",
                                    "odd/~!()@:,;'$", "odd/#?",    "odd/<>\"", "odd/[]{}^`|",
                                    "odd/\\",         "odd/*"};
  for (const std::string& name : names) {
    ASSERT_EQ(Put(name, name), absl::OkStatus()) << name;
    EXPECT_EQ(Read(name), name);
    EXPECT_THAT(Names(name), ElementsAre(name));
  }
  std::sort(names.begin(), names.end());
  EXPECT_EQ(Names("odd/"), names);
  EXPECT_EQ(store_->Delete(names), absl::OkStatus());
  EXPECT_THAT(Names("odd/"), IsEmpty());
}

TEST_P(StoreContract, RefusesNamesThatAreNone) {
  const std::string long_name(201, 'x');
  for (const std::string& name :
       {std::string(), std::string("/a"), std::string("a/"), std::string("a//b"),
        std::string("../a"), std::string("a/./b"), std::string("a\nb"), std::string("a\0b", 3),
        long_name, std::string(".litefs-tmp-1"), std::string(1000, 'y')}) {
    EXPECT_TRUE(absl::IsInvalidArgument(Put(name, "x"))) << name;
    EXPECT_TRUE(absl::IsInvalidArgument(store_->Get(name, 0, 1).status())) << name;
    EXPECT_TRUE(absl::IsInvalidArgument(store_->Delete(name))) << name;
  }
}

TEST_P(StoreContract, MovesLargeFiles) {
  std::string data(3'000'001, '\0');
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(i * 7919 >> 8);
  const UniqueFd from(memfd_create("from", MFD_CLOEXEC));
  ASSERT_TRUE(WriteAt(from.get(), std::as_bytes(std::span(data)), 0, "from").ok());
  ASSERT_EQ(store_->PutFile("large", from.get(), data.size(), {}), absl::OkStatus());
  const UniqueFd to(memfd_create("to", MFD_CLOEXEC));
  const auto size = store_->GetToFile("large", to.get());
  ASSERT_TRUE(size.ok()) << size.status();
  ASSERT_EQ(*size, data.size());
  std::string back(data.size(), '\0');
  ASSERT_TRUE(ReadExactAt(to.get(), std::as_writable_bytes(std::span(back)), 0, "to").ok());
  EXPECT_EQ(back, data);
  EXPECT_EQ(Read("large", 2'999'990, 100), data.substr(2'999'990));
  EXPECT_TRUE(absl::IsOutOfRange(store_->GetAll("large", data.size() - 1).status()));
  EXPECT_FALSE(store_->PutFile("short", from.get(), data.size() + 1, {}).ok());
  EXPECT_THAT(Names("short"), IsEmpty());
  EXPECT_TRUE(
      absl::IsAlreadyExists(store_->PutFile("large", from.get(), 10, {.if_none_match = true})));
}

TEST_P(StoreContract, DeletesMany) {
  std::vector<std::string> names;
  for (int i = 0; i < 30; ++i) {
    names.push_back("d/" + std::to_string(i));
    ASSERT_EQ(Put(names.back(), "x"), absl::OkStatus());
  }
  ASSERT_EQ(Put("e", "x"), absl::OkStatus());
  names.emplace_back("d/none");
  EXPECT_EQ(store_->Delete(names), absl::OkStatus());
  EXPECT_THAT(Names(), ElementsAre("e"));
}

TEST_P(StoreContract, ReturnsCancelledWhenStopped) {
  store_->Stop();
  EXPECT_TRUE(absl::IsCancelled(Put("a", "x")));
  EXPECT_TRUE(absl::IsCancelled(store_->Get("a", 0, 1).status()));
  EXPECT_TRUE(absl::IsCancelled(store_->ListAll("").status()));
  EXPECT_TRUE(absl::IsCancelled(store_->Delete("a")));
}

// What fails is tried again: the same text each time, and it names what the user knows.
TEST(FileStore, AFullDiskIsAnErrorOfTheObject) {
  std::unique_ptr<ObjectStore> store;
  OpenFresh("file", &store);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small{.rlim_cur = 1000, .rlim_max = before.rlim_max};
  const auto handler = ::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::vector<std::byte> data(5000);
  const absl::Status first = store->Put("d/object", data, {});
  const absl::Status second = store->Put("d/object", data, {});
  ::setrlimit(RLIMIT_FSIZE, &before);
  ::signal(SIGXFSZ, handler);
  EXPECT_THAT(std::string(first.message()), HasSubstr("d/object: File too large"));
  EXPECT_EQ(first, second);
  EXPECT_THAT(*store->ListAll(""), IsEmpty());
  EXPECT_EQ(store->Put("d/object", data, {}), absl::OkStatus());
}

INSTANTIATE_TEST_SUITE_P(Stores, StoreContract, testing::ValuesIn(StoresUnderTest()),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace litefs::archive
