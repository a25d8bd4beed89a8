// JSON as text that is always valid.  File names are bytes; what is not UTF-8 in them becomes
// U+FFFD, where nlohmann's own default throws.

#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace litefs {

template <typename Json>
std::string JsonText(const Json& json, int indent = -1) {
  return json.dump(indent, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

}  // namespace litefs
