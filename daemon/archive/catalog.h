// Catalog: what an archive holds, from a listing alone.  Any thread.

#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "daemon/archive/archive_file.h"
#include "daemon/archive/object_store.h"

namespace litefs::archive {

struct DatabaseListing {
  std::vector<ArchiveFile> files;
  uint32_t epoch = 0;  // the highest that is claimed; 0: none
};

// By name; a Litestream archive of one database has the empty name.
using Catalog = std::map<std::string, DatabaseListing>;

inline constexpr size_t kMaxArchiveFiles = 2'000'000;

// Lists one database, or all if database is empty.  Objects of other names are passed over.
// kOutOfRange: more than kMaxArchiveFiles.
absl::StatusOr<Catalog> ReadCatalog(ObjectStore& store, std::string_view database);

// The listing of the one database that is meant: database, or the only one there is if that is
// empty.  kNotFound, naming those there are.
absl::StatusOr<DatabaseListing> ReadListing(ObjectStore& store, std::string* database);

}  // namespace litefs::archive
