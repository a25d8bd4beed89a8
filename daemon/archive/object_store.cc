#include "daemon/archive/object_store.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/status_macros.h"
#include "daemon/archive/file_store.h"
#include "daemon/archive/s3_store.h"
#include "daemon/archive/sftp_store.h"

namespace litefs::archive {

absl::StatusOr<std::vector<ObjectInfo>> ObjectStore::ListAll(std::string_view prefix,
                                                             std::string_view start_after,
                                                             size_t max_objects) {
  std::vector<ObjectInfo> objects;
  bool too_many = false;
  RETURN_IF_ERROR(List(prefix, start_after, [&](const ObjectInfo& object) {
    too_many = objects.size() == max_objects;
    if (!too_many) objects.push_back(object);
    return !too_many;
  }));
  if (too_many) {
    return absl::OutOfRangeError(
        fmt::format("{}: more than {} objects begin with \"{}\"", Describe(), max_objects, prefix));
  }
  return objects;
}

absl::StatusOr<std::string> ObjectStore::GetAll(std::string_view name, uint64_t max_bytes) {
  ASSIGN_OR_RETURN(std::string data, Get(name, 0, max_bytes + 1));
  if (data.size() > max_bytes) {
    return absl::OutOfRangeError(
        fmt::format("{}: {} is above {} bytes", Describe(), name, max_bytes));
  }
  return data;
}

absl::StatusOr<std::unique_ptr<ObjectStore>> OpenObjectStore(const StoreOptions& options) {
  std::string_view url = options.url;
  if (url.starts_with("file://")) {
    url.remove_prefix(std::string_view("file://").size());
    if (!url.starts_with('/')) {
      return absl::InvalidArgumentError(
          fmt::format("\"{}\": after file:// comes an absolute path", options.url));
    }
  }
  if (url.starts_with("s3://")) return S3Store::Open(options);
  if (url.starts_with("sftp://")) return SftpStore::Open(options);
  if (url.find("://") == std::string_view::npos && !url.empty()) {
    return FileStore::Open(std::string(url));
  }
  return absl::InvalidArgumentError(
      fmt::format("\"{}\" is not a place for an archive: write s3://BUCKET/PREFIX, "
                  "sftp://USER@HOST/DIRECTORY, a directory or file:///DIRECTORY",
                  options.url));
}

}  // namespace litefs::archive
