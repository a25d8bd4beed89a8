// ObjectStore: where an archive lives.  Flat names to immutable bytes, as S3 has it; a directory
// and an SFTP server are made to look the same.  See docs/OBJECTS.md.
//
// Names (keys) are relative to the store's root: components of 1 to 200 bytes joined by '/', 900
// bytes at most, none of them "." or "..", none beginning with kTemporaryPrefix, no byte below 0x20
// and no 0x7f.  Anything else is kInvalidArgument, before the store is asked.
//
// All calls block, each has a deadline (StoreOptions), and any number of threads may call at once.
// Errors name the store and the object, and are one of:
//
//   kNotFound            no such object; from any call, also: no such bucket or directory
//   kAlreadyExists       if_none_match, and an object of that name is there; it is untouched
//   kUnavailable         worth another try later: refused, reset, 5xx, throttled, timed out, and it
//                        was still so after the retries of StoreOptions
//   kPermissionDenied    refused, wrong key, clock too far off: will not change by itself
//   kResourceExhausted   the disk or quota is full
//   kOutOfRange          larger than the caller allowed
//   kDataLoss            what came is not what was stored
//   kCancelled           Stop
//   kInvalidArgument, kUnimplemented, kFailedPrecondition, kUnknown    as the message says

#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace litefs::archive {

struct ObjectInfo {
  std::string name;
  uint64_t size = 0;
  int64_t modified_ms = 0;  // since the epoch, by the store's clock; 0: the store does not tell
};

struct PutOptions {
  // Fails with kAlreadyExists if the object exists, atomically: of several writers one succeeds.
  bool if_none_match = false;
};

class ObjectStore {
 public:
  // Gets one object; returns false to end the listing there.
  using Visitor = std::function<bool(const ObjectInfo&)>;

  virtual ~ObjectStore() = default;
  ObjectStore(const ObjectStore&) = delete;
  ObjectStore& operator=(const ObjectStore&) = delete;

  // Visits the finished objects whose name begins with prefix (any string; not only whole
  // components) and is above start_after, in ascending order of bytes.  What is put or deleted
  // meanwhile may be seen or not.  No object at all is OK.
  virtual absl::Status List(std::string_view prefix, std::string_view start_after,
                            const Visitor& visit) = 0;
  // The same as a vector; kOutOfRange beyond max_objects.
  absl::StatusOr<std::vector<ObjectInfo>> ListAll(std::string_view prefix,
                                                  std::string_view start_after = {},
                                                  size_t max_objects = 1'000'000);

  // length bytes from offset on; fewer where the object ends, none from its end on.
  virtual absl::StatusOr<std::string> Get(std::string_view name, uint64_t offset,
                                          uint64_t length) = 0;
  // The whole object, at most max_bytes.
  absl::StatusOr<std::string> GetAll(std::string_view name, uint64_t max_bytes);
  // Writes the whole object to fd, an empty regular file, from offset 0 on, and returns its size.
  // After an error the content of fd is undefined.
  virtual absl::StatusOr<uint64_t> GetToFile(std::string_view name, int fd) = 0;

  // Stores the object whole or not at all; on return it is as durable as the store makes things.
  virtual absl::Status Put(std::string_view name, std::span<const std::byte> data,
                           const PutOptions& options) = 0;
  // The same with the first size bytes of the regular file fd, read by offset; large files go in
  // parts.
  virtual absl::Status PutFile(std::string_view name, int fd, uint64_t size,
                               const PutOptions& options) = 0;

  // Deletes; an object that is not there counts as deleted.  After an error some may be left.
  virtual absl::Status Delete(std::span<const std::string> names) = 0;
  absl::Status Delete(const std::string& name) { return Delete(std::span(&name, 1)); }

  // Removes what uploads that never finished have left, if older than that.  No listing shows it,
  // but it takes (and in S3 costs) space.  Returns how many there were.
  virtual absl::StatusOr<size_t> SweepUnfinished(std::chrono::seconds older_than) = 0;

  // Makes pending calls, and all later ones, return kCancelled within about a second.
  virtual void Stop() = 0;

  // For messages, without secrets: "s3://bucket/prefix at https://host".
  virtual std::string Describe() const = 0;

 protected:
  ObjectStore() = default;
};

// Components of names that begin so are not objects but uploads in progress.
inline constexpr std::string_view kTemporaryPrefix = ".litefs-tmp-";

// kInvalidArgument unless name is one, by the rules on top.
absl::Status CheckObjectName(std::string_view name);

struct StoreOptions {
  // A directory (/path, or file:///path), sftp://USER@HOST/DIR?key-file=…&known-hosts-file=…, or
  // s3://BUCKET[/PREFIX].  The S3 settings below except
  // the secrets can be given as its query:
  // s3://b/p?endpoint=https://host:9000&region=eu-1&style=path.
  std::string url;

  // S3.  What is empty is looked up: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
  // AWS_SESSION_TOKEN, AWS_REGION, AWS_DEFAULT_REGION, AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL,
  // AWS_PROFILE; then
  // ~/.aws/credentials and ~/.aws/config.
  std::string endpoint = {};  // scheme://host[:port]; default https://s3.REGION.amazonaws.com
  std::string region = {};    // default us-east-1
  std::string style = {};     // "path" or "virtual" (BUCKET.host); default path with an endpoint
  std::string access_key_id = {};
  std::string secret_access_key = {};
  std::string session_token = {};
  std::string profile = {};  // default "default"
  std::string ca_file = {};  // PEM; default: the system's.  Certificates are always verified.

  // A request fails after this, and 1 s more for every 64 KiB that it moves.
  std::chrono::milliseconds request_timeout = std::chrono::seconds(30);
  // kUnavailable is tried again so often, after pauses that double from 100 ms to 5 s, with jitter.
  int max_retries = 5;
  // S3: larger files go in parts of part_bytes (more, if they would be above 10,000).
  uint64_t multipart_above_bytes = uint64_t{64} << 20;
  uint64_t part_bytes = uint64_t{16} << 20;  // 5 MiB at least, says S3
};

// Checks the options and makes the store.  Speaks to nobody yet, except that a directory's parent
// must exist: the first call tells whether the store is there.
absl::StatusOr<std::unique_ptr<ObjectStore>> OpenObjectStore(const StoreOptions& options);

}  // namespace litefs::archive
