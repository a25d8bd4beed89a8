// The daemon's log: one line an event on standard error, key=value after the unit's name:
//
//   2026-11-23T22:30:00.123Z info apply db=app.db txid=000000000000002a pages=17
//
// ERROR: data or service lost, someone must act.  WARN: the operator should look.  INFO: changes
// of state (role, snapshot, peer), never per transaction.  DEBUG: for developers.
// Any thread may log.  Backed by spdlog.

#pragma once

#include <string_view>

namespace litefs {

enum class LogLevel { kDebug, kInfo, kWarn, kError };

// Lines below level are dropped.  Default kInfo.
void SetLogLevel(LogLevel level);

// Parses "debug", "info", "warn" or "error"; false for anything else.
bool ParseLogLevel(std::string_view text, LogLevel* level);

void Log(LogLevel level, std::string_view unit, std::string_view message);

inline void LogDebug(std::string_view unit, std::string_view message) {
  Log(LogLevel::kDebug, unit, message);
}
inline void LogInfo(std::string_view unit, std::string_view message) {
  Log(LogLevel::kInfo, unit, message);
}
inline void LogWarn(std::string_view unit, std::string_view message) {
  Log(LogLevel::kWarn, unit, message);
}
inline void LogError(std::string_view unit, std::string_view message) {
  Log(LogLevel::kError, unit, message);
}

}  // namespace litefs
