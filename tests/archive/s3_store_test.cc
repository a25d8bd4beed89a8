// What only an S3 store does, on the server that LITEFS_TEST_S3_URL names
// (tests/system/object_stores_test.py starts one); without it there are no such tests.

#include "daemon/archive/s3_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include "common/posix_io.h"
#include "tests/support/store_support.h"

namespace litefs::archive {
namespace {

std::vector<std::string> Servers() {
  return std::getenv("LITEFS_TEST_S3_URL") == nullptr ? std::vector<std::string>{}
                                                      : std::vector<std::string>{"s3"};
}

class S3Server : public testing::TestWithParam<std::string> {
 protected:
  // Large files go in parts of 5 MiB, the least S3 allows.
  void SetUp() override {
    options_ = FreshPlace("s3");
    options_.multipart_above_bytes = 1 << 20;
    options_.part_bytes = 5 << 20;
    auto store = OpenObjectStore(options_);
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
  }

  absl::Status PutLarge(const std::string& name, const std::string& data, PutOptions options) {
    const UniqueFd fd(memfd_create("from", MFD_CLOEXEC));
    EXPECT_TRUE(WriteAt(fd.get(), std::as_bytes(std::span(data)), 0, "from").ok());
    return store_->PutFile(name, fd.get(), data.size(), options);
  }

  StoreOptions options_;
  std::unique_ptr<ObjectStore> store_;
};

std::string Noise(size_t size, uint32_t seed) {
  std::string data(size, '\0');
  for (char& c : data) c = static_cast<char>((seed = seed * 1664525 + 1013904223) >> 24);
  return data;
}

TEST_P(S3Server, TakesLargeFilesInParts) {
  const std::string data = Noise((11 << 20) + 17, 1);  // three parts
  ASSERT_EQ(PutLarge("parts", data, {}), absl::OkStatus());
  const UniqueFd to(memfd_create("to", MFD_CLOEXEC));
  const auto size = store_->GetToFile("parts", to.get());
  ASSERT_TRUE(size.ok()) << size.status();
  ASSERT_EQ(*size, data.size());
  std::string back(data.size(), '\0');
  ASSERT_TRUE(ReadExactAt(to.get(), std::as_writable_bytes(std::span(back)), 0, "to").ok());
  EXPECT_TRUE(back == data);
  EXPECT_EQ(*store_->Get("parts", (5 << 20) - 3, 6), data.substr((5 << 20) - 3, 6));
}

TEST_P(S3Server, PutsNothingInPartsOverAnExistingObject) {
  ASSERT_EQ(PutLarge("once", Noise(6 << 20, 1), {.if_none_match = true}), absl::OkStatus());
  const absl::Status again = PutLarge("once", Noise(6 << 20, 2), {.if_none_match = true});
  EXPECT_TRUE(absl::IsAlreadyExists(again)) << again;
  EXPECT_EQ(*store_->Get("once", 0, 100), Noise(100, 1));
}

TEST_P(S3Server, ListsAndDeletesMoreThanAPage) {
  std::vector<std::string> names;
  for (int i = 0; i < 1003; ++i) {
    names.push_back("many/" + std::to_string(10000 + i));
    ASSERT_EQ(store_->Put(names.back(), {}, {}), absl::OkStatus());
  }
  const auto objects = store_->ListAll("many/");
  ASSERT_TRUE(objects.ok()) << objects.status();
  ASSERT_EQ(objects->size(), names.size());
  EXPECT_EQ(objects->back().name, names.back());
  EXPECT_EQ(store_->Delete(names), absl::OkStatus());
  EXPECT_TRUE(store_->ListAll("many/")->empty());
}

// Begins an upload in parts, as one that dies leaves it.
void LeaveAnUpload(const StoreOptions& options, const std::string& name) {
  const auto settings = ResolveS3Settings(options);
  ASSERT_TRUE(settings.ok()) << settings.status();
  HttpClient http({.signing_scope = "aws:amz:" + settings->region + ":s3",
                   .user = settings->access_key_id,
                   .password = settings->secret_access_key,
                   .ca_file = settings->ca_file});
  const std::byte nothing{};
  const UploadBody body{.data = &nothing, .size = 0};
  HttpRequest request;
  request.method = "POST";
  request.url = settings->base_url + "/" + settings->prefix + name + "?uploads=";
  request.headers = {
      "x-amz-content-sha256: "
      "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"};
  request.body = &body;
  const auto response = http.Perform(request);
  ASSERT_TRUE(response.ok()) << response.status();
  ASSERT_EQ(response->status, 200) << response->body;
}

TEST_P(S3Server, SweepsUploadsThatNeverFinished) {
  LeaveAnUpload(options_, "left");
  EXPECT_TRUE(store_->ListAll("")->empty());
  EXPECT_EQ(*store_->SweepUnfinished(std::chrono::hours(1)), 0U);
  EXPECT_EQ(*store_->SweepUnfinished(std::chrono::seconds(-60)), 1U);
  EXPECT_EQ(*store_->SweepUnfinished(std::chrono::seconds(-60)), 0U);
}

INSTANTIATE_TEST_SUITE_P(Servers, S3Server, testing::ValuesIn(Servers()),
                         [](const auto& test) { return test.param; });
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(S3Server);

}  // namespace
}  // namespace litefs::archive
