// UploadBody: what to send to a server.

#pragma once

#include <cstddef>
#include <cstdint>

namespace litefs::archive {

// size bytes of memory, or of a regular file from offset on.
struct UploadBody {
  const std::byte* data = nullptr;  // or null, and fd is set
  int fd = -1;
  uint64_t offset = 0;
  uint64_t size = 0;
};

}  // namespace litefs::archive
