#include "tests/support/store_support.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>

#include "tests/support/replica_support.h"

namespace litefs::archive {
namespace {

const char* ServerUrl(const std::string& kind) {
  return std::getenv(kind == "s3" ? "LITEFS_TEST_S3_URL" : "LITEFS_TEST_SFTP_URL");
}

std::string FreshName() {
  static int count = 0;
  return std::to_string(getpid()) + "-" + std::to_string(++count);
}

}  // namespace

std::vector<std::string> StoresUnderTest() {
  std::vector<std::string> kinds = {"file"};
  for (const char* kind : {"s3", "sftp"}) {
    if (ServerUrl(kind) != nullptr) kinds.emplace_back(kind);
  }
  return kinds;
}

StoreOptions FreshPlace(const std::string& kind) {
  static const test::TemporaryDirectory directory;
  if (kind == "file") return {.url = directory.path() + "/" + FreshName()};
  std::string url = ServerUrl(kind);
  const size_t query = std::min(url.find('?'), url.size());
  return {.url = url.insert(query, "/" + FreshName())};
}

void OpenFresh(const std::string& kind, std::unique_ptr<ObjectStore>* store) {
  auto opened = OpenObjectStore(FreshPlace(kind));
  ASSERT_TRUE(opened.ok()) << opened.status();
  *store = *std::move(opened);
}

}  // namespace litefs::archive
