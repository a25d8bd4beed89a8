#include "daemon/archive/s3_xml.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace litefs::archive {
namespace {

using testing::HasSubstr;

TEST(S3Xml, ReadsAListing) {
  const auto page = ParseListPage(
      R"(<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
         <IsTruncated>true</IsTruncated>
         <Contents><Key>a &amp; b</Key><LastModified>2026-11-25T18:30:00.120Z</LastModified>
           <Size>17</Size></Contents>
         <Contents><Key> </Key><LastModified>1970-01-01T00:00:01Z</LastModified><Size>0</Size>
         </Contents></ListBucketResult>)");
  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_TRUE(page->truncated);
  ASSERT_EQ(page->objects.size(), 2U);
  EXPECT_EQ(page->objects[0].key, "a & b");
  EXPECT_EQ(page->objects[0].size, 17U);
  EXPECT_EQ(page->objects[0].modified_ms, 1795631400120);
  EXPECT_EQ(page->objects[1].key, " ");
  EXPECT_EQ(page->objects[1].modified_ms, 1000);
}

TEST(S3Xml, RefusesWhatIsNoListing) {
  for (const char* text :
       {"", "hello", "<html><body>503</body></html>", "<ListBucketResult>",
        "<ListBucketResult><Contents><Key>a</Key><Size>-1</Size>"
        "<LastModified>2026-11-25T18:30:00Z</LastModified></Contents></ListBucketResult>",
        "<ListBucketResult><Contents><Key>a</Key><Size>1</Size>"
        "<LastModified>yesterday</LastModified></Contents></ListBucketResult>",
        "<Error><Code>SlowDown</Code></Error>"}) {
    EXPECT_TRUE(absl::IsDataLoss(ParseListPage(text).status())) << text;
  }
}

TEST(S3Xml, FindsTheErrorInABody) {
  const S3Error error =
      ParseS3Error("<Error><Code>NoSuchKey</Code><Message>it is not</Message></Error>");
  EXPECT_EQ(error.code, "NoSuchKey");
  EXPECT_EQ(error.message, "it is not");
  EXPECT_EQ(ParseS3Error("<html>Bad gateway</html>").code, "");
  EXPECT_EQ(ParseS3Error("not xml").code, "");
}

TEST(S3Xml, TellsWhatWasNotDeleted) {
  const auto failures = ParseDeleteResult(
      "<DeleteResult><Error><Key>a</Key><Code>NoSuchKey</Code></Error>"
      "<Error><Key>b</Key><Code>AccessDenied</Code></Error></DeleteResult>");
  ASSERT_TRUE(failures.ok()) << failures.status();
  ASSERT_EQ(failures->size(), 1U);
  EXPECT_EQ((*failures)[0].key, "b");
  EXPECT_EQ((*failures)[0].error.code, "AccessDenied");
}

TEST(S3Xml, WritesWhatItIsAsked) {
  const std::vector<std::string> keys = {"a<b>&\"c\""};
  EXPECT_THAT(FormatDelete(keys), HasSubstr("<Key>a&lt;b&gt;&amp;\"c\"</Key>"));
  const std::vector<std::string> etags = {"\"x\"", "\"y\""};
  EXPECT_THAT(FormatCompleteUpload(etags),
              HasSubstr("<PartNumber>2</PartNumber><ETag>\"y\"</ETag>"));
}

}  // namespace
}  // namespace litefs::archive
