#include "daemon/replication/peer_list.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <sstream>

#include "common/posix_io.h"
#include "daemon/replication/curve_keys.h"

namespace litefs::replication {
namespace {

constexpr size_t kMaxFileBytes = 1 << 20;
constexpr size_t kMaxNameCharacters = 64;

int64_t Nanoseconds(const timespec& time) {
  return static_cast<int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

}  // namespace

absl::StatusOr<PeerList::Names> ParsePeers(std::string_view text, const std::string& name) {
  PeerList::Names names;
  std::istringstream lines{std::string(text)};
  int number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    std::istringstream words(line);
    std::string key;
    std::string peer;
    words >> key;
    if (key.empty() || (key.starts_with('#') && key.size() != kCurveKeyCharacters)) continue;
    if (!IsCurveKey(key)) {
      return absl::InvalidArgumentError(
          fmt::format("{}:{}: a line begins with a public key, 40 characters of Z85 (litefs keygen "
                      "prints one), or with #",
                      name, number));
    }
    words >> peer;
    if (peer.empty() || peer.starts_with('#')) peer = key;
    names[key] = peer.substr(0, kMaxNameCharacters);
    if (names.size() > kMaxPeerKeys) {
      return absl::InvalidArgumentError(
          fmt::format("{}:{}: more than {} keys", name, number, kMaxPeerKeys));
    }
  }
  return names;
}

PeerList::Version PeerList::VersionOf(const std::string& path) {
  struct stat st;
  if (::stat(path.c_str(), &st) != 0) return {};
  return {.exists = true,
          .inode = st.st_ino,
          .size_bytes = st.st_size,
          .modified_ns = Nanoseconds(st.st_mtim),
          .changed_ns = Nanoseconds(st.st_ctim)};
}

absl::Status PeerList::Reload() {
  if (file_.empty()) return absl::OkStatus();
  MutexLock lock(mu_);
  const Version version = VersionOf(file_);  // before reading: what changes later is read again
  if (version_ == version) return absl::OkStatus();
  version_ = version;
  absl::StatusOr<std::string> text = ReadWholeFile(file_, kMaxFileBytes);
  absl::StatusOr<Names> names =
      text.ok() ? ParsePeers(*text, file_) : absl::StatusOr<Names>(text.status());
  Names old;
  old.swap(from_file_);
  if (names.ok()) from_file_ = *std::move(names);
  for (const auto& [key, name] : old) {
    if (!from_file_.contains(key) && !configured_.contains(key)) ++removals_;
  }
  return names.status();
}

uint64_t PeerList::removals() const {
  MutexLock lock(mu_);
  return removals_;
}

std::optional<std::string> PeerList::Find(const std::string& public_key) const {
  if (const auto found = configured_.find(public_key); found != configured_.end()) {
    return found->second;
  }
  MutexLock lock(mu_);
  const auto found = from_file_.find(public_key);
  return found == from_file_.end() ? std::nullopt : std::make_optional(found->second);
}

size_t PeerList::size() const {
  MutexLock lock(mu_);
  size_t count = configured_.size();
  for (const auto& [key, name] : from_file_) count += configured_.contains(key) ? 0 : 1;
  return count;
}

}  // namespace litefs::replication
