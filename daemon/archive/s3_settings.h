// What S3Store needs to know, from the options, the environment and the files
// of the AWS tools.

#pragma once

#include <functional>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "daemon/archive/object_store.h"

namespace litefs::archive {

struct S3Settings {
  std::string bucket;
  std::string prefix;    // of every key: empty, or ends in '/'
  std::string base_url;  // scheme://host[:port][/bucket], to which "/key" is appended
  std::string region;
  std::string access_key_id;
  std::string secret_access_key;
  std::string session_token;
  std::string ca_file;  // PEM; empty: the system's
};

// Looks a variable up; nullopt if it is not set.
using Variables = std::function<std::optional<std::string>(const std::string& name)>;
std::optional<std::string> ProcessVariables(const std::string& name);

// kInvalidArgument for a URL or setting that is none, kFailedPrecondition if no
// key is found.
absl::StatusOr<S3Settings> ResolveS3Settings(const StoreOptions& options,
                                             const Variables& variables = ProcessVariables);

// The value of a key in a section of an ini file as the AWS tools write it; ""
// if it is not there.
std::string FindIniValue(std::string_view text, std::string_view section, std::string_view key);

}  // namespace litefs::archive
