#include "daemon/node_archive.h"

#include <fmt/format.h>

#include "common/clock.h"
#include "common/hex.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "daemon/archive/seeder.h"

namespace litefs {
namespace {

constexpr std::chrono::seconds kStopTimeout{10};  // for what is not uploaded yet

}  // namespace

void NodeArchive::Seed() {
  if (primary_) return;
  for (const archive::ArchiveConfig& config : config_.archives) {
    if (config.seed) SeedFrom(config);
  }
}

void NodeArchive::SeedFrom(const archive::ArchiveConfig& config) {
  const auto is_wanted = [this](const std::string& name) {
    const store::Store::Entry* const entry = store_->Find(name);
    return store_->Counts(name) &&
           (entry == nullptr || entry->replica->stored_position() == ltx::Position{});
  };
  const auto receive = [this](const std::string& name, int fd, uint64_t size) -> absl::Status {
    ASSIGN_OR_RETURN(store::Store::Entry* const entry,
                     store_->FindOrCreate(name, /*in_use=*/false));
    return entry->replica->Receive(fd, size).status();
  };
  const absl::Status status =
      archive::SeedDatabases({.config = config,
                              .temporary_directory = node_->temporary_path(),
                              .is_wanted = is_wanted,
                              .receive = receive});
  if (status.ok()) return;
  LogWarn("archive",
          fmt::format("destination={} not seeded from it: {}", config.name, status.ToString()));
}

absl::Status NodeArchive::Start() {
  if (!primary_ || config_.archives.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(archiver_,
                   archive::Archiver::Open({.destinations = config_.archives,
                                            .store = store_,
                                            .directory = node_->control_path() + "/archive",
                                            .node_id = node_->node_id(),
                                            .clock = &SystemClock()}));
  store_->SetKeepAfter([this](const std::string& name) { return KeepAfter(name); });
  archiver_->Start();
  return absl::OkStatus();
}

void NodeArchive::Stop() {
  if (archiver_ != nullptr) archiver_->Stop(kStopTimeout);
}

void NodeArchive::Abandon() {
  if (archiver_ != nullptr) archiver_->Stop(std::chrono::milliseconds(0));
  archiver_.reset();
}

void NodeArchive::Committed(const std::string& database) {
  if (archiver_ != nullptr) archiver_->Committed(database);
}

ltx::TxId NodeArchive::KeepAfter(const std::string& database) {
  return archiver_ == nullptr ? ~ltx::TxId{0} : archiver_->KeepAfter(database);
}

nlohmann::json NodeArchive::StatusJson() {
  nlohmann::json list = nlohmann::json::array();
  if (archiver_ == nullptr) return list;
  for (const archive::DestinationStatus& status : archiver_->Status()) {
    nlohmann::json databases = nlohmann::json::array();
    for (const archive::DatabaseStatus& database : status.databases) {
      databases.push_back({{"name", database.name},
                           {"txid", Hex16(database.archived_txid)},
                           {"epoch", database.epoch},
                           {"backlog_files", database.backlog_files},
                           {"backlog_bytes", database.backlog_bytes},
                           {"backlog_age_ms", database.backlog_age_ms},
                           {"error", database.error}});
    }
    list.push_back({{"name", status.name},
                    {"where", status.where},
                    {"encrypted", status.encrypted},
                    {"dialect", status.dialect},
                    {"uploaded_files", status.uploaded_files},
                    {"uploaded_bytes", status.uploaded_bytes},
                    {"failures", status.failures},
                    {"compactions", status.compactions},
                    {"last_error", status.last_error},
                    {"databases", databases}});
  }
  return list;
}

}  // namespace litefs
