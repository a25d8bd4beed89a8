// Whole reads and writes, durable renames and the like, with errors that name the file.
// EINTR is retried.  Blocking; any thread.  For the daemon and tests, not the shim.
//
// An errno becomes: ENOENT kNotFound, EEXIST kAlreadyExists, ENOSPC/EDQUOT kResourceExhausted,
// EACCES/EPERM/EROFS kPermissionDenied, EAGAIN kUnavailable, all else kUnknown.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/unique_fd.h"

namespace litefs {

// "context: No space left on device", with the code of the table above.
absl::Status ErrnoStatus(std::string_view context, int error);

// open(2) with O_CLOEXEC added.
absl::StatusOr<UniqueFd> OpenFile(const std::string& path, int flags, unsigned mode = 0644);

// Reads up to out.size() bytes at offset; fewer only at the end of the file.
absl::StatusOr<size_t> ReadAt(int fd, std::span<std::byte> out, uint64_t offset,
                              std::string_view name);
// Reads exactly out.size() bytes; kOutOfRange if the file ends before.
absl::Status ReadExactAt(int fd, std::span<std::byte> out, uint64_t offset, std::string_view name);
absl::Status WriteAt(int fd, std::span<const std::byte> data, uint64_t offset,
                     std::string_view name);

absl::StatusOr<uint64_t> FileSize(int fd, std::string_view name);
absl::Status SyncData(int fd, std::string_view name);  // fdatasync
absl::Status SyncDirectory(const std::string& path);   // makes renames and unlinks in it durable
absl::Status Rename(const std::string& from, const std::string& to);
absl::Status MakeDirectory(const std::string& path, unsigned mode = 0755);  // existing is OK
// The names in a directory, without "." and "..", unsorted.
absl::StatusOr<std::vector<std::string>> ListDirectory(const std::string& path);
// The whole of a file, at most max_bytes (kOutOfRange if it is larger).
absl::StatusOr<std::string> ReadWholeFile(const std::string& path, size_t max_bytes);
// Writes path by way of path.tmp and a rename; durable on return.
absl::Status WriteWholeFile(const std::string& path, std::string_view data);

}  // namespace litefs
