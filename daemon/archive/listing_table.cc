#include "daemon/archive/listing_table.h"

#include <utility>

namespace litefs::archive {

void ListingTable::Set(const std::string& database, std::vector<ArchiveFile> files) {
  std::map<std::string, ArchiveFile> by_name;
  for (ArchiveFile& file : files) {
    std::string name = file.name;
    by_name.emplace(std::move(name), std::move(file));
  }
  MutexLock lock(mu_);
  files_[database] = std::move(by_name);
}

void ListingTable::Add(const ArchiveFile& file) {
  MutexLock lock(mu_);
  files_[file.database][file.name] = file;
}

void ListingTable::Remove(std::span<const ArchiveFile> files) {
  MutexLock lock(mu_);
  for (const ArchiveFile& file : files) files_[file.database].erase(file.name);
}

std::vector<ArchiveFile> ListingTable::Files(const std::string& database) const {
  MutexLock lock(mu_);
  std::vector<ArchiveFile> files;
  const auto found = files_.find(database);
  if (found == files_.end()) return files;
  files.reserve(found->second.size());
  for (const auto& [name, file] : found->second) files.push_back(file);
  return files;
}

std::vector<std::string> ListingTable::Databases() const {
  MutexLock lock(mu_);
  std::vector<std::string> names;
  for (const auto& [name, files] : files_) names.push_back(name);
  return names;
}

}  // namespace litefs::archive
