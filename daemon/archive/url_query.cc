#include "daemon/archive/url_query.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>

namespace litefs::archive {
namespace {

absl::Status Unknown(std::string_view url, std::string_view key,
                     std::span<const UrlSetting> settings) {
  std::string known;
  for (const UrlSetting& setting : settings) {
    known += fmt::format("{}{}", known.empty() ? "" : ", ", setting.key);
  }
  return absl::InvalidArgumentError(
      fmt::format("{}: \"{}\" is not a setting ({})", url, key, known));
}

}  // namespace

std::string PercentDecode(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const std::string digits(text.substr(std::min(i + 1, text.size()), 2));
    if (text[i] == '%' && digits.size() == 2 &&
        std::isxdigit(static_cast<unsigned char>(digits[0])) &&
        std::isxdigit(static_cast<unsigned char>(digits[1]))) {
      out += static_cast<char>(std::strtol(digits.c_str(), nullptr, 16));
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

absl::Status ApplyUrlQuery(std::string_view url, std::string_view query,
                           std::span<const UrlSetting> settings) {
  while (!query.empty()) {
    const std::string_view pair = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(pair.size() + 1, query.size()));
    const size_t equals = std::min(pair.find('='), pair.size());
    const std::string_view key = pair.substr(0, equals);
    const auto setting = std::find_if(settings.begin(), settings.end(),
                                      [key](const UrlSetting& one) { return one.key == key; });
    if (setting == settings.end()) return Unknown(url, key, settings);
    if (setting->value->empty()) {
      *setting->value = PercentDecode(pair.substr(std::min(equals + 1, pair.size())));
    }
  }
  return absl::OkStatus();
}

}  // namespace litefs::archive
