// The settings of the HTTP proxy: proxy.listen, .target, .database, .passthrough, .advertise,
// .wait, .on-write.  A setter returns what is wrong with the value, or "".  No state; any thread.

#pragma once

#include <string>

#include "daemon/config.h"
#include "daemon/config_values.h"

namespace litefs {

Problem SetProxyListen(const std::string& value, ProxyConfig* proxy);
Problem SetProxyTarget(const std::string& value, ProxyConfig* proxy);
Problem SetProxyDatabase(const std::string& value, ProxyConfig* proxy);
Problem SetProxyPassthrough(const Values& values, ProxyConfig* proxy);
Problem SetProxyAdvertise(const std::string& value, ProxyConfig* proxy);
Problem SetProxyWait(const std::string& value, ProxyConfig* proxy);
Problem SetProxyOnWrite(const std::string& value, ProxyConfig* proxy);

}  // namespace litefs
