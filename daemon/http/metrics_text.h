// The node's status as metrics for Prometheus (text exposition format 0.0.4).  Pure; any thread.

#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace litefs::http {

// status: what `litefs status --json` prints.  A number that is missing there is missing here.
std::string MetricsText(const nlohmann::json& status);

// Label values of the format: \, " and line ends are escaped.
std::string EscapeLabel(const std::string& text);

}  // namespace litefs::http
