#include "daemon/archive/level_plan.h"

#include <algorithm>

#include "daemon/archive/restore_plan.h"

namespace litefs::archive {
namespace {

// A window whose time has passed waits this long for the files that are on their way.
constexpr int64_t kGraceMs = 2000;
// More inputs than this are left to the next compaction: each costs a decoder.
constexpr size_t kMaxInputs = 256;

void Earlier(std::optional<int64_t>* at, int64_t candidate) {
  if (!*at || candidate < **at) *at = candidate;
}

std::vector<ArchiveFile> DeltasOf(std::span<const ArchiveFile> line, int level) {
  std::vector<ArchiveFile> out;
  for (const ArchiveFile& file : line) {
    if (file.level == level && !file.is_snapshot()) out.push_back(file);
  }
  return out;
}

bool FollowsOn(const ArchiveFile& a, const ArchiveFile& b) {
  return b.min_txid == a.max_txid + 1 && b.before == a.after;
}

// Whether what lies below level up to tip has all arrived at it.
bool IsCaughtUp(std::span<const ArchiveFile> files, const ArchiveFile& tip) {
  return !files.empty() && files.back().max_txid == tip.max_txid;
}

// The compactions from level - 1 to level.
void PlanLevel(std::span<const ArchiveFile> line, int level, int64_t window_ms, int64_t now_ms,
               const std::set<std::string>& unreadable, Due* due) {
  std::vector<ArchiveFile> below = DeltasOf(line, level - 1);
  const std::vector<ArchiveFile> done = DeltasOf(line, level);
  const ltx::TxId done_txid = done.empty() ? 0 : done.back().max_txid;
  std::erase_if(below, [&](const ArchiveFile& file) {
    return file.min_txid <= done_txid || unreadable.contains(file.name);
  });
  // What is below level - 1 and not in it yet can still come into the last window.
  const bool complete = level == 1 || IsCaughtUp(DeltasOf(line, level - 1), line.back());
  for (size_t i = 0; i < below.size();) {
    const int64_t window = below[i].timestamp_ms / window_ms;
    Compaction compaction{.level = level, .inputs = {below[i]}};
    size_t next = i + 1;
    while (next < below.size() && FollowsOn(below[next - 1], below[next]) &&
           below[next].timestamp_ms / window_ms == window && next - i < kMaxInputs) {
      compaction.inputs.push_back(below[next++]);
    }
    const int64_t closes_ms = (window + 1) * window_ms + kGraceMs;
    if (next < below.size() || (complete && now_ms >= closes_ms)) {
      due->compactions.push_back(std::move(compaction));
    } else if (complete) {
      Earlier(&due->next_ms, closes_ms);
    }
    i = next;
  }
}

// By age alone, without regard to what the files lead to.
Expired PastRetention(std::span<const ArchiveFile> files, const LevelPolicy& policy,
                      int64_t now_ms) {
  Expired expired;
  const std::vector<ArchiveFile> line = FilesOnLine(files);
  std::set<std::string> on_line;
  std::vector<ArchiveFile> snapshots;
  for (const ArchiveFile& file : line) {
    on_line.insert(file.name);
    if (file.is_snapshot()) snapshots.push_back(file);
  }
  const auto is_old = [&](const ArchiveFile& file, std::chrono::milliseconds age) {
    const int64_t at = file.timestamp_ms + age.count();
    if (at <= now_ms) return true;
    Earlier(&expired.next_ms, at);
    return false;
  };
  // The oldest snapshot that stays: the last that is old enough for all that is promised.
  size_t first_kept = 0;
  for (size_t i = 0; i < snapshots.size(); ++i) {
    if (is_old(snapshots[i], policy.snapshot_retention)) first_kept = i;
  }
  const ltx::TxId floor = snapshots.empty() ? 0 : snapshots[first_kept].max_txid;
  const ltx::TxId newest = snapshots.empty() ? 0 : snapshots.back().max_txid;
  for (const ArchiveFile& file : files) {
    if (!on_line.contains(file.name)) {
      if (is_old(file, policy.LongestRetention())) expired.files.push_back(file);
      continue;
    }
    if (file.is_snapshot()) {
      if (file.max_txid < floor) expired.files.push_back(file);
      continue;
    }
    if (!is_old(file, policy.RetentionOf(file))) continue;
    const bool covered = std::any_of(line.begin(), line.end(), [&](const ArchiveFile& other) {
      return other.level > file.level && !other.is_snapshot() && other.min_txid <= file.min_txid &&
             other.max_txid >= file.max_txid;
    });
    const bool coarsest = static_cast<size_t>(file.level) >= policy.windows.size();
    const bool superseded =
        file.max_txid <= newest && (coarsest || is_old(file, policy.LongestRetention()));
    if (file.max_txid <= floor || covered || superseded) expired.files.push_back(file);
  }
  return expired;
}

}  // namespace

std::chrono::milliseconds LevelPolicy::RetentionOf(const ArchiveFile& file) const {
  const auto level = static_cast<size_t>(file.level);
  if (file.is_snapshot() || level >= retention.size()) return snapshot_retention;
  return retention[level];
}

std::chrono::milliseconds LevelPolicy::LongestRetention() const {
  std::chrono::milliseconds longest = snapshot_retention;
  for (const auto one : retention) longest = std::max(longest, one);
  return longest;
}

Due WhatIsDue(std::span<const ArchiveFile> files, const LevelPolicy& policy, int64_t now_ms,
              const std::set<std::string>& unreadable) {
  Due due;
  const std::vector<ArchiveFile> line = FilesOnLine(files);
  if (line.empty()) return due;
  for (size_t i = 0; i < policy.windows.size() && due.compactions.empty(); ++i) {
    PlanLevel(line, static_cast<int>(i) + 1, policy.windows[i].count(), now_ms, unreadable, &due);
  }
  const ArchiveFile* snapshot = nullptr;
  for (const ArchiveFile& file : line) {
    if (file.is_snapshot()) snapshot = &file;
  }
  if (snapshot == nullptr || snapshot->max_txid < line.back().max_txid) {
    const int64_t at =
        snapshot == nullptr ? now_ms : snapshot->timestamp_ms + policy.snapshot_every.count();
    due.snapshot = now_ms >= at;
    if (!due.snapshot) Earlier(&due.next_ms, at);
  }
  return due;
}

Expired WhatHasExpired(std::span<const ArchiveFile> files, const LevelPolicy& policy,
                       int64_t now_ms) {
  Expired expired = PastRetention(files, policy, now_ms);
  std::set<std::string> names;
  for (const ArchiveFile& file : expired.files) names.insert(file.name);
  std::vector<ArchiveFile> kept;
  for (const ArchiveFile& file : files) {
    if (!names.contains(file.name)) kept.push_back(file);
  }
  // A file that is kept is worth nothing without the way to it.
  for (const ArchiveFile& file : FilesLeadingTo(kept, files)) names.erase(file.name);
  std::erase_if(expired.files, [&](const ArchiveFile& file) { return !names.contains(file.name); });
  return expired;
}

}  // namespace litefs::archive
