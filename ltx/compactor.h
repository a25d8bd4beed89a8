// Compact: several adjacent LTX files become one (docs/LTX.md section 10).  The last version of a
// page wins; pages beyond the smallest size that the database has had since are dropped, so that a
// shrink followed by growth does not bring stale pages back.  Any thread.

#pragma once

#include <span>

#include "absl/status/statusor.h"
#include "ltx/byte_stream.h"
#include "ltx/decoder.h"

namespace litefs::ltx {

// Writes the compaction of inputs, in their order, to sink.  Every input is verified to its end.
// Fails (kInvalidArgument) if page sizes differ, transaction ids leave a gap, only some files have
// checksums, or one file's post-apply checksum is not the next one's pre-apply checksum.
// Memory: the page numbers of the inputs, not their pages.
absl::StatusOr<FileInfo> Compact(std::span<ByteSource* const> inputs, ByteSink* sink);

}  // namespace litefs::ltx
