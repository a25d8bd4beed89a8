// ListingTable: what a destination holds of each database, as its uploader and its level keeper
// know it.  Thread-safe.

#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "common/mutex.h"
#include "daemon/archive/archive_file.h"

namespace litefs::archive {

class ListingTable {
 public:
  void Set(const std::string& database, std::vector<ArchiveFile> files);
  void Add(const ArchiveFile& file);
  void Remove(std::span<const ArchiveFile> files);
  std::vector<ArchiveFile> Files(const std::string& database) const;
  std::vector<std::string> Databases() const;

 private:
  mutable Mutex mu_;
  std::map<std::string, std::map<std::string, ArchiveFile>> files_ GUARDED_BY(mu_);  // by name
};

}  // namespace litefs::archive
