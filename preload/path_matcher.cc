#include "preload/path_matcher.h"

#include <fcntl.h>

#include <cerrno>
#include <cstring>

#include "common/raw_syscall.h"
#include "common/sqlite_format.h"
#include "ipc/protocol.h"

namespace litefs::preload {
namespace {

constexpr size_t kMaxPath = 4096;
constexpr std::string_view kTemporaryPrefix = "etilqs_";
constexpr std::string_view kSuperJournalMark = "-mj";
constexpr size_t kSuperJournalDigits = 9;

bool IsHex(char c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F') || (c >= 'a' && c <= 'f');
}

bool IsSuperJournal(std::string_view name) {
  const size_t tail = kSuperJournalMark.size() + kSuperJournalDigits;
  if (name.size() <= tail) return false;
  name.remove_prefix(name.size() - tail);
  if (!name.starts_with(kSuperJournalMark)) return false;
  name.remove_prefix(kSuperJournalMark.size());
  for (const char c : name) {
    if (!IsHex(c)) return false;
  }
  return true;
}

bool StripSuffix(std::string_view* name, std::string_view suffix) {
  if (!name->ends_with(suffix)) return false;
  name->remove_suffix(suffix.size());
  return true;
}

// text, then suffix, as a C string in out; false if it does not fit.
bool Join(std::string_view text, std::string_view suffix, std::span<char> out) {
  if (text.size() + suffix.size() >= out.size()) return false;
  std::memcpy(out.data(), text.data(), text.size());
  std::memcpy(out.data() + text.size(), suffix.data(), suffix.size());
  out[text.size() + suffix.size()] = '\0';
  return true;
}

}  // namespace

NameMatch MatchName(std::string_view name) {
  NameMatch match;
  if (name.starts_with(kTemporaryPrefix) || IsSuperJournal(name)) return match;
  if (StripSuffix(&name, sqlite::kJournalSuffix)) {
    match.kind = FileKind::kJournal;
  } else if (StripSuffix(&name, sqlite::kWalSuffix)) {
    match.kind = FileKind::kWal;
  } else if (StripSuffix(&name, sqlite::kShmSuffix)) {
    match.kind = FileKind::kShm;
  }
  match.database = name;
  match.matches = !name.empty() && name.size() <= ipc::kMaxDatabaseNameBytes;
  return match;
}

SplitPath Split(std::string_view path) {
  const size_t slash = path.rfind('/');
  if (slash == path.npos) return {"", path};
  // Not substr(): it can throw.
  return {{path.data(), slash == 0 ? 1 : slash},
          {path.data() + slash + 1, path.size() - slash - 1}};
}

std::string_view DescriptorPath(int fd, std::span<char> buffer) {
  char link[32] = "/proc/self/fd/";
  size_t at = std::strlen(link);
  char digits[12];
  size_t count = 0;
  do digits[count++] = static_cast<char>('0' + fd % 10);
  while ((fd /= 10) > 0);
  while (count > 0) link[at++] = digits[--count];
  link[at] = '\0';
  const long n = RawSyscall(SYS_readlinkat, AT_FDCWD, link, buffer.data(), buffer.size());
  if (n <= 0 || static_cast<size_t>(n) >= buffer.size() || buffer[0] != '/') return {};
  return {buffer.data(), static_cast<size_t>(n)};
}

bool IsManaged(std::string_view directory) {
  char path[kMaxPath];
  for (std::string_view rest = directory; !rest.empty();) {
    const SplitPath split = Split(rest);
    if (split.name == ipc::kControlDirectory) return false;
    rest = split.directory == "/" ? std::string_view() : split.directory;
  }
  if (!Join(directory, "/.litefs", path)) return false;
  static_assert(std::string_view(ipc::kControlDirectory) == ".litefs");
  return RawSyscall(SYS_faccessat, AT_FDCWD, path, 0 /* F_OK */) == 0;
}

Content ReadContent(int fd, uint64_t size) {
  if (size == 0) return Content::kEmpty;
  char head[sqlite::kMagic.size()];
  const long n = RawSyscall(SYS_pread64, fd, head, sizeof(head), 0);
  if (n < 0) return Content::kUnreadable;
  return std::string_view(head, static_cast<size_t>(n)) == sqlite::kMagic ? Content::kDatabase
                                                                          : Content::kOther;
}

}  // namespace litefs::preload
