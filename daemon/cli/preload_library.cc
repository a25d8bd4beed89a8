#include "daemon/cli/preload_library.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

namespace litefs {
namespace {

constexpr std::string_view kLibraryName = "liblitefs.so";

}  // namespace

absl::StatusOr<std::string> FindPreloadLibrary() {
  std::error_code error;
  std::string found;
  if (const char* given = std::getenv("LITEFS_PRELOAD_LIBRARY"); given != nullptr && *given != 0) {
    found = std::filesystem::absolute(given, error).string();
    if (::access(found.c_str(), R_OK) != 0) {
      return absl::NotFoundError(fmt::format("LITEFS_PRELOAD_LIBRARY: {} cannot be read", found));
    }
  } else {
    const auto directory = std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
    const std::string beside = directory / kLibraryName;
    const std::string installed = (directory.parent_path() / "lib" / kLibraryName).string();
    found = ::access(beside.c_str(), R_OK) == 0 ? beside : installed;
    if (::access(found.c_str(), R_OK) != 0) {
      return absl::NotFoundError(fmt::format("neither {} nor {} is there ({} can name it)", beside,
                                             installed, "LITEFS_PRELOAD_LIBRARY"));
    }
  }
  if (found.find_first_of(" :") != std::string::npos) {
    return absl::NotFoundError(
        fmt::format("{}: LD_PRELOAD cannot name a path with a space or a colon", found));
  }
  return found;
}

std::string WithPreloadLibrary(std::string_view ld_preload, const std::string& library) {
  const std::string others = WithoutPreloadLibrary(ld_preload);
  return others.empty() ? library : library + ":" + others;
}

std::string WithoutPreloadLibrary(std::string_view ld_preload) {
  if (ld_preload.find(kLibraryName) == std::string_view::npos) return std::string(ld_preload);
  std::string kept;
  while (!ld_preload.empty()) {
    const size_t end = std::min(ld_preload.find_first_of(" :"), ld_preload.size());
    const std::string_view entry = ld_preload.substr(0, end);
    ld_preload.remove_prefix(std::min(end + 1, ld_preload.size()));
    if (entry.empty() || entry.substr(entry.rfind('/') + 1) == kLibraryName) continue;
    kept += (kept.empty() ? "" : ":") + std::string(entry);
  }
  return kept;
}

}  // namespace litefs
