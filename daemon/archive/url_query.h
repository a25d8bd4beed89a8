// The settings that a store's URL may carry as its query: "?key=value&key=value", percent-encoded.
// No state; any thread.

#pragma once

#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace litefs::archive {

struct UrlSetting {
  std::string_view key;
  std::string* value;
};

// Sets those of the settings that query has and that are empty.  kInvalidArgument, with the URL in
// its message, for a key that is none of them.
absl::Status ApplyUrlQuery(std::string_view url, std::string_view query,
                           std::span<const UrlSetting> settings);

// "%41" to "A"; what is not so encoded stays.
std::string PercentDecode(std::string_view text);

}  // namespace litefs::archive
