// The constants of the page block, shared by reader and writer (docs/LTX.md sections 4 and 5).
// On disk: never change.

#pragma once

#include <cstddef>
#include <cstdint>

namespace litefs::ltx {

inline constexpr size_t kPageHeaderBytes = 6;     // v3: be32 pgno, be16 flags
inline constexpr size_t kOldPageHeaderBytes = 4;  // v1, v2: be32 pgno
inline constexpr size_t kSizeFieldBytes = 4;      // after a page header with kPageFlagSize
inline constexpr size_t kIndexLengthBytes = 8;

// The payload is an LZ4 block, preceded by its size.  Without: an LZ4 frame.
inline constexpr uint16_t kPageFlagSize = 0x1;

}  // namespace litefs::ltx
