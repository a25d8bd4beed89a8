// What nearly every source of the daemon includes of libraries: the Makefile compiles it once for a
// set of flags, and reads it before each source.  Nothing depends on that; what a source uses it
// includes itself.
#ifndef LITEFS_COMMON_PRECOMPILED_H_
#define LITEFS_COMMON_PRECOMPILED_H_

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#endif  // LITEFS_COMMON_PRECOMPILED_H_
