#include "daemon/replication/curve_keys.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <sstream>

#include "common/posix_io.h"
#include "common/status_macros.h"
#include "common/unique_fd.h"

namespace litefs::replication {
namespace {

constexpr size_t kMaxFileBytes = 4096;
constexpr std::string_view kPublicKey = "public-key:";
constexpr std::string_view kSecretKey = "secret-key:";

using KeyBuffer = std::array<char, kCurveKeyCharacters + 1>;  // and a NUL

// The configuration knows ${…}, and a list of peers # comments.
bool IsEasilyQuoted(std::string_view key) {
  return !key.starts_with('#') && key.find("${") == std::string_view::npos;
}

std::string_view Trim(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) return "";
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

absl::Status CheckOwner(int fd, const std::string& path) {
  struct stat st;
  if (::fstat(fd, &st) != 0) return ErrnoStatus("stat " + path, errno);
  if (!S_ISREG(st.st_mode)) {
    return absl::InvalidArgumentError(fmt::format("{} is not a regular file", path));
  }
  if (st.st_uid != 0 && st.st_uid != ::geteuid()) {
    return absl::PermissionDeniedError(
        fmt::format("{} belongs to user {}, who is neither this user nor root: chown it, or make a "
                    "key of your own with litefs keygen",
                    path, st.st_uid));
  }
  if ((st.st_mode & 077) == 0) return absl::OkStatus();
  return absl::PermissionDeniedError(fmt::format(
      "{} holds a secret key, and others can get at it (mode {:04o}): chmod 600 {}; if anybody may "
      "have read it, make another with litefs keygen",
      path, st.st_mode & 07777, path));
}

absl::StatusOr<CurveKeys> ParseCurveKeys(const std::string& text, const std::string& path) {
  CurveKeys keys;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const std::string_view trimmed = Trim(line);
    if (trimmed.starts_with(kPublicKey)) {
      keys.public_key = Trim(trimmed.substr(kPublicKey.size()));
    } else if (trimmed.starts_with(kSecretKey)) {
      keys.secret_key = Trim(trimmed.substr(kSecretKey.size()));
    } else if (!trimmed.empty() && !trimmed.starts_with('#')) {
      return absl::InvalidArgumentError(
          fmt::format("{} is not a key file of litefs keygen: it has lines of another kind", path));
    }
  }
  KeyBuffer derived{};
  if (!IsCurveKey(keys.public_key) || !IsCurveKey(keys.secret_key) ||
      zmq_curve_public(derived.data(), keys.secret_key.c_str()) != 0 ||
      keys.public_key != derived.data()) {
    return absl::InvalidArgumentError(
        fmt::format("{} does not hold a public key and the secret key that belongs to it", path));
  }
  return keys;
}

}  // namespace

absl::StatusOr<CurveKeys> MakeCurveKeys() {
  for (;;) {
    KeyBuffer public_key{};
    KeyBuffer secret_key{};
    if (zmq_curve_keypair(public_key.data(), secret_key.data()) != 0) {
      return absl::UnimplementedError(fmt::format(
          "make a key pair: {}: this libzmq is built without CURVE", zmq_strerror(zmq_errno())));
    }
    if (IsEasilyQuoted(public_key.data())) return CurveKeys{public_key.data(), secret_key.data()};
  }
}

bool IsCurveKey(std::string_view text) {
  if (text.size() != kCurveKeyCharacters) return false;
  std::array<uint8_t, kCurveKeyBytes> key;
  return zmq_z85_decode(key.data(), std::string(text).c_str()) != nullptr;
}

std::string CurveKeyText(std::span<const std::byte> key) {
  KeyBuffer text{};
  zmq_z85_encode(text.data(), reinterpret_cast<const uint8_t*>(key.data()), key.size());
  return text.data();
}

absl::Status WriteCurveKeys(const std::string& path, const CurveKeys& keys) {
  // Complete under another name first: a path never holds half a key.
  const std::string temporary = fmt::format("{}.{}.tmp", path, ::getpid());
  ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile(temporary, O_WRONLY | O_CREAT | O_EXCL, 0600));
  const std::string text =
      fmt::format("# A key pair of litefs keygen.  Keep this file secret.\n{} {}\n{} {}\n",
                  kPublicKey, keys.public_key, kSecretKey, keys.secret_key);
  absl::Status status = WriteAt(fd.get(), std::as_bytes(std::span(text)), 0, temporary);
  if (status.ok()) status = SyncData(fd.get(), temporary);
  if (status.ok() && ::link(temporary.c_str(), path.c_str()) != 0) {
    status =
        errno == EEXIST
            ? absl::AlreadyExistsError(fmt::format(
                  "{} exists and is not overwritten: a node that lost its key is a stranger to its "
                  "peers; name another file, or move this one away",
                  path))
            : ErrnoStatus("create " + path, errno);
  }
  ::unlink(temporary.c_str());
  RETURN_IF_ERROR(status);
  const std::string parent = std::filesystem::path(path).parent_path().string();
  return SyncDirectory(parent.empty() ? "." : parent);
}

absl::StatusOr<CurveKeys> ReadCurveKeys(const std::string& path) {
  ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile(path, O_RDONLY | O_NONBLOCK));
  RETURN_IF_ERROR(CheckOwner(fd.get(), path));
  std::string text(kMaxFileBytes, '\0');
  ASSIGN_OR_RETURN(const size_t size,
                   ReadAt(fd.get(), std::as_writable_bytes(std::span(text)), 0, path));
  text.resize(size);
  return ParseCurveKeys(text, path);
}

}  // namespace litefs::replication
