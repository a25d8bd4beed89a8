#include "daemon/archive/catalog.h"

#include <fmt/format.h>

#include "common/status_macros.h"

namespace litefs::archive {

absl::StatusOr<Catalog> ReadCatalog(ObjectStore& store, std::string_view database) {
  Catalog catalog;
  size_t count = 0;
  const std::string prefix = database.empty() ? "" : std::string(database) + "/";
  RETURN_IF_ERROR(store.List(prefix, "", [&](const ObjectInfo& object) {
    if (++count > kMaxArchiveFiles) return false;
    if (const auto claim = ParseEpochName(object.name)) {
      uint32_t& epoch = catalog[claim->database].epoch;
      epoch = std::max(epoch, claim->epoch);
      return true;
    }
    auto file = ParseArchiveName(object.name);
    if (!file) {
      file = ParseLitestreamName(object.name);
      if (file) file->timestamp_ms = object.modified_ms;
    }
    if (!file) return true;
    file->size_bytes = object.size;
    catalog[file->database].files.push_back(*std::move(file));
    return true;
  }));
  if (count > kMaxArchiveFiles) {
    return absl::OutOfRangeError(
        fmt::format("{}: more than {} objects", store.Describe(), kMaxArchiveFiles));
  }
  return catalog;
}

absl::StatusOr<DatabaseListing> ReadListing(ObjectStore& store, std::string* database) {
  ASSIGN_OR_RETURN(Catalog catalog, ReadCatalog(store, *database));
  if (database->empty() && catalog.size() == 1) {
    *database = catalog.begin()->first;
    return std::move(catalog.begin()->second);
  }
  if (const auto found = catalog.find(*database);
      found != catalog.end() && (catalog.size() == 1 || !database->empty())) {
    return std::move(found->second);
  }
  if (!database->empty()) {
    return absl::NotFoundError(fmt::format("{} has no database {}", store.Describe(), *database));
  }
  if (catalog.empty()) {
    return absl::NotFoundError(fmt::format("{} holds no archive", store.Describe()));
  }
  std::string names;
  for (const auto& [name, listing] : catalog) names += " " + name;
  return absl::NotFoundError(
      fmt::format("{} holds several databases; --database says which:{}", store.Describe(), names));
}

}  // namespace litefs::archive
