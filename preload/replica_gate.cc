#include "preload/replica_gate.h"

#include <fcntl.h>

#include <cstddef>
#include <cstring>
#include <string_view>

#include "common/raw_syscall.h"
#include "ipc/protocol.h"
#include "preload/path_matcher.h"

namespace litefs::preload {
namespace {

constexpr size_t kMaxPath = 4096;

// DIRECTORY/.litefs/REST in a fixed buffer.
class ControlPath {
 public:
  bool Set(std::string_view directory, std::string_view rest, std::string_view name) {
    size_ = 0;
    return Append(directory) && (directory.empty() || Append("/")) &&
           Append(ipc::kControlDirectory) && Append(rest) && Append(name);
  }
  const char* c_str() const { return text_; }

 private:
  bool Append(std::string_view text) {
    if (size_ + text.size() >= sizeof(text_)) return false;
    std::memcpy(text_ + size_, text.data(), text.size());
    size_ += text.size();
    text_[size_] = '\0';
    return true;
  }

  char text_[kMaxPath];
  size_t size_ = 0;
};

uint32_t Word(const char* page, size_t offset) {
  uint32_t word;
  std::memcpy(&word, page + offset, sizeof(word));
  return word;
}

bool IsReadOnlyReplica(int status_fd) {
  char page[sizeof(ipc::StatusPage)];
  const long n = RawSyscall(SYS_pread64, status_fd, page, sizeof(page), 0);
  using Page = ipc::StatusPage;
  return n == static_cast<long>(sizeof(page)) &&
         Word(page, offsetof(Page, magic)) == ipc::kStatusMagic &&
         Word(page, offsetof(Page, version)) == ipc::kProtocolVersion &&
         Word(page, offsetof(Page, role)) == static_cast<uint32_t>(ipc::Role::kReplica) &&
         Word(page, offsetof(Page, on_replica_write)) ==
             static_cast<uint32_t>(ipc::OnReplicaWrite::kReadOnly);
}

}  // namespace

bool ReplicaRefusesOpen(int dir, const char* path, int flags) {
  if ((flags & O_ACCMODE) != O_RDWR || path == nullptr) return false;
  const SplitPath split = Split({path, std::strlen(path)});
  const NameMatch match = MatchName(split.name);
  if (!match.matches || match.kind != FileKind::kDatabase) return false;
  ControlPath control;
  if (!control.Set(split.directory, "/", ipc::kStatusName)) return false;
  const long fd = RawSyscall(SYS_openat, dir, control.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return false;  // almost every file ends here
  const bool read_only = IsReadOnlyReplica(static_cast<int>(fd));
  RawSyscall(SYS_close, fd);
  return read_only && control.Set(split.directory, "/dbs/", split.name) &&
         RawSyscall(SYS_faccessat, dir, control.c_str(), 0) == 0;
}

}  // namespace litefs::preload
