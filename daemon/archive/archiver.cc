#include "daemon/archive/archiver.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <thread>

#include "common/posix_io.h"
#include "common/status_macros.h"

namespace litefs::archive {

class Archiver::StoreSource final : public ArchiveSource {
 public:
  explicit StoreSource(store::Store* store) : store_(store) {}

  std::vector<std::string> Databases() override {
    std::vector<std::string> names;
    for (const store::Store::Entry* entry : store_->All()) names.push_back(entry->database->name());
    return names;
  }
  const db::LtxLog* Log(const std::string& database) override {
    const store::Store::Entry* const entry = store_->Find(database);
    return entry == nullptr ? nullptr : &entry->database->log();
  }
  absl::StatusOr<UniqueFd> Snapshot(const std::string& database, db::LtxFileRef* file) override {
    const store::Store::Entry* const entry = store_->Find(database);
    if (entry == nullptr) return absl::NotFoundError("no database " + database);
    return entry->database->Snapshot(file);
  }

 private:
  store::Store* const store_;
};

Archiver::Archiver() = default;
Archiver::~Archiver() { Stop(std::chrono::milliseconds(0)); }

absl::StatusOr<std::unique_ptr<Archiver>> Archiver::Open(Options options) {
  std::unique_ptr<Archiver> archiver(new Archiver());
  archiver->source_ = std::make_unique<StoreSource>(options.store);
  RETURN_IF_ERROR(MakeDirectory(options.directory, 0700));
  for (const ArchiveConfig& config : options.destinations) {
    absl::StatusOr<std::unique_ptr<Destination>> destination =
        Destination::Open({.config = config,
                           .source = archiver->source_.get(),
                           .spool_directory = options.directory + "/" + config.name,
                           .node_id = options.node_id,
                           .clock = options.clock});
    if (!destination.ok()) {
      return absl::Status(
          destination.status().code(),
          fmt::format("archive {}: {}", config.name, std::string(destination.status().message())));
    }
    archiver->destinations_.push_back(*std::move(destination));
  }
  return archiver;
}

void Archiver::Start() {
  for (const auto& destination : destinations_) destination->Start();
}

void Archiver::Stop(std::chrono::milliseconds limit) {
  std::vector<std::thread> threads;
  for (const auto& destination : destinations_) {
    threads.emplace_back([&destination, limit] { destination->Stop(limit); });
  }
  for (std::thread& thread : threads) thread.join();
}

void Archiver::Committed(const std::string& database) {
  for (const auto& destination : destinations_) destination->Committed(database);
}

ltx::TxId Archiver::KeepAfter(const std::string& database) {
  ltx::TxId keep_after = std::numeric_limits<ltx::TxId>::max();
  for (const auto& destination : destinations_) {
    keep_after = std::min(keep_after, destination->KeepAfter(database));
  }
  return keep_after;
}

std::vector<DestinationStatus> Archiver::Status() {
  std::vector<DestinationStatus> status;
  for (const auto& destination : destinations_) status.push_back(destination->Status());
  return status;
}

}  // namespace litefs::archive
