// Why each step is there.  A temporary name tells when it was made, because a listing does not. The
// answer to a command is not relied on: libcurl does not tell a refusal from a connection that
// broke. So after a rename that failed, one looks whether the object is there, and whether it is
// the own.

#include "daemon/archive/sftp_store.h"

#include <fmt/format.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <ctime>
#include <set>

#include "common/hex.h"
#include "common/posix_io.h"
#include "common/status_macros.h"
#include "daemon/archive/directory_walk.h"
#include "daemon/archive/sftp_listing.h"
#include "daemon/archive/url_query.h"

namespace litefs::archive {
namespace {

constexpr std::string_view kScheme = "sftp://";
constexpr size_t kDeleteBatchFiles = 100;
constexpr size_t kCompareBytes = 1 << 20;
constexpr uint64_t kMaxListingBytes = 256 << 20;

// kTemporaryPrefix, 16 random digits, '-', 16 digits: seconds since 1970.
absl::StatusOr<std::string> TemporaryName() {
  uint64_t number = 0;
  if (getrandom(&number, sizeof(number), 0) != sizeof(number)) {
    return ErrnoStatus("getrandom", errno);
  }
  return fmt::format("{}{}-{}", kTemporaryPrefix, Hex16(number),
                     Hex16(static_cast<uint64_t>(time(nullptr))));
}

bool IsOlder(std::string_view temporary_name, int64_t before) {
  const std::string_view digits = temporary_name.substr(temporary_name.rfind('-') + 1);
  int64_t made = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), made, 16);
  return error == std::errc() && end == digits.data() + digits.size() && made <= before;
}

// With the '/' at its end; empty: the root.
std::string_view DirectoryOf(std::string_view name) {
  const size_t slash = name.rfind('/');
  return name.substr(0, slash == std::string_view::npos ? 0 : slash + 1);
}

std::string FromHome(const std::string& file) {
  const char* const home = std::getenv("HOME");
  return fmt::format("{}/.ssh/{}", home == nullptr ? "" : home, file);
}

// What the URL's query says about files, or else what OpenSSH takes.
absl::Status SetFiles(std::string_view url, std::string_view query, SftpClient::Options* client) {
  const std::array settings = {UrlSetting{"key-file", &client->key_file},
                               UrlSetting{"known-hosts-file", &client->known_hosts_file}};
  RETURN_IF_ERROR(ApplyUrlQuery(url, query, settings));
  for (const UrlSetting& setting : settings) {
    if (setting.value->empty() || setting.value->starts_with('/')) continue;
    return absl::InvalidArgumentError(
        fmt::format("{}: {} \"{}\" is not an absolute path", url, setting.key, *setting.value));
  }
  if (client->key_file.empty()) client->key_file = FromHome("id_ed25519");
  if (client->known_hosts_file.empty()) client->known_hosts_file = FromHome("known_hosts");
  return absl::OkStatus();
}

absl::Status CheckReadable(const std::string& url, const std::string& what,
                           const std::string& path) {
  if (::access(path.c_str(), R_OK) == 0) return absl::OkStatus();
  const absl::Status status = ErrnoStatus(path, errno);
  return absl::FailedPreconditionError(
      fmt::format("{}: {}: {}", url, what, std::string(status.message())));
}

}  // namespace

// ---- The place ----------------------------------------------------------------------------------

absl::StatusOr<SftpStore::Place> SftpStore::Parse(const StoreOptions& options) {
  const auto wrong = [&](std::string_view why) {
    return absl::InvalidArgumentError(
        fmt::format("\"{}\" is not sftp://USER@HOST[:PORT]/DIRECTORY: {}", options.url, why));
  };
  std::string_view rest = std::string_view(options.url).substr(kScheme.size());
  const size_t question = std::min(rest.find('?'), rest.size());
  Place place;
  RETURN_IF_ERROR(
      SetFiles(options.url, rest.substr(std::min(question + 1, rest.size())), &place.client));
  rest = rest.substr(0, question);
  const size_t slash = std::min(rest.find('/'), rest.size());
  const std::string_view login = rest.substr(0, slash);
  const size_t at = login.rfind('@');
  if (at == std::string_view::npos || at == 0) return wrong("there is no user");
  place.client.user = PercentDecode(login.substr(0, at));
  place.client.host = login.substr(at + 1);
  if (place.client.user.find(':') != std::string::npos) return wrong("passwords are not used");
  if (place.client.host.empty()) return wrong("there is no host");
  place.root = PercentDecode(rest.substr(slash));
  while (place.root.ends_with('/')) place.root.pop_back();
  if (place.root.empty() || place.root == "/~") return wrong("there is no directory");
  if (place.root.starts_with("/~/")) place.root.erase(0, 1);
  place.client.timeout = options.request_timeout;
  return place;
}

absl::StatusOr<std::unique_ptr<SftpStore>> SftpStore::Open(const StoreOptions& options) {
  ASSIGN_OR_RETURN(Place place, Parse(options));
  RETURN_IF_ERROR(CheckReadable(options.url, "the private key", place.client.key_file));
  RETURN_IF_ERROR(CheckReadable(options.url, "the known hosts", place.client.known_hosts_file));
  return std::unique_ptr<SftpStore>(new SftpStore(std::move(place), options));
}

SftpStore::SftpStore(Place place, const StoreOptions& options)
    : place_(std::move(place)), client_(place_.client), retrier_(options.max_retries) {}

void SftpStore::Stop() {
  client_.Stop();
  retrier_.Stop();
}

std::string SftpStore::Describe() const {
  const bool from_home = place_.root.starts_with('~');
  return fmt::format("{}{}@{}{}{}", kScheme, place_.client.user, place_.client.host,
                     from_home ? "/" : "", place_.root);
}

std::string SftpStore::UrlPath(std::string_view name) const {
  return fmt::format("{}{}/{}", place_.root.starts_with('~') ? "/" : "", place_.root, name);
}

std::string SftpStore::Argument(std::string_view name) const {
  std::string_view root = place_.root;
  if (root.starts_with("~/")) root.remove_prefix(2);
  return SftpClient::Quote(fmt::format("{}/{}", root, name));
}

absl::Status SftpStore::About(std::string_view name, const absl::Status& status) const {
  if (status.ok()) return status;
  return absl::Status(status.code(),
                      fmt::format("{}: {}: {}", Describe(), name, std::string(status.message())));
}

absl::StatusOr<SftpResponse> SftpStore::Send(const SftpRequest& request, std::string_view name) {
  SftpResponse response;
  const absl::Status status = retrier_.Run([&]() -> absl::Status {
    ASSIGN_OR_RETURN(response, client_.Perform(request));
    return absl::OkStatus();
  });
  if (!status.ok()) return About(name, status);
  return response;
}

// ---- Reading ------------------------------------------------------------------------------------

absl::StatusOr<std::string> SftpStore::ListLines(const std::string& relative) {
  ASSIGN_OR_RETURN(
      SftpResponse response,
      Send({.path = UrlPath(relative), .max_response_bytes = kMaxListingBytes}, relative));
  return std::move(response.body);
}

absl::Status SftpStore::List(std::string_view prefix, std::string_view start_after,
                             const Visitor& visit) {
  return WalkDirectories(
      prefix, start_after,
      [this](const std::string& relative) -> absl::StatusOr<std::vector<DirectoryEntry>> {
        ASSIGN_OR_RETURN(const std::string lines, ListLines(relative));
        auto entries = ParseSftpListing(lines);
        if (!entries.ok()) return About(relative, entries.status());
        std::erase_if(*entries, [](const auto& entry) { return IsTemporaryName(entry.name); });
        return entries;
      },
      visit);
}

absl::StatusOr<bool> SftpStore::ExistsOnce(std::string_view name) {
  const auto got = client_.Perform({.path = UrlPath(name), .range = "0-0"});
  if (absl::IsNotFound(got.status())) return false;
  if (!got.ok() && !absl::IsOutOfRange(got.status())) return got.status();
  return true;
}

absl::StatusOr<std::string> SftpStore::Get(std::string_view name, uint64_t offset,
                                           uint64_t length) {
  RETURN_IF_ERROR(CheckObjectName(name));
  const uint64_t last =
      std::min<uint64_t>(offset + std::min(length, UINT64_MAX - offset), INT64_MAX);
  auto response = Send({.path = UrlPath(name),
                        .range = fmt::format("{}-{}", offset, std::max(last, offset + 1) - 1),
                        .max_response_bytes = std::max<uint64_t>(length, 64 << 10)},
                       name);
  if (absl::IsOutOfRange(response.status())) return std::string();
  RETURN_IF_ERROR(response.status());
  if (response->body.size() > length) response->body.resize(length);
  return std::move(response->body);
}

absl::StatusOr<uint64_t> SftpStore::GetToFile(std::string_view name, int fd) {
  RETURN_IF_ERROR(CheckObjectName(name));
  uint64_t size = 0;
  const absl::Status status = retrier_.Run([&]() -> absl::Status {
    if (::ftruncate(fd, 0) != 0) return ErrnoStatus("the file to download to", errno);
    ASSIGN_OR_RETURN(const SftpResponse response,
                     client_.Perform({.path = UrlPath(name), .response_fd = fd}));
    size = response.body_bytes;
    return absl::OkStatus();
  });
  RETURN_IF_ERROR(About(name, status));
  return size;
}

// ---- Writing ------------------------------------------------------------------------------------

absl::Status SftpStore::Put(std::string_view name, std::span<const std::byte> data,
                            const PutOptions& options) {
  return Store(name, {.data = data.data(), .size = data.size()}, options);
}

absl::Status SftpStore::PutFile(std::string_view name, int fd, uint64_t size,
                                const PutOptions& options) {
  return Store(name, {.fd = fd, .size = size}, options);
}

absl::Status SftpStore::Store(std::string_view name, const UploadBody& body,
                              const PutOptions& options) {
  RETURN_IF_ERROR(CheckObjectName(name));
  bool sent = false;
  const absl::Status status = retrier_.Run([&] { return StoreOnce(name, body, options, &sent); });
  if (sent && absl::IsAlreadyExists(status)) {
    ASSIGN_OR_RETURN(const bool ours, Holds(name, body));
    if (ours) return absl::OkStatus();
  }
  return About(name, status);
}

absl::Status SftpStore::StoreOnce(std::string_view name, const UploadBody& body,
                                  const PutOptions& options, bool* sent) {
  if (options.if_none_match) {  // saves the upload
    ASSIGN_OR_RETURN(const bool there, ExistsOnce(name));
    if (there) return absl::AlreadyExistsError("exists");
  }
  ASSIGN_OR_RETURN(const std::string temporary_name, TemporaryName());
  const std::string temporary = fmt::format("{}{}", DirectoryOf(name), temporary_name);
  SftpRequest request{.path = UrlPath(temporary), .upload = &body};
  if (!options.if_none_match) request.after.push_back("*rm " + Argument(name));
  request.after.push_back(fmt::format("rename {} {}", Argument(temporary), Argument(name)));
  *sent = true;
  const absl::Status status = client_.Perform(request).status();
  if (status.ok() || absl::IsCancelled(status)) return status;
  // What this does not remove, SweepUnfinished does.
  (void)client_.Perform({.before = {"*rm " + Argument(temporary)}});
  if (!absl::IsAborted(status)) return status;
  ASSIGN_OR_RETURN(const bool there, ExistsOnce(name));
  if (there && options.if_none_match) return absl::AlreadyExistsError("exists");
  return absl::UnavailableError(status.message());
}

absl::StatusOr<bool> SftpStore::Holds(std::string_view name, const UploadBody& body) {
  std::vector<std::byte> part;
  for (uint64_t offset = 0;; offset += part.size()) {
    part.resize(std::min<uint64_t>(kCompareBytes, body.size - offset));
    // One byte more, to see whether it ends there.
    ASSIGN_OR_RETURN(const std::string there, Get(name, offset, kCompareBytes + 1));
    if (body.data != nullptr) {
      std::copy_n(body.data + offset, part.size(), part.begin());
    } else {
      RETURN_IF_ERROR(ReadExactAt(body.fd, part, body.offset + offset, name));
    }
    const std::string_view wanted(reinterpret_cast<const char*>(part.data()), part.size());
    if (offset + part.size() == body.size) return there == wanted;
    if (!there.starts_with(wanted)) return false;
  }
}

absl::Status SftpStore::Delete(std::span<const std::string> names) {
  for (const std::string& name : names) RETURN_IF_ERROR(CheckObjectName(name));
  for (size_t at = 0; at < names.size(); at += kDeleteBatchFiles) {
    const auto batch = names.subspan(at, std::min(kDeleteBatchFiles, names.size() - at));
    RETURN_IF_ERROR(retrier_.Run([&] { return DeleteOnce(batch); }));
  }
  return absl::OkStatus();
}

// A command may fail because there was nothing to delete; so what is left counts.
absl::Status SftpStore::DeleteOnce(std::span<const std::string> names) {
  SftpRequest request;
  std::set<std::string> directories;
  for (const std::string& name : names) {
    request.before.push_back("*rm " + Argument(name));
    directories.emplace(DirectoryOf(name));
  }
  RETURN_IF_ERROR(About(names.front(), client_.Perform(request).status()));
  std::set<std::string> there;
  for (const std::string& directory : directories) {
    RETURN_IF_ERROR(List(directory, "", [&](const ObjectInfo& object) {
      there.insert(object.name);
      return true;
    }));
  }
  for (const std::string& name : names) {
    if (!there.contains(name)) continue;
    return About(name, absl::UnavailableError("the server does not delete it"));
  }
  return absl::OkStatus();
}

absl::StatusOr<size_t> SftpStore::SweepUnfinished(std::chrono::seconds older_than) {
  const int64_t before = time(nullptr) - older_than.count();
  std::vector<std::string> old;
  const auto read =
      [&](const std::string& relative) -> absl::StatusOr<std::vector<DirectoryEntry>> {
    ASSIGN_OR_RETURN(const std::string lines, ListLines(relative));
    ASSIGN_OR_RETURN(std::vector<DirectoryEntry> entries, ParseSftpListing(lines));
    for (const DirectoryEntry& entry : entries) {
      if (IsTemporaryName(entry.name) && IsOlder(entry.name, before)) {
        old.push_back(relative + entry.name);
      }
    }
    return entries;
  };
  RETURN_IF_ERROR(WalkDirectories("", "", read, [](const ObjectInfo&) { return true; }));
  for (const std::string& name : old) {
    RETURN_IF_ERROR(Send({.before = {"*rm " + Argument(name)}}, name).status());
  }
  return old.size();
}

}  // namespace litefs::archive
