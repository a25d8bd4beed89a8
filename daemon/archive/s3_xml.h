// The XML documents of S3 that we read and write.  What is read comes from the
// network: sizes are bounded by the caller, and a document that is not what it
// should be is kDataLoss.  Any thread.

#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace litefs::archive {

struct S3Error {
  std::string code;  // "NoSuchKey"; empty if the document is no <Error>
  std::string message;
};
// Never fails: error bodies are also of proxies, and in HTML.
S3Error ParseS3Error(std::string_view xml);

struct S3ListPage {
  struct Object {
    std::string key;
    uint64_t size = 0;
    int64_t modified_ms = 0;
  };
  std::vector<Object> objects;
  bool truncated = false;
};
absl::StatusOr<S3ListPage> ParseListPage(std::string_view xml);

struct S3UploadsPage {
  struct Upload {
    std::string key;
    std::string id;
    int64_t started_ms = 0;
  };
  std::vector<Upload> uploads;
  bool truncated = false;
  std::string next_key_marker;
  std::string next_id_marker;
};
absl::StatusOr<S3UploadsPage> ParseUploadsPage(std::string_view xml);

// The id in the answer to a started multipart upload.
absl::StatusOr<std::string> ParseUploadId(std::string_view xml);

// What a batch delete did not delete, except what was not there anyway.
struct S3DeleteFailure {
  std::string key;
  S3Error error;
};
absl::StatusOr<std::vector<S3DeleteFailure>> ParseDeleteResult(std::string_view xml);

std::string FormatDelete(std::span<const std::string> keys);
// etags in the order of the parts, which are numbered from 1.
std::string FormatCompleteUpload(std::span<const std::string> etags);

}  // namespace litefs::archive
