// The version that `litefs --version` prints and the daemon reports.

#pragma once

namespace litefs {

inline constexpr char kVersion[] = "0.1.0";

}  // namespace litefs
