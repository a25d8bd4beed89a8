// Compact: several adjacent LTX files become one (docs/LTX.md section 10).  The last version of a
// page wins; pages beyond the smallest size that the database has had since are dropped, so that a
// shrink followed by growth does not bring stale pages back.  Any thread.

#pragma once

#include <span>

#include "absl/status/statusor.h"
#include "ltx/byte_stream.h"
#include "ltx/decoder.h"

namespace litefs::ltx {

// Writes the compaction of inputs, in their order, to sink.  Every input is verified to its end,
// but while sink is written: what is there after an error is worthless. Applying the result does
// the same as applying the inputs one after the other, so that pages which the database lost and
// got back without a new version are written as zeros. Fails (kInvalidArgument) if page sizes
// differ, transaction ids leave a gap, only some files have checksums, or one file's post-apply
// checksum is not the next one's pre-apply checksum; and with kDataLoss and the input's number if
// an input is defective. Memory: a page and a decoder for each input, and the page numbers.
absl::StatusOr<FileInfo> Compact(std::span<ByteSource* const> inputs, ByteSink* sink);

}  // namespace litefs::ltx
