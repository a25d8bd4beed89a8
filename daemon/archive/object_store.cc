#include "daemon/archive/object_store.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/status_macros.h"
#include "daemon/archive/file_store.h"
#include "daemon/archive/s3_store.h"

namespace litefs::archive {
namespace {

constexpr size_t kMaxNameBytes = 900;  // S3 allows 1024, with the prefix; SFTP and files PATH_MAX
constexpr size_t kMaxComponentBytes = 200;  // a temporary name must fit in NAME_MAX too

absl::Status BadName(std::string_view name, std::string_view reason) {
  return absl::InvalidArgumentError(fmt::format("object name \"{}\": {}", name, reason));
}

absl::Status CheckComponent(std::string_view name, std::string_view component) {
  if (component.empty()) return BadName(name, "has an empty component");
  if (component == "." || component == "..") return BadName(name, "has a component . or ..");
  if (component.size() > kMaxComponentBytes) {
    return BadName(name, fmt::format("a component is above {} bytes", kMaxComponentBytes));
  }
  if (component.starts_with(kTemporaryPrefix)) {
    return BadName(name, fmt::format("{} is for unfinished uploads", kTemporaryPrefix));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckObjectName(std::string_view name) {
  if (name.size() > kMaxNameBytes) {
    return BadName(name, fmt::format("is above {} bytes", kMaxNameBytes));
  }
  if (std::any_of(name.begin(), name.end(),
                  [](unsigned char c) { return c < 0x20 || c == 0x7f; })) {
    return absl::InvalidArgumentError("an object name contains a control character");
  }
  for (size_t start = 0; start <= name.size();) {
    const size_t end = std::min(name.find('/', start), name.size());
    RETURN_IF_ERROR(CheckComponent(name, name.substr(start, end - start)));
    start = end + 1;
  }
  return absl::OkStatus();
}

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
  if (url.find("://") == std::string_view::npos && !url.empty()) {
    return FileStore::Open(std::string(url));
  }
  return absl::InvalidArgumentError(
      fmt::format("\"{}\" is not a place for an archive: write s3://BUCKET/PREFIX, a directory or "
                  "file:///DIRECTORY{}",
                  options.url,
                  url.starts_with("sftp://") ? " (of a server by SFTP: one that is mounted)" : ""));
}

}  // namespace litefs::archive
