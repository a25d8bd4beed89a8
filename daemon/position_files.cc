#include "daemon/position_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "common/log.h"
#include "common/posix_io.h"
#include "common/status_macros.h"
#include "ltx/types.h"

namespace litefs {
namespace {

constexpr std::chrono::milliseconds kGather{20};    // transactions share a write
constexpr std::chrono::milliseconds kFollow{1000};  // between two looks at the lag
constexpr int64_t kUnknownLagMs = INT32_MAX;
constexpr size_t kPositionBytes = 34;
constexpr char kPrimaryName[] = ".primary";
constexpr char kLagName[] = ".lag";

std::string PositionName(const std::string& database) { return database + "-pos"; }

// What an earlier daemon has written may be replaced; a user's file may not.
bool MayReplace(const std::string& path) {
  const absl::StatusOr<std::string> text = ReadWholeFile(path, kPositionBytes);
  if (absl::IsNotFound(text.status())) return true;
  return text.ok() && text->size() == kPositionBytes && text->back() == '\n' &&
         ltx::ParsePosition(text->substr(0, kPositionBytes - 1)).has_value();
}

absl::Status Replace(const std::string& temporary, const std::string& path,
                     const std::string& text) {
  ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile(temporary, O_WRONLY | O_CREAT | O_TRUNC, 0644));
  RETURN_IF_ERROR(WriteAt(fd.get(), std::as_bytes(std::span(text)), 0, temporary));
  return Rename(temporary, path);
}

}  // namespace

void PositionFiles::Start() { Moved(""); }

void PositionFiles::Moved(const std::string& database) {
  MutexLock lock(mu_);
  dirty_.insert(database);
  if (scheduled_) return;
  scheduled_ = true;
  parts_.server->Post([this] { parts_.server->After(kGather, [this] { WriteDirty(); }); });
}

void PositionFiles::WriteDirty() {
  std::set<std::string> dirty;
  {
    MutexLock lock(mu_);
    dirty.swap(dirty_);
    scheduled_ = false;
  }
  const bool all = dirty.contains("");
  if (all) {
    for (store::Store::Entry* entry : parts_.store().All()) WritePosition(entry);
  } else {
    for (const std::string& name : dirty) {
      store::Store::Entry* const entry = parts_.store().Find(name);
      if (entry != nullptr) WritePosition(entry);
    }
  }
  if (parts_.store().primary()) {
    if (all) {
      Remove(kPrimaryName);
      Put(kLagName, fmt::format("{:+010d}\n", 0));
    }
    return;
  }
  if (following_) return;
  following_ = true;
  FollowOn();
}

void PositionFiles::WritePosition(store::Store::Entry* entry) {
  const std::string name = PositionName(entry->database->name());
  if (entry->database->Info().deleted) return Remove(name);
  Put(name, ltx::FormatPosition(entry->database->position()) + "\n");
}

// On a replica, as long as it is one.
void PositionFiles::FollowOn() {
  following_ = !parts_.store().primary();
  if (!following_) return;
  WriteFollowing();
  parts_.server->After(kFollow, [this] { FollowOn(); });
}

void PositionFiles::WriteFollowing() {
  const Following following = parts_.following();
  if (following.primary_host.empty()) {
    Remove(kPrimaryName);
  } else {
    Put(kPrimaryName, following.primary_host + "\n");
  }
  const int64_t lag_ms =
      std::min(static_cast<int64_t>(following.lag_ms.value_or(kUnknownLagMs)), kUnknownLagMs);
  Put(kLagName, fmt::format("{:+010d}\n", lag_ms));
}

void PositionFiles::Put(const std::string& name, const std::string& text) {
  const auto last = written_.find(name);
  if (last != written_.end() && last->second == text) return;
  if (refused_.contains(name)) return;
  const std::string path = parts_.directory + "/" + name;
  const bool is_position = name != kPrimaryName && name != kLagName;
  if (last == written_.end() && is_position && !MayReplace(path)) {
    refused_.insert(name);
    LogWarn("position", path + " is somebody's file: the position is not written there");
    return;
  }
  const std::string temporary = parts_.temporary_directory + "/position";
  if (const absl::Status status = Replace(temporary, path, text); !status.ok()) {
    LogWarn("position", status.ToString());
    return;
  }
  written_[name] = text;
}

void PositionFiles::Remove(const std::string& name) {
  const std::string path = parts_.directory + "/" + name;
  const bool ours = name == kPrimaryName || written_.contains(name);
  if (ours) ::unlink(path.c_str());
  written_.erase(name);
}

}  // namespace litefs
