#include "daemon/archive/spool.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <set>

#include "common/posix_io.h"
#include "common/status_macros.h"

namespace litefs::archive {
namespace {

// Level and name; without .age, for the copy is not encrypted.
std::string LocalName(ArchiveFile file) {
  file.encrypted = false;
  std::string name = FormatArchiveName(file);
  const size_t slash = name.rfind('/');
  return fmt::format("{}-{}", file.level, name.substr(slash + 1));
}

}  // namespace

absl::StatusOr<Spool> Spool::Open(const std::string& directory) {
  RETURN_IF_ERROR(MakeDirectory(directory, 0700));
  ASSIGN_OR_RETURN(const std::vector<std::string> databases, ListDirectory(directory));
  for (const std::string& database : databases) {
    const auto names = ListDirectory(directory + "/" + database);
    if (!names.ok()) continue;
    for (const std::string& name : *names) {
      if (name.ends_with(".tmp"))
        ::unlink(fmt::format("{}/{}/{}", directory, database, name).c_str());
    }
  }
  return Spool(directory);
}

absl::StatusOr<std::string> Spool::TemporaryPath(const std::string& database,
                                                 const char* kind) const {
  RETURN_IF_ERROR(MakeDirectory(directory_ + "/" + database, 0700));
  return fmt::format("{}/{}/{}.tmp", directory_, database, kind);
}

std::string Spool::PathOf(const ArchiveFile& file) const {
  return fmt::format("{}/{}/{}", directory_, file.database, LocalName(file));
}

absl::Status Spool::Keep(const std::string& temporary, const ArchiveFile& file) const {
  return Rename(temporary, PathOf(file));
}

absl::StatusOr<UniqueFd> Spool::Open(const ArchiveFile& file) const {
  return OpenFile(PathOf(file), O_RDONLY);
}

void Spool::Drop(const ArchiveFile& file) const { ::unlink(PathOf(file).c_str()); }

void Spool::DropOthers(const std::string& database, const std::vector<ArchiveFile>& keep) const {
  std::set<std::string> kept;
  for (const ArchiveFile& file : keep) kept.insert(LocalName(file));
  const std::string directory = directory_ + "/" + database;
  const auto names = ListDirectory(directory);
  if (!names.ok()) return;
  for (const std::string& name : *names) {
    if (name.find(".ltx") == std::string::npos || kept.contains(name)) continue;
    ::unlink((directory + "/" + name).c_str());
  }
}

}  // namespace litefs::archive
