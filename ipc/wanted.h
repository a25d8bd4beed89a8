// The bits of BellPage::wanted.  Shim-safe.

#pragma once

#include <cstdint>

namespace litefs::ipc {

// An app waits for a write lock that the daemon holds for a replica.
inline constexpr uint32_t kWantedByApp = 1;
// The daemon waits for one that apps take again and again: they leave it a gap of some ms.
inline constexpr uint32_t kWantedByDaemon = 2;

}  // namespace litefs::ipc
