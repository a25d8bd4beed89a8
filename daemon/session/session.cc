#include "daemon/session/session.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <span>

#include "common/check.h"
#include "common/log.h"
#include "common/posix_io.h"
#include "daemon/session/replica_events.h"

namespace litefs::session {
namespace {

using std::chrono::steady_clock;

constexpr std::chrono::milliseconds kSlowEvent{2000};
constexpr uint64_t kMostWaitedMs = uint64_t{1} << 40;
constexpr std::chrono::milliseconds kForwardLimit{60'000};
constexpr size_t kReplyOverheadBytes = 32;  // array, type, id, error, string header

// What SQLite makes of it: ENOSPC is SQLITE_FULL, EIO is SQLITE_IOERR; both roll back.
uint32_t ErrnoOf(const absl::Status& status) {
  if (status.ok()) return 0;
  return absl::IsResourceExhausted(status) ? ENOSPC : EIO;
}

// An answer too long for a message goes along as a file.
bool SpoolLongJson(ControlAnswer* answer) {
  if (answer->json.size() + kReplyOverheadBytes <= ipc::kMaxMessageBytes) return true;
  UniqueFd fd(::memfd_create("litefs-answer", MFD_CLOEXEC));
  if (!fd.valid()) return false;
  if (!WriteAt(fd.get(), std::as_bytes(std::span(answer->json)), 0, "answer").ok()) return false;
  answer->json = ipc::kJsonInDescriptor;
  answer->fd = std::move(fd);
  return true;
}

}  // namespace

template <typename Message>
bool Session::Send(const Message& message, int fd) {
  std::array<char, ipc::kMaxMessageBytes> out;
  const size_t size = ipc::Encode(message, out);
  if (size == 0) return false;
  iovec part{.iov_base = out.data(), .iov_len = size};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> rights{};
  if (fd >= 0) {
    header.msg_control = rights.data();
    header.msg_controllen = rights.size();
    cmsghdr* const control = CMSG_FIRSTHDR(&header);
    control->cmsg_level = SOL_SOCKET;
    control->cmsg_type = SCM_RIGHTS;
    control->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(control), &fd, sizeof(fd));
  }
  // A peer that does not read its few replies is broken: its session ends.
  return ::sendmsg(fd_.get(), &header, MSG_NOSIGNAL | MSG_DONTWAIT) == static_cast<ssize_t>(size);
}

bool Session::Handle(std::string_view message) {
  const uint32_t type = ipc::TypeOf(message);
  if (type == static_cast<uint32_t>(ipc::MessageType::kControl)) return HandleControl(message);
  if (entry_ == nullptr) {
    return type == static_cast<uint32_t>(ipc::MessageType::kHello) && HandleHello(message);
  }
  // A commit may have been done just before the node became a replica.
  const bool sync = type == static_cast<uint32_t>(ipc::MessageType::kSync);
  if (type == static_cast<uint32_t>(ipc::MessageType::kRing)) return HandleRing(message);
  if (entry_->primary == nullptr && !sync) return HandleOnReplica(type, message);
  const auto start = steady_clock::now();
  const bool understood = HandleEvent(type, message);
  // An app waits for us no longer than write-timeout.
  if (const auto took = steady_clock::now() - start; took >= kSlowEvent) {
    LogWarn("session",
            fmt::format("db={} pid={} waited {} ms for one event: is the disk slow?",
                        entry_->database->name(), pid_,
                        std::chrono::duration_cast<std::chrono::milliseconds>(took).count()));
  }
  return understood;
}

// ---- The greeting
// -----------------------------------------------------------------------------------

bool Session::Refuse(int error, const std::string& text) {
  LogWarn("session", text);
  host_.NoteRefused();
  Send(ipc::Welcome{.error = static_cast<uint32_t>(error), .text = text});
  return false;
}

bool Session::HandleHello(std::string_view message) {
  ipc::Hello hello;
  if (!ipc::Decode(message, &hello)) return Refuse(EPROTO, "a malformed hello was refused");
  if (hello.version != ipc::kProtocolVersion) {
    return Refuse(EPROTO,
                  fmt::format("liblitefs.so speaks protocol {}, this daemon {}: use both from one "
                              "release (program {}, pid {})",
                              hello.version, ipc::kProtocolVersion, hello.program, hello.pid));
  }
  const absl::StatusOr<store::Store::Entry*> entry =
      host_.store().FindOrCreate(std::string(hello.name), /*in_use=*/true);
  if (absl::IsInvalidArgument(entry.status())) {  // by the configuration: nothing to log
    const std::string text(entry.status().message());
    Send(ipc::Welcome{.error = ipc::kErrorForeign, .text = text});
    return false;
  }
  if (!entry.ok()) {
    return Refuse(static_cast<int>(ErrnoOf(entry.status())), std::string(entry.status().message()));
  }
  entry_ = *entry;
  pid_ = hello.pid;
  host_.NoteWelcomed(*entry_);
  const bool lockless = (hello.flags & ipc::kHelloLockless) != 0;
  if (entry_->primary != nullptr) entry_->primary->SessionStarted(id_, hello.inode, lockless);
  const ipc::Role role = host_.store().primary() ? ipc::Role::kPrimary : ipc::Role::kReplica;
  return Send(ipc::Welcome{.role = role,
                           .bell_slot = entry_->slot,
                           .text = "",
                           .flags = host_.WelcomeFlags(entry_->database->name())},
              host_.status().fd());
}

// ---- A transaction
// -----------------------------------------------------------------------------------

// Another session's outcome may lie unread in its socket: it was sent before that process let go of
// SQLite's lock, so before this one could take it.
void Session::SettlePending() {
  const std::optional<db::SessionId> pending = entry_->primary->pending_session();
  if (pending.has_value() && *pending != id_) host_.ServeOther(*pending);
}

void Session::AddRanges(ipc::RangesView ranges, uint64_t flags) {
  db::PrimaryDatabase& database = *entry_->primary;
  if ((flags & ipc::kFlagUnknown) != 0) database.AddEverything(id_);
  for (size_t i = 0; i < ranges.size(); ++i) {
    database.AddDirty(id_, ranges[i].offset, ranges[i].length);
  }
}

void Session::LookForAttention() {
  if (entry_->primary->NeedsAttention()) host_.NoteAttention();
}

bool Session::HandleEvent(uint32_t type, std::string_view message) {
  switch (static_cast<ipc::MessageType>(type)) {
    case ipc::MessageType::kBell:
      return true;  // the server looks at the bells before its next sleep
    case ipc::MessageType::kDirty: {
      ipc::Dirty dirty;
      if (!ipc::Decode(message, &dirty)) return false;
      AddRanges(dirty.ranges, 0);
      return true;
    }
    case ipc::MessageType::kPrepare:
      return HandlePrepare(message);
    case ipc::MessageType::kCommit:
      return HandleCommit(message);
    case ipc::MessageType::kDone: {
      ipc::Done done;
      if (!ipc::Decode(message, &done)) return false;
      entry_->primary->Done(id_, static_cast<int>(done.error));
      LookForAttention();
      return true;
    }
    case ipc::MessageType::kDrain:
      return HandleDrain(message);
    case ipc::MessageType::kSync:
      return HandleSync(message);
    case ipc::MessageType::kLock:
      return HandleLock(message);
    case ipc::MessageType::kUnlock:
      return true;
    default:
      return false;
  }
}

bool Session::HandlePrepare(std::string_view message) {
  ipc::Prepare prepare;
  if (!ipc::Decode(message, &prepare)) return false;
  SettlePending();
  AddRanges(prepare.ranges, prepare.flags);
  entry_->primary->Prepare(id_);
  return true;
}

bool Session::HandleCommit(std::string_view message) {
  ipc::Commit commit;
  if (!ipc::Decode(message, &commit)) return false;
  SettlePending();
  AddRanges(commit.ranges, commit.flags);
  const bool recheck = (commit.flags & ipc::kFlagRecheck) != 0;
  absl::Status status = entry_->primary->Commit(id_, recheck);
  const bool changes = status.ok() && !recheck && entry_->primary->HasPreparedChange();
  // Past the lease nothing is committed; a rollback ends with the same calls and must be let
  // through.  The shim has looked as well, but its message may have waited for us.
  if (changes && host_.status().past_lease()) {
    entry_->primary->Done(id_, EIO);
    status = absl::FailedPreconditionError("past the lease");
  }
  LookForAttention();
  if (!status.ok() || !changes) return Send(ipc::Reply{commit.id, ErrnoOf(status)});
  return PassGate({.type = ipc::MessageType::kCommit}, commit.id,
                  [this](std::optional<uint32_t> error) {
                    if (error.value_or(0) == 0)
                      return;  // if the session has ended, its end says the rest
                    entry_->primary->Done(id_, static_cast<int>(*error));
                    LookForAttention();
                  });
}

bool Session::HandleDrain(std::string_view message) {
  ipc::Drain drain;
  if (!ipc::Decode(message, &drain)) return false;
  const absl::Status status =
      entry_->primary->Drain(id_, drain.reason == ipc::DrainReason::kUnlink);
  LookForAttention();
  if (!status.ok()) return Send(ipc::Reply{drain.id, ErrnoOf(status)});
  return PassGate({.type = ipc::MessageType::kDrain}, drain.id, nullptr);
}

bool Session::HandleSync(std::string_view message) {
  ipc::Sync sync;
  if (!ipc::Decode(message, &sync)) return false;
  const uint64_t waited_ms = std::min<uint64_t>(sync.waited_ms, kMostWaitedMs);
  GateRequest request{.type = ipc::MessageType::kSync,
                      .waited = std::chrono::milliseconds(waited_ms),
                      .past_lease = host_.status().past_lease()};
  if (entry_->primary != nullptr) {
    // In the rollback modes the app still holds EXCLUSIVE: what is suspect stays so.
    request.captured = entry_->primary->CaptureWal().ok() && !entry_->primary->NeedsAttention();
    LookForAttention();
  }
  return PassGate(request, sync.id, nullptr);
}

bool Session::HandleRing(std::string_view message) {
  ipc::Ring ring;
  if (!ipc::Decode(message, &ring)) return false;
  if (entry_->primary == nullptr) return Send(ipc::Reply{.id = ring.id, .error = EAGAIN});
  const absl::StatusOr<UniqueFd> fd = entry_->primary->AddRing(id_);
  if (!fd.ok()) return Send(ipc::Reply{.id = ring.id, .error = ErrnoOf(fd.status())});
  return Send(ipc::Reply{.id = ring.id, .error = 0}, fd->get());
}

// ---- A replica
// -----------------------------------------------------------------------------------

// What is forwarded has a limit of its own, which is shorter.
bool Session::HandleOnReplica(uint32_t type, std::string_view message) {
  const auto answer_to = [this](uint64_t request) -> ReplicaWrites::Answer {
    return [respond = DeferReply(request, {.limit = kForwardLimit, .late_error = EIO})](int error) {
      respond(static_cast<uint32_t>(error));
    };
  };
  return HandleReplicaEvent({host_.writes(), id_, entry_, answer_to}, type, message);
}

// The shim took this node for a replica: it is about to be one, or has just ceased to be.
bool Session::HandleLock(std::string_view message) {
  ipc::Lock lock;
  if (!ipc::Decode(message, &lock)) return false;
  const auto role = static_cast<ipc::Role>(host_.status().status().role.load());
  return Send(ipc::Reply{.id = lock.id, .error = role == ipc::Role::kPrimary ? 0U : EAGAIN});
}

// ---- Deferred answers
// -----------------------------------------------------------------------------------

// on_end is called before the gate's own, and also if the gate refuses; it may be null.
bool Session::PassGate(const GateRequest& request, uint64_t id,
                       std::function<void(std::optional<uint32_t>)> on_end) {
  uint32_t error = 0;
  if (host_.gate() != nullptr) {
    error = host_.gate()(*entry_, request, [&](Deferral deferral) {
      deferral.on_end = [ours = on_end,
                         gates = std::move(deferral.on_end)](std::optional<uint32_t> answered) {
        if (ours != nullptr) ours(answered);
        if (gates != nullptr) gates(answered);
      };
      return DeferReply(id, std::move(deferral));
    });
    if (deferred()) return true;
  }
  if (on_end != nullptr) on_end(error);
  return Send(ipc::Reply{.id = id, .error = error});
}

Respond Session::DeferReply(uint64_t request, Deferral deferral) {
  CHECK(!deferred());
  waiting_ = Waiting{.ticket = ++last_ticket_,
                     .request = request,
                     .due = steady_clock::now() + deferral.limit,
                     .late_error = deferral.late_error,
                     .on_end = std::move(deferral.on_end)};
  return host_.Await(id_, waiting_->ticket, waiting_->due);
}

bool Session::Answer(uint32_t error) {
  const Waiting answered = *std::exchange(waiting_, std::nullopt);
  if (answered.on_end != nullptr) answered.on_end(error);
  return Send(ipc::Reply{.id = answered.request, .error = error});
}

void Session::Abandon() {
  if (!deferred()) return;
  const Waiting abandoned = *std::exchange(waiting_, std::nullopt);
  if (abandoned.on_end != nullptr) abandoned.on_end(std::nullopt);
}

bool Session::HungUp() const {
  pollfd peer{.fd = fd_.get(), .events = 0, .revents = 0};
  return ::poll(&peer, 1, 0) > 0;
}

// ---- The command line
// -----------------------------------------------------------------------------------

bool Session::HandleControl(std::string_view message) {
  ipc::Control control;
  if (!ipc::Decode(message, &control)) return false;
  host_.AnswerControl(id_, control.id, control.json);
  return true;
}

bool Session::SendControlReply(uint64_t request, ControlAnswer answer) {
  if (!SpoolLongJson(&answer)) return false;
  return Send(
      ipc::ControlReply{
          .id = request, .error = static_cast<uint32_t>(answer.error), .json = answer.json},
      answer.fd.get());
}

}  // namespace litefs::session
