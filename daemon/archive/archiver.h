// Archiver: all destinations of a node.  Thread-safe.

#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "daemon/archive/archive_config.h"
#include "daemon/archive/destination.h"
#include "daemon/store/store.h"

namespace litefs::archive {

class Archiver {
 public:
  struct Options {
    std::vector<ArchiveConfig> destinations;
    store::Store* store = nullptr;  // must outlive the archiver
    std::string directory;          // .litefs/archive; made
    uint64_t node_id = 0;
    const Clock* clock = nullptr;
  };
  static absl::StatusOr<std::unique_ptr<Archiver>> Open(Options options);
  ~Archiver();

  void Start();
  // Uploads what is there, if that takes no longer than limit; all destinations at once.
  void Stop(std::chrono::milliseconds limit);
  void Committed(const std::string& database);
  // The chain of database after this transaction must stay.
  ltx::TxId KeepAfter(const std::string& database);
  std::vector<DestinationStatus> Status();

 private:
  class StoreSource;
  Archiver();

  std::unique_ptr<StoreSource> source_;
  std::vector<std::unique_ptr<Destination>> destinations_;
};

}  // namespace litefs::archive
