// What an archive needs done: which files become one of the next level, when a snapshot is due,
// which files retention lets go.  Pure: a listing and a time in, a list out.
//
// Level k holds windows of policy.windows[k - 1].  A window is the transactions whose time, divided
// by its length, is the same; it is closed when a later one has begun, or its time has passed and
// nothing is to come from the level below.

#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "daemon/archive/archive_file.h"

namespace litefs::archive {

struct LevelPolicy {
  std::vector<std::chrono::milliseconds> windows = {std::chrono::seconds(30),
                                                    std::chrono::minutes(5), std::chrono::hours(1)};
  std::chrono::milliseconds snapshot_every = std::chrono::hours(24);
  // How long the files of level 0, 1, … and the snapshots are kept.  A level without an entry is
  // kept as long as snapshots.
  std::vector<std::chrono::milliseconds> retention = {
      std::chrono::hours(24), std::chrono::hours(72), std::chrono::hours(24 * 7),
      std::chrono::hours(24 * 30)};
  std::chrono::milliseconds snapshot_retention = std::chrono::hours(24 * 30);

  std::chrono::milliseconds RetentionOf(const ArchiveFile& file) const;
  std::chrono::milliseconds LongestRetention() const;
};

struct Compaction {
  int level = 0;  // of the result
  std::vector<ArchiveFile> inputs;
};

struct Due {
  std::vector<Compaction> compactions;  // of the lowest level that has any
  bool snapshot = false;
  // When to look again, if nothing is added before; nullopt: never.
  std::optional<int64_t> next_ms;
};

// files: all of one database.  unreadable: names of files that cannot be inputs.
Due WhatIsDue(std::span<const ArchiveFile> files, const LevelPolicy& policy, int64_t now_ms,
              const std::set<std::string>& unreadable = {});

// The files that may go: those that a coarser level holds too and that are older than their level's
// retention, snapshots that are too old while a newer one is old enough, what no snapshot leads to,
// and other histories older than the longest retention.  Never the newest snapshot, nor what leads
// on from it and is in no coarser file, nor what is the only way to a file that stays.
struct Expired {
  std::vector<ArchiveFile> files;
  std::optional<int64_t> next_ms;  // when the next may follow
};
Expired WhatHasExpired(std::span<const ArchiveFile> files, const LevelPolicy& policy,
                       int64_t now_ms);

}  // namespace litefs::archive
