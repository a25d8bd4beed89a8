#include <fmt/format.h>

#include "daemon/config.h"

namespace litefs {

std::string ProxyConfig::url() const {
  if (host.empty()) return "";
  return advertise.empty() ? fmt::format("http://{}:{}", host, port) : advertise;
}

}  // namespace litefs
