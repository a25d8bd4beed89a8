// The kinds of value that several keys of the configuration have.  A setter returns what is wrong
// with the value, or "".  No state; any thread.

#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/config.h"

namespace litefs {

using Problem = std::string;
using Values = std::vector<std::string>;

inline constexpr size_t kMaxIdBytes = 64;

Problem SetBool(const std::string& value, bool* out);
Problem SetDuration(const std::string& value, std::chrono::milliseconds* out);
// A name that goes into messages and logs.
Problem SetId(const std::string& value, std::string* out);
Problem SetNodeId(const std::string& value, std::string* out);
Problem SetEndpoint(const std::string& value, std::string* out);

struct Endpoint {
  std::string host;  // empty for ipc
  std::string path;  // of ipc
  uint32_t port = 0;
};

std::optional<Endpoint> ParseEndpoint(std::string_view text);
// Only by what a resolver cannot change: loopback addresses, and the name that must be one (RFC
// 6761, 6.3).
bool StaysOnThisMachine(const std::string& endpoint);

}  // namespace litefs
