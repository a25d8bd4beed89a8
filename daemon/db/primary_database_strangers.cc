// How a primary's database finds out that a program without the shim has changed it
// (docs/CAPTURE.md).

#include <sys/stat.h>

#include <algorithm>

#include "common/clock.h"
#include "common/status_macros.h"
#include "daemon/db/primary_database.h"
#include "daemon/sqlite/file_lock.h"

namespace litefs::db {
namespace {

// How often a look at page 1 is repeated when it changes meanwhile.
constexpr int kLookRounds = 3;
// How long ago the last change must be for the next one to have another time.
constexpr int64_t kSettledMs = 100;

}  // namespace

// The files, if all that is in them is captured; nullopt if there is anything to look for.
std::optional<PrimaryDatabase::Sight> PrimaryDatabase::See() {
  const bool known = chain_->table_valid() && !replaced_ && absent_since_.count() == 0 &&
                     file_.is_open() && chain_->log().tip().txid != 0;
  if (!known || pending_.has_value() || wal_retry_ || !suspects_.empty()) return std::nullopt;
  struct stat st;
  if (::stat(options_.path.c_str(), &st) != 0 || st.st_ino != file_.inode()) return std::nullopt;
  const auto ns = [](const timespec& time) {
    return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
  };
  // Without an app under the shim, whoever changed it was a stranger.
  if (inodes_.empty() && ns(st.st_mtim) != captured_mtime_ns_) return std::nullopt;
  Sight sight;
  sight.size = static_cast<uint64_t>(st.st_size);
  sight.file_changed_ns = ns(st.st_ctim);
  if (!wal_->Stamp(&sight.log)) return std::nullopt;
  sight.changed_ns = std::max(sight.file_changed_ns, sight.log.changed_ns);
  return sight;
}

bool PrimaryDatabase::IsAsLastSeen() {
  MutexLock lock(mu_);
  return seen_.has_value() && See() == seen_;
}

// Takes no lock: an app without a busy handler must not find its commit refused because of us.
// Content tells instead.  What a session has committed when page 1 is read, its app has sent
// before; so page 1 must be in the table once that is served, or it is a stranger's, or it moves
// on.
PrimaryDatabase::Look PrimaryDatabase::LookForStrangers(bool has_sessions,
                                                        const std::function<void()>& serve) {
  std::optional<Sight> sight;
  {
    MutexLock lock(mu_);
    seen_.reset();
    sight = See();
  }
  // A file that is written again within its clock's tick looks the same.
  const int64_t settled_ns = (SystemClock().WallMs() - kSettledMs) * 1'000'000;
  for (int round = 0; round < kLookRounds; ++round) {
    absl::StatusOr<ltx::Checksum> before = FileChecksumOfPage1();
    serve();
    MutexLock lock(mu_);
    if (pending_.has_value()) return {};  // it will be compared with its outcome
    if (absent_since_.count() != 0) return LookAtAbsentFile();
    absl::Status status = before.status();
    if (status.ok()) status = CaptureLocked();
    if (!status.ok()) {
      if (!absl::IsNotFound(status)) SetError(status);
      return {};
    }
    if (MatchesPage1()) {
      const absl::StatusOr<int64_t> modified_ns = file_.ModifiedNs();
      if (!has_sessions && modified_ns.ok() && *modified_ns != captured_mtime_ns_) {
        suspects_.AddEverything();
      } else if (sight.has_value() && sight->changed_ns < settled_ns) {
        seen_ = sight;
      }
      return {};
    }
    const absl::StatusOr<ltx::Checksum> now = FileChecksumOfPage1Locked();
    if (!now.ok() || *now != *before) continue;
    if (const int holder = sqlite::ExclusiveHolder(file_.fd()); holder != 0) {
      return {.locked_by = holder};
    }
    // An app that has let go of its lock meanwhile has handed its pages over before.
    if (!rings_.empty()) {
      (void)CaptureLocked();  // the database keeps and reports its error
      const absl::StatusOr<ltx::Checksum> last = FileChecksumOfPage1Locked();
      if (MatchesPage1() || !last.ok() || *last != *before) continue;
    }
    suspects_.AddEverything();
    return {};
  }
  return {.again = true};
}

}  // namespace litefs::db
