// liblitefs.so and LD_PRELOAD, for `litefs run`.

#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace litefs {

// The absolute path of the shim: $LITEFS_PRELOAD_LIBRARY, else liblitefs.so beside this
// executable, else in ../lib from there.  kNotFound names the places looked at.
absl::StatusOr<std::string> FindPreloadLibrary();

// An LD_PRELOAD (separated by spaces or colons) with library before the others, or without any
// liblitefs.so.
std::string WithPreloadLibrary(std::string_view ld_preload, const std::string& library);
std::string WithoutPreloadLibrary(std::string_view ld_preload);

}  // namespace litefs
