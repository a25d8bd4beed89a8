// The settings of the HTTP proxy: proxy.addr, .target, .db, .passthrough, .advertise, .wait.  A
// setter returns what is wrong with the value, or "".  No state; any thread.

#pragma once

#include <optional>
#include <string>

#include "daemon/config.h"
#include "daemon/config_check.h"
#include "daemon/config_values.h"

namespace litefs {

Problem SetProxyAddr(const std::string& value, ProxyConfig* proxy);
Problem SetProxyTarget(const std::string& value, ProxyConfig* proxy);
Problem SetProxyDatabase(const std::string& value, ProxyConfig* proxy);
Problem SetProxyPassthrough(const Values& values, ProxyConfig* proxy);
Problem SetProxyAdvertise(const std::string& value, ProxyConfig* proxy);
Problem SetProxyWait(const std::string& value, ProxyConfig* proxy);

// What its settings and the others say together.
std::optional<ConfigConflict> CheckProxy(const Config& config, const IsGiven& is_given);

}  // namespace litefs
