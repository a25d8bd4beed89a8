#include "daemon/store/node_directory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <nlohmann/json.hpp>

#include "common/check.h"
#include "common/hex.h"
#include "common/json_text.h"
#include "common/posix_io.h"
#include "common/status_macros.h"

namespace litefs::store {
namespace {

uint64_t RandomId() {
  uint64_t id = 0;
  while (id == 0) CHECK(::getrandom(&id, sizeof(id), 0) == sizeof(id));
  return id;
}

}  // namespace

absl::StatusOr<std::unique_ptr<NodeDirectory>> NodeDirectory::Open(const Options& options) {
  const std::string& directory = options.database_directory;
  struct stat st;
  if (::stat(directory.c_str(), &st) != 0) return ErrnoStatus("directory " + directory, errno);
  if (!S_ISDIR(st.st_mode)) return absl::InvalidArgumentError(directory + " is not a directory");
  std::unique_ptr<NodeDirectory> node(new NodeDirectory(directory, directory + "/.litefs"));
  RETURN_IF_ERROR(MakeDirectory(node->control_));
  RETURN_IF_ERROR(MakeDirectory(node->databases_path()));
  RETURN_IF_ERROR(MakeDirectory(node->temporary_path()));
  ASSIGN_OR_RETURN(node->lock_, OpenFile(node->control_ + "/lock", O_RDWR | O_CREAT));
  if (::flock(node->lock_.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return ErrnoStatus("lock " + node->control_ + "/lock", errno);
    return absl::AlreadyExistsError("another daemon runs for " + directory);
  }
  ASSIGN_OR_RETURN(const std::vector<std::string> leftovers, ListDirectory(node->temporary_path()));
  for (const std::string& name : leftovers) {
    ::unlink((node->temporary_path() + "/" + name).c_str());  // incomplete by definition
  }
  RETURN_IF_ERROR(node->LoadIdentity(options));
  RETURN_IF_ERROR(node->LoadEpoch());
  RETURN_IF_ERROR(node->LoadRole());
  return node;
}

absl::Status NodeDirectory::LoadEpoch() {
  const std::string path = control_ + "/epoch";
  const absl::StatusOr<std::string> text = ReadWholeFile(path, 64);
  if (absl::IsNotFound(text.status())) return absl::OkStatus();
  RETURN_IF_ERROR(text.status());
  MutexLock lock(mu_);
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), epoch_);
  if (error == std::errc() && std::string_view(end) == "\n") return absl::OkStatus();
  return absl::DataLossError(fmt::format(
      "{} is damaged: write the epoch that `litefs status` shows on the other nodes into it",
      path));
}

uint64_t NodeDirectory::epoch() const {
  MutexLock lock(mu_);
  return epoch_;
}

absl::Status NodeDirectory::NoteEpoch(uint64_t epoch) {
  MutexLock lock(mu_);
  if (epoch <= epoch_) return absl::OkStatus();
  RETURN_IF_ERROR(WriteWholeFile(control_ + "/epoch", fmt::format("{}\n", epoch)));
  epoch_ = epoch;
  return absl::OkStatus();
}

absl::Status NodeDirectory::LoadRole() {
  const std::string path = control_ + "/role";
  const absl::StatusOr<std::string> text = ReadWholeFile(path, 64);
  if (absl::IsNotFound(text.status())) return absl::OkStatus();
  RETURN_IF_ERROR(text.status());
  if (*text != "primary\n" && *text != "replica\n") {
    return absl::DataLossError(fmt::format(
        "{} is damaged: write \"primary\" into it if apps wrote on this node last, else "
        "\"replica\"",
        path));
  }
  was_primary_ = *text == "primary\n";
  return absl::OkStatus();
}

absl::Status NodeDirectory::NoteRole(bool primary) {
  if (was_primary_ == primary) return absl::OkStatus();
  RETURN_IF_ERROR(WriteWholeFile(control_ + "/role", primary ? "primary\n" : "replica\n"));
  was_primary_ = primary;
  return absl::OkStatus();
}

absl::StatusOr<std::string> NodeDirectory::FoundCluster() {
  MutexLock lock(mu_);
  if (!cluster_id_.empty()) return cluster_id_;
  cluster_id_ = Hex16(RandomId());
  RETURN_IF_ERROR(SaveIdentity());
  return cluster_id_;
}

std::string NodeDirectory::cluster_id() const {
  MutexLock lock(mu_);
  return cluster_id_;
}

absl::Status NodeDirectory::LoadIdentity(const Options& options) {
  MutexLock lock(mu_);
  const absl::StatusOr<std::string> text = ReadWholeFile(control_ + "/id", 4096);
  if (!text.ok() && !absl::IsNotFound(text.status())) return text.status();
  std::string node_id;
  if (text.ok()) {
    const nlohmann::json id = nlohmann::json::parse(*text, nullptr, /*allow_exceptions=*/false);
    if (!id.is_object() || !id.contains("node_id") || !id["node_id"].is_string() ||
        !id.contains("cluster_id") || !id["cluster_id"].is_string()) {
      return absl::DataLossError(control_ +
                                 "/id is damaged; restore it, or remove it to make this "
                                 "node a new one");
    }
    node_id = id["node_id"];
    cluster_id_ = id["cluster_id"];
  }
  if (!options.node_id.empty()) node_id = options.node_id;
  if (!options.cluster_id.empty()) {
    if (!cluster_id_.empty() && cluster_id_ != options.cluster_id) {
      return absl::FailedPreconditionError(
          fmt::format("{} belongs to cluster {}, the configuration says {}", directory_,
                      cluster_id_, options.cluster_id));
    }
    cluster_id_ = options.cluster_id;
  }
  node_id_ = node_id.empty() ? RandomId() : ParseHex16(node_id).value_or(0);
  if (node_id_ == 0) {
    return absl::InvalidArgumentError(
        fmt::format("node id \"{}\" is not 16 hexadecimal digits", node_id));
  }
  if (cluster_id_.empty() && options.make_cluster_id) cluster_id_ = Hex16(RandomId());
  // Unchanged, it is not written: a full disk must not keep a daemon from its start.
  if (text.ok() && *text == IdentityText()) return absl::OkStatus();
  return SaveIdentity();
}

std::string NodeDirectory::IdentityText() const {
  return JsonText(nlohmann::json{{"node_id", Hex16(node_id_)}, {"cluster_id", cluster_id_}}) + "\n";
}

absl::Status NodeDirectory::SaveIdentity() {
  return WriteWholeFile(control_ + "/id", IdentityText());
}

absl::Status NodeDirectory::JoinCluster(const std::string& cluster_id, bool leave) {
  MutexLock lock(mu_);
  if (cluster_id == cluster_id_) return absl::OkStatus();
  if (!cluster_id_.empty() && !leave) {
    return absl::FailedPreconditionError(
        fmt::format("{} belongs to cluster {}, not {}", directory_, cluster_id_, cluster_id));
  }
  cluster_id_ = cluster_id;
  return SaveIdentity();
}

}  // namespace litefs::store
