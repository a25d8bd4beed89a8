// Applies an LTX file to a plain database file that nobody has open: for restore and for the
// command line.  Not crash-safe and takes no locks; a live database is the daemon's business.

#pragma once

#include <string>

#include "absl/status/status.h"
#include "ltx/byte_stream.h"
#include "ltx/decoder.h"

namespace litefs::ltx {

// Applies source to the file at database_path (docs/LTX.md section 9, "Applying"): verifies all of
// source and the pre-apply checksum first, then writes, sets the size, syncs, and verifies the
// post-apply checksum.  A snapshot replaces any content; commit 0 leaves an empty file.
absl::StatusOr<FileInfo> ApplyFile(ByteSource& source, const std::string& database_path);

// Writes the database file at database_path as a snapshot of transactions 1..txid.
absl::StatusOr<FileInfo> EncodeDatabase(const std::string& database_path, ByteSink* sink, TxId txid,
                                        int64_t timestamp_ms, bool checksums);

}  // namespace litefs::ltx
