#include "daemon/store/store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fnmatch.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <limits>
#include <set>
#include <sstream>

#include "common/log.h"
#include "common/posix_io.h"
#include "common/sqlite_format.h"
#include "common/status_macros.h"

namespace litefs::store {
namespace {

constexpr size_t kMaxNameBytes = 247;  // as ipc::kMaxDatabaseNameBytes

bool HasSqliteMagic(const std::string& path) {
  struct stat st;
  if (::stat(path.c_str(), &st) != 0 || !S_ISREG(st.st_mode)) return false;
  const absl::StatusOr<UniqueFd> fd = OpenFile(path, O_RDONLY | O_NONBLOCK);
  if (!fd.ok()) return false;
  std::array<std::byte, sqlite::kMagic.size()> magic;
  const absl::StatusOr<size_t> n = ReadAt(fd->get(), magic, 0, path);
  return n.ok() && *n == magic.size() &&
         std::string_view(reinterpret_cast<const char*>(magic.data()), magic.size()) ==
             sqlite::kMagic;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Store>> Store::Open(Options options) {
  std::unique_ptr<Store> store(new Store(std::move(options)));
  ASSIGN_OR_RETURN(const std::vector<std::string> names, store->Names());
  MutexLock lock(store->mu_);
  for (const std::string& name : names) {
    const absl::StatusOr<Entry*> entry = store->Create(name, /*in_use=*/false);
    if (!entry.ok()) {
      LogError("store", fmt::format("db={} cannot be opened, the others go on: {}", name,
                                    entry.status().ToString()));
    }
  }
  return store;
}

absl::StatusOr<std::vector<std::string>> Store::Names() const {
  std::set<std::string> names;
  ASSIGN_OR_RETURN(const std::vector<std::string> chains,
                   ListDirectory(options_.node->databases_path()));
  names.insert(chains.begin(), chains.end());
  if (options_.primary) {
    const std::string& directory = options_.node->database_directory();
    ASSIGN_OR_RETURN(const std::vector<std::string> files, ListDirectory(directory));
    for (const std::string& name : files) {
      if (Counts(name) && HasSqliteMagic(directory + "/" + name)) names.insert(name);
    }
  }
  return std::vector<std::string>(names.begin(), names.end());
}

bool Store::Counts(const std::string& name) const {
  if (name.empty() || name.size() > kMaxNameBytes || name == ".litefs" ||
      name.find('/') != std::string::npos || name.find('\0') != std::string::npos) {
    return false;
  }
  for (const std::string_view suffix :
       {sqlite::kJournalSuffix, sqlite::kWalSuffix, sqlite::kShmSuffix}) {
    if (name.ends_with(suffix)) return false;
  }
  if (name.find("-mj") != std::string::npos && name.size() >= 12 &&
      name.rfind("-mj") == name.size() - 12) {
    return false;  // a super-journal
  }
  return std::any_of(options_.globs.begin(), options_.globs.end(), [&](const std::string& glob) {
    return ::fnmatch(glob.c_str(), name.c_str(), 0) == 0;
  });
}

absl::StatusOr<Store::Entry*> Store::Create(const std::string& name, bool in_use) {
  const NodeDirectory& node = *options_.node;
  db::DatabaseOptions options{.name = name,
                              .path = node.database_directory() + "/" + name,
                              .control_directory = node.databases_path() + "/" + name,
                              .temporary_directory = node.temporary_path(),
                              .node_id = node.node_id(),
                              .clock = options_.clock,
                              .on_commit = options_.on_commit};
  auto entry = std::make_unique<Entry>();
  std::string report;
  if (options_.primary) {
    ASSIGN_OR_RETURN(auto database, db::PrimaryDatabase::Open(std::move(options), in_use, &report));
    entry->primary = database.get();
    entry->database = std::move(database);
  } else {
    ASSIGN_OR_RETURN(auto database, db::ReplicaDatabase::Open(std::move(options), &report));
    entry->replica = database.get();
    entry->database = std::move(database);
  }
  std::istringstream lines(report);
  for (std::string line; std::getline(lines, line);) LogWarn("recovery", line);
  const db::DatabaseInfo info = entry->database->Info();
  LogInfo("store", fmt::format("db={} position={} pages={}", name,
                               ltx::FormatPosition(info.position), info.size_pages));
  entry->slot = static_cast<uint32_t>(entries_.size());
  return (entries_[name] = std::move(entry)).get();
}

Store::Entry* Store::Find(const std::string& name) {
  MutexLock lock(mu_);
  const auto it = entries_.find(name);
  return it == entries_.end() ? nullptr : it->second.get();
}

absl::StatusOr<Store::Entry*> Store::FindOrCreate(const std::string& name, bool in_use) {
  if (!Counts(name)) {
    return absl::InvalidArgumentError(
        fmt::format("\"{}\" is not a database by the configuration (databases)", name));
  }
  MutexLock lock(mu_);
  const auto it = entries_.find(name);
  if (it != entries_.end()) return it->second.get();
  return Create(name, in_use);
}

std::vector<Store::Entry*> Store::All() {
  MutexLock lock(mu_);
  std::vector<Entry*> all;
  for (const auto& [name, entry] : entries_) all.push_back(entry.get());
  return all;
}

void Store::AdoptNewFiles() {
  if (!options_.primary) return;
  const std::string& directory = options_.node->database_directory();
  const absl::StatusOr<std::vector<std::string>> names = ListDirectory(directory);
  if (!names.ok()) return LogWarn("store", std::string(names.status().message()));
  for (const std::string& name : *names) {
    if (!Counts(name) || Find(name) != nullptr) continue;
    const std::string path = directory + "/" + name;
    struct stat st;
    if (::stat(path.c_str(), &st) != 0 || !S_ISREG(st.st_mode)) continue;
    const FileStamp stamp{st.st_ino,
                          int64_t{st.st_mtim.tv_sec} * 1'000'000'000 + st.st_mtim.tv_nsec};
    FileStamp& known = strangers_[name];
    if (known == stamp) continue;
    known = stamp;
    if (!HasSqliteMagic(path)) continue;
    if (const absl::StatusOr<Entry*> entry = FindOrCreate(name, /*in_use=*/false); !entry.ok()) {
      LogError("store", fmt::format("db={} cannot be opened: {}", name, entry.status().ToString()));
    }
  }
}

bool Store::Prune() {
  const int64_t oldest_ms = options_.clock->WallMs() - options_.retention_ms;
  bool pruned = false;
  for (Entry* entry : All()) {
    db::Database& database = *entry->database;
    const ltx::TxId keep =
        keep_after_ ? keep_after_(database.name()) : std::numeric_limits<ltx::TxId>::max();
    pruned |= database.Prune(oldest_ms, options_.retention_bytes, keep);
  }
  return pruned;
}

}  // namespace litefs::store
