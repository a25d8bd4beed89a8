#include "daemon/db/branches.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <set>
#include <tuple>

#include "common/posix_io.h"
#include "common/status_macros.h"
#include "ltx/apply_file.h"
#include "ltx/decoder.h"
#include "ltx/header.h"

namespace litefs::db {
namespace {

struct FileRange {
  std::string path;
  ltx::TxId min_txid = 0;
  ltx::TxId max_txid = 0;
};

std::string DirectoryOf(const std::string& control_directory) {
  return control_directory + "/branches";
}

// "TXID-CHECKSUM"
std::optional<ltx::Position> ParseBranchName(std::string name) {
  const size_t dash = name.find('-');
  if (dash == std::string::npos) return std::nullopt;
  name[dash] = '/';
  return ltx::ParsePosition(name);
}

absl::StatusOr<std::vector<FileRange>> FilesOf(const std::string& directory) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(directory));
  std::vector<FileRange> files;
  for (const std::string& name : names) {
    if (const auto range = ltx::ParseFileName(name)) {
      files.push_back({directory + "/" + name, range->min_txid, range->max_txid});
    }
  }
  return files;
}

// The files to apply, one after the other, from the transaction after start on.
std::vector<FileRange> WayFrom(ltx::TxId start, ltx::TxId end,
                               const std::vector<FileRange>& files) {
  std::vector<FileRange> way;
  for (ltx::TxId at = start; at != end;) {
    const FileRange* next = nullptr;
    for (const FileRange& file : files) {
      if (file.min_txid != at + 1 || file.max_txid > end) continue;
      if (next == nullptr || file.max_txid > next->max_txid) next = &file;
    }
    if (next == nullptr) return {};
    way.push_back(*next);
    at = next->max_txid;
  }
  return way;
}

absl::StatusOr<ltx::Header> HeaderOf(const FileRange& file) {
  ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile(file.path, O_RDONLY));
  std::array<std::byte, ltx::kHeaderBytes> data;
  RETURN_IF_ERROR(ReadExactAt(fd.get(), data, 0, file.path));
  return ltx::DecodeHeader(data);
}

// The branch that ended with this content; empty: there is none.
absl::StatusOr<std::string> BranchWithContent(const std::string& parent, ltx::Checksum checksum) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(parent));
  for (const std::string& name : names) {
    const auto end = ParseBranchName(name);
    if (end && end->checksum == checksum) return name;
  }
  return std::string();
}

// A branch's own files, in order.  Empty: they lead nowhere.
struct OwnFiles {
  std::vector<FileRange> files;
  bool whole = false;           // begin with a snapshot
  ltx::Checksum pre_apply = 0;  // else: of the content that they begin at
};

absl::StatusOr<OwnFiles> OwnFilesOf(const std::string& parent, const std::string& name) {
  OwnFiles own;
  const auto end = ParseBranchName(name);
  if (!end) return own;
  ASSIGN_OR_RETURN(const std::vector<FileRange> files, FilesOf(parent + "/" + name));
  own.files = WayFrom(0, end->txid, files);
  own.whole = !own.files.empty();
  if (own.whole || files.empty()) return own;
  const auto first = std::min_element(
      files.begin(), files.end(),
      [](const FileRange& a, const FileRange& b) { return a.min_txid < b.min_txid; });
  own.files = WayFrom(first->min_txid - 1, end->txid, files);
  if (own.files.empty()) return own;
  ASSIGN_OR_RETURN(const ltx::Header header, HeaderOf(own.files.front()));
  own.pre_apply = header.pre_apply;
  return own;
}

// All files that lead to the end of a branch.  Where its own do not begin with a snapshot, the node
// had left an earlier branch for only the pages that differed: then that one's come first.  Empty:
// it is not whole.
absl::StatusOr<std::vector<FileRange>> WayTo(const std::string& parent, std::string name) {
  std::vector<FileRange> way;
  std::set<std::string> seen;
  while (seen.insert(name).second) {
    ASSIGN_OR_RETURN(const OwnFiles own, OwnFilesOf(parent, name));
    if (own.files.empty()) break;
    way.insert(way.begin(), own.files.begin(), own.files.end());
    if (own.whole) return way;
    ASSIGN_OR_RETURN(name, BranchWithContent(parent, own.pre_apply));
  }
  return std::vector<FileRange>();
}

// The branches that begin where this one ended.
absl::StatusOr<std::vector<std::string>> BranchesThatNeed(const std::string& parent,
                                                          const std::string& name,
                                                          const ltx::Position& end) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(parent));
  std::vector<std::string> needing;
  for (const std::string& other : names) {
    if (other == name) continue;
    ASSIGN_OR_RETURN(const OwnFiles own, OwnFilesOf(parent, other));
    if (!own.files.empty() && !own.whole && own.pre_apply == end.checksum) {
      needing.push_back(other);
    }
  }
  return needing;
}

absl::StatusOr<Branch> Describe(const std::string& parent, const std::string& name,
                                const ltx::Position& end) {
  Branch branch{.name = name, .end = end};
  ASSIGN_OR_RETURN(const std::vector<FileRange> files, FilesOf(parent + "/" + name));
  for (const FileRange& file : files) {
    ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile(file.path, O_RDONLY));
    ASSIGN_OR_RETURN(const uint64_t size, FileSize(fd.get(), file.path));
    ++branch.files;
    branch.size_bytes += size;
    const absl::StatusOr<ltx::Header> header = HeaderOf(file);
    if (header.ok()) branch.timestamp_ms = std::max(branch.timestamp_ms, header->timestamp_ms);
  }
  const absl::StatusOr<std::vector<FileRange>> way = WayTo(parent, name);
  branch.whole = way.ok() && !way->empty();
  return branch;
}

absl::StatusOr<std::string> Find(const std::string& control_directory, const std::string& name,
                                 ltx::Position* end) {
  const auto position = ParseBranchName(name);
  std::string directory = DirectoryOf(control_directory) + "/" + name;
  if (!position || ::access(directory.c_str(), F_OK) != 0) {
    return absl::NotFoundError(fmt::format("there is no branch {}", name));
  }
  *end = *position;
  return directory;
}

absl::Status ApplyAll(const std::vector<FileRange>& files, const ltx::Position& end,
                      const std::string& path) {
  ltx::Checksum checksum = 0;
  for (const FileRange& file : files) {
    ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile(file.path, O_RDONLY));
    ASSIGN_OR_RETURN(ltx::FdSource source, ltx::FdSource::Open(fd.get(), file.path));
    ASSIGN_OR_RETURN(const ltx::FileInfo info, ltx::ApplyFile(source, path));
    checksum = info.trailer.post_apply;
  }
  if (checksum == end.checksum) return absl::OkStatus();
  return absl::DataLossError("the branch does not lead to the checksum of its name");
}

}  // namespace

absl::StatusOr<std::vector<Branch>> ListBranches(const std::string& control_directory) {
  const std::string parent = DirectoryOf(control_directory);
  std::vector<Branch> branches;
  absl::StatusOr<std::vector<std::string>> names = ListDirectory(parent);
  if (absl::IsNotFound(names.status())) return branches;
  RETURN_IF_ERROR(names.status());
  for (const std::string& name : *names) {
    const auto end = ParseBranchName(name);
    if (!end) continue;
    ASSIGN_OR_RETURN(Branch branch, Describe(parent, name, *end));
    branches.push_back(std::move(branch));
  }
  std::sort(branches.begin(), branches.end(), [](const Branch& a, const Branch& b) {
    return std::tie(a.timestamp_ms, a.name) < std::tie(b.timestamp_ms, b.name);
  });
  return branches;
}

absl::Status ExportBranch(const std::string& control_directory, const std::string& name,
                          const std::string& path) {
  ltx::Position end;
  ASSIGN_OR_RETURN(const std::string directory, Find(control_directory, name, &end));
  ASSIGN_OR_RETURN(const std::vector<FileRange> way, WayTo(DirectoryOf(control_directory), name));
  if (way.empty()) {
    return absl::FailedPreconditionError(
        fmt::format("the files of {} do not begin with a snapshot, nor where another branch ends: "
                    "apply them to a database at the position before them (litefs ltx apply)",
                    directory));
  }
  const std::string temporary = path + ".tmp";
  absl::Status status = ApplyAll(way, end, temporary);
  if (status.ok()) status = Rename(temporary, path);
  if (!status.ok()) ::unlink(temporary.c_str());
  return status;
}

absl::Status DiscardBranch(const std::string& control_directory, const std::string& name,
                           bool force) {
  ltx::Position end;
  ASSIGN_OR_RETURN(const std::string directory, Find(control_directory, name, &end));
  ASSIGN_OR_RETURN(const std::vector<std::string> needing,
                   BranchesThatNeed(DirectoryOf(control_directory), name, end));
  if (!needing.empty() && !force) {
    return absl::FailedPreconditionError(
        fmt::format("{} begin{} where {} ended, and cannot be exported without it: discard what is "
                    "newer first, or use --force",
                    fmt::join(needing, ", "), needing.size() == 1 ? "s" : "", name));
  }
  ASSIGN_OR_RETURN(const std::vector<FileRange> files, FilesOf(directory));
  for (const FileRange& file : files) {
    if (::unlink(file.path.c_str()) != 0) return ErrnoStatus("delete " + file.path, errno);
  }
  ::unlink((directory + "/pending.tmp").c_str());
  if (::rmdir(directory.c_str()) != 0) return ErrnoStatus("delete " + directory, errno);
  return SyncDirectory(DirectoryOf(control_directory));
}

}  // namespace litefs::db
