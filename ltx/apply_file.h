// Applies an LTX file to a plain database file that nobody has open: for restore and for the
// command line.  Not crash-safe and takes no locks; a live database is the daemon's business.

#pragma once

#include <string>

#include "absl/status/status.h"
#include "ltx/byte_stream.h"
#include "ltx/decoder.h"

namespace litefs::ltx {

// Applies source to the file at database_path (docs/LTX.md section 9, "Applying").  Verifies all of
// source, the database's pre-apply checksum and the post-apply checksum of what would come out
// before it writes anything; then writes, sets the size and syncs.  A snapshot replaces any content
// and creates the file; commit 0 leaves an empty file.
// Fails with kFailedPrecondition ("pre-apply: ...") if the database is not the one that the file
// goes on from, with kDataLoss ("post-apply: ...") if the result would be wrong.
absl::StatusOr<FileInfo> ApplyFile(ByteSource& source, const std::string& database_path);

// Writes the database file at database_path as a snapshot of transactions 1..txid.
absl::StatusOr<FileInfo> EncodeDatabase(const std::string& database_path, ByteSink* sink, TxId txid,
                                        int64_t timestamp_ms, bool checksums);

// The page size that the SQLite database file at path names in its header.
// kFailedPrecondition if it is no database file.
absl::StatusOr<uint32_t> ReadPageBytes(const std::string& database_path);

}  // namespace litefs::ltx
