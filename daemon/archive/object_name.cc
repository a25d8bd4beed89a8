#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "common/status_macros.h"
#include "daemon/archive/object_store.h"

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

}  // namespace litefs::archive
