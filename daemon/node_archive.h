// NodeArchive: what a node has to do with archives, as its configuration says: a primary writes to
// them, a new replica begins with what one holds.
//
// Committed may be called from any thread, the rest from the one that made it.

#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/status.h"
#include "daemon/archive/archiver.h"
#include "daemon/config.h"
#include "daemon/store/node_directory.h"
#include "daemon/store/store.h"

namespace litefs {

class NodeArchive {
 public:
  // All must outlive this.
  NodeArchive(const Config& config, bool primary, store::NodeDirectory* node, store::Store* store)
      : config_(config), primary_(primary), node_(node), store_(store) {}

  // On a replica, before it follows: takes in the databases that it does not have from the
  // destinations with `seed`.  Blocks.  What cannot be had is logged; it comes by the stream.
  void Seed();
  // On a primary: begins to archive.
  absl::Status Start();
  // Uploads what is there, within a bound.
  void Stop();
  // Ends at once: what is not uploaded is the next primary's, or the next start's.
  void Abandon();

  // Store::Options::on_commit of a primary.
  void Committed(const std::string& database);
  // SessionServer::Options::keep_after.
  ltx::TxId KeepAfter(const std::string& database);
  // The "archive" of litefs status (docs/IPC.md).
  nlohmann::json StatusJson();

 private:
  void SeedFrom(const archive::ArchiveConfig& config);

  const Config& config_;
  const bool primary_;
  store::NodeDirectory* const node_;
  store::Store* const store_;
  std::unique_ptr<archive::Archiver> archiver_;  // null: nothing is archived
};

}  // namespace litefs
