#include "daemon/session/session_server.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>

#include "common/log.h"
#include "common/posix_io.h"
#include "common/status_macros.h"

namespace litefs::session {
namespace {

using std::chrono::steady_clock;

constexpr uint64_t kListenerId = 1, kSignalId = 2, kWakeupId = 3, kWatchId = 4, kAnswerId = 5;
constexpr int kMessagesATurn = 64;     // then the other sessions have theirs
constexpr int kFirstAttentionMs = 10;  // between two looks at a database that needs one,
constexpr int kLastAttentionMs = 500;  // doubling from the first to the last
constexpr int kUnusedMs = 1000;        // of stop_when_unused
constexpr int64_t kPruneMs = 30'000;
constexpr int64_t kPruneAgainMs = 3'000;  // where the last time something had to go
constexpr int kFirstLookMs = 200;         // from a change in the directory to a look at it,
constexpr int kLastLookMs = 500;          // and while a program without the shim holds its lock
constexpr int kDrainLookMs = 5;
constexpr int kSendBufferBytes = 256 << 10;
constexpr int64_t kNanosPerMilli = 1'000'000;
constexpr int64_t kNanosPerSecond = 1'000'000'000;
constexpr size_t kEventsATurn = 64;

int64_t NowNs() { return std::chrono::nanoseconds(steady_clock::now().time_since_epoch()).count(); }
int64_t NowMs() { return NowNs() / kNanosPerMilli; }

}  // namespace

absl::StatusOr<std::unique_ptr<SessionServer>> SessionServer::Open(Options options) {
  std::unique_ptr<SessionServer> server(new SessionServer(std::move(options)));
  RETURN_IF_ERROR(server->Setup());
  return server;
}

SessionServer::SessionServer(Options options)
    : options_(std::move(options)), store_(options_.store) {}
SessionServer::~SessionServer() = default;

absl::Status SessionServer::Setup() {
  buffer_.resize(ipc::kMaxMessageBytes);
  events_.resize(kEventsATurn);
  epoll_.reset(::epoll_create1(EPOLL_CLOEXEC));
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGTERM);
  sigaddset(&mask, SIGINT);
  sigaddset(&mask, SIGHUP);
  signals_.reset(::signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!epoll_.valid() || !tasks_.valid() || !answers_->valid() || !signals_.valid()) {
    return ErrnoStatus("set up the server", errno);
  }
  ASSIGN_OR_RETURN(listener_, Listener::Open(options_.socket_path));
  const std::array<std::pair<int, uint64_t>, 4> own = {{{listener_.fd(), kListenerId},
                                                        {signals_.get(), kSignalId},
                                                        {tasks_.fd(), kWakeupId},
                                                        {answers_->fd(), kAnswerId}}};
  for (const auto& [fd, id] : own) {
    epoll_event event{.events = EPOLLIN, .data = {.u64 = id}};
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
      return ErrnoStatus("set up the server", errno);
    }
  }
  OpenWatch();
  unused_since_ms_ = NowMs();
  next_prune_ms_ = NowMs() + kPruneMs;
  return absl::OkStatus();
}

absl::Status SessionServer::Run() {
  options_.status->StartServing();
  CaptureAll();
  while (!stop_) {
    Wait();
    Tick();
    if (options_.stop_when_unused && used_ && sessions_.empty() &&
        NowMs() - unused_since_ms_ >= kUnusedMs) {
      break;
    }
  }
  listener_.Close();
  CaptureAll();
  options_.status->StopServing();
  return absl::OkStatus();
}

void SessionServer::Stop() {
  stop_ = true;
  tasks_.Wake();
}

// How long there is nothing to do by the clock; -1: for ever.
int SessionServer::TimeoutMs() {
  int64_t due = -1;
  const auto at_most = [&due](int64_t ms) { due = due < 0 ? ms : std::min(due, ms); };
  const int64_t now = NowMs();
  if (attention_) at_most(std::max<int64_t>(0, next_attention_ms_ - now));
  if (options_.stop_when_unused && used_ && sessions_.empty()) {
    at_most(std::max<int64_t>(0, unused_since_ms_ + kUnusedMs - now));
  }
  if (next_look_ms_ != 0) at_most(std::max<int64_t>(0, next_look_ms_ - now));
  const auto at_most_until = [&](steady_clock::time_point due_at) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(due_at - steady_clock::now());
    at_most(std::max<int64_t>(0, left.count()));
  };
  if (const auto next = tasks_.next_due(); next) at_most_until(*next);
  if (!waiting_.empty()) at_most_until(waiting_.begin()->first);
  if (next_prune_ms_ != 0) at_most(std::max<int64_t>(0, next_prune_ms_ - now));
  return static_cast<int>(due);
}

// Milliseconds would be too coarse for FollowBells.
int SessionServer::WaitForEvents(int64_t timeout_ns) {
  const timespec timeout{timeout_ns / kNanosPerSecond, timeout_ns % kNanosPerSecond};
  const int n = ::epoll_pwait2(epoll_.get(), events_.data(), static_cast<int>(events_.size()),
                               timeout_ns < 0 ? nullptr : &timeout, nullptr);
  if (n >= 0 || errno != ENOSYS) return n;
  // Linux before 5.11.
  const int64_t ms = timeout_ns < 0 ? -1 : (timeout_ns + kNanosPerMilli - 1) / kNanosPerMilli;
  return ::epoll_wait(epoll_.get(), events_.data(), static_cast<int>(events_.size()),
                      static_cast<int>(ms));
}

void SessionServer::Wait() {
  std::atomic<uint32_t>& sleeping = options_.status->bells().sleeping;
  int64_t timeout_ns = FollowBells();
  if (timeout_ns == 0) {
    // The other half of the handshake is in ipc/protocol.h, "BellPage".
    sleeping.store(1, std::memory_order_seq_cst);
    const bool rang = RingBells();
    const int timeout_ms = TimeoutMs();
    timeout_ns = rang ? 0 : timeout_ms < 0 ? -1 : timeout_ms * kNanosPerMilli;
  }
  const int n = WaitForEvents(timeout_ns);
  sleeping.store(0, std::memory_order_seq_cst);
  for (int i = 0; i < n; ++i) {
    switch (const uint64_t id = events_[static_cast<size_t>(i)].data.u64; id) {
      case kListenerId:
        Accept();
        break;
      case kSignalId:
        HandleSignal();
        break;
      case kWakeupId:
        tasks_.RunPosted();
        break;
      case kAnswerId:
        answers_->RunPosted();
        break;
      case kWatchId:
        NoteChange();
        break;
      default:
        Serve(id);
    }
  }
}

void SessionServer::HandleSignal() {
  signalfd_siginfo info;
  if (::read(signals_.get(), &info, sizeof(info)) != sizeof(info)) return;
  if (info.ssi_signo == SIGHUP) return options_.on_hangup();
  LogInfo("daemon", fmt::format("stopping on signal {}", info.ssi_signo));
  stop_ = true;
}

// Quick, for thousands of databases; also true for a bell whose app has gone since.
bool SessionServer::MayHaveRung() const {
  const ipc::BellPage& page = options_.status->bells();
  for (size_t slot = 0; slot < bells_seen_.size(); ++slot) {
    if (page.bells[slot % ipc::kBellCount].load() != bells_seen_[slot]) {
      return true;
    }
  }
  return false;
}

bool SessionServer::HasRung(const Session& session) const {
  if (session.entry() == nullptr || session.entry()->primary == nullptr) return false;
  const uint32_t slot = session.entry()->slot;
  return options_.status->bells().bells[slot % ipc::kBellCount].load() != bells_seen_[slot];
}

// Captures every WAL whose bell has rung since the last look.  Returns whether one had.
bool SessionServer::RingBells() {
  bool rang = false;
  if (!MayHaveRung()) return false;
  for (const auto& [id, session] : sessions_) {
    if (!HasRung(*session)) continue;
    const store::Store::Entry& entry = *session->entry();
    bells_seen_[entry.slot] = options_.status->bells().bells[entry.slot % ipc::kBellCount].load();
    (void)entry.primary->CaptureWal();  // the database keeps and reports its error
    attention_ |= entry.primary->NeedsAttention();
    rang = true;
  }
  return rang;
}

// Captures what has rung.  Returns how long to wait for more without being woken, 0 when a writer
// is to wake us.
int64_t SessionServer::FollowBells() {
  const int64_t start = NowNs();
  if (start < follow_at_ns_) return follow_at_ns_ - start;
  follow_at_ns_ = 0;
  if (!RingBells()) return 0;
  const bool outrun =
      MayHaveRung() && std::any_of(sessions_.begin(), sessions_.end(),
                                   [this](const auto& item) { return HasRung(*item.second); });
  const int64_t now = NowNs();
  const int64_t pause = pacer_.Looked(start, now, outrun);
  if (pause != 0) follow_at_ns_ = now + pause;
  return pause;
}

void SessionServer::CaptureAll() {
  if (!store_->primary()) return;
  LookForStrangers();
  for (store::Store::Entry* entry : store_->All()) {
    (void)entry->primary->CaptureWal();
    if (entry->primary->NeedsAttention()) entry->primary->Attend();
    attention_ |= entry->primary->NeedsAttention();
  }
}

bool SessionServer::Drain(std::chrono::milliseconds limit) {
  if (!store_->primary()) return true;
  const int64_t end = NowMs() + limit.count();
  bool busy = true;
  while (true) {
    busy = false;
    for (store::Store::Entry* entry : store_->All()) {
      const bool writer = entry->primary->HasWriter();
      ServeAll(entry);  // after the look: what was done before it is in the sockets
      busy |= writer || entry->primary->pending_session().has_value();
    }
    if (!busy || NowMs() >= end) break;
    epoll_event event;
    ::epoll_wait(epoll_.get(), &event, 1, kDrainLookMs);
    answers_->RunPosted();
  }
  CaptureAll();
  return !busy;
}

// ---- Another store
// -----------------------------------------------------------------------------------

void SessionServer::EndSessions() {
  std::vector<uint64_t> ids;
  for (const auto& [id, session] : sessions_) {
    if (session->entry() != nullptr) ids.push_back(id);
  }
  for (const uint64_t id : ids) Serve(id);
  for (const uint64_t id : ids) End(id);
}

void SessionServer::ServeStore(store::Store* store) {
  store_ = store;
  bells_seen_.clear();
  follow_at_ns_ = 0;
  attention_ = false;
  next_look_ms_ = 0;
  watch_.reset();
  OpenWatch();
  CaptureAll();
}

void SessionServer::Tick() {
  tasks_.RunDue(steady_clock::now());
  AnswerLate(steady_clock::now());
  const int64_t now = NowMs();
  if (!attention_) {
    attention_ms_ = kFirstAttentionMs;
  } else if (now >= next_attention_ms_) {
    attention_ = false;
    attention_ms_ = std::min(attention_ms_ * 2, kLastAttentionMs);
    next_attention_ms_ = now + attention_ms_;
    for (store::Store::Entry* entry : store_->All()) {
      if (entry->primary == nullptr || !entry->primary->NeedsAttention()) continue;
      entry->primary->Attend();
      attention_ |= entry->primary->NeedsAttention();
    }
  }
  if (next_look_ms_ != 0 && now >= next_look_ms_) LookForStrangers();
  if (now >= next_prune_ms_) {
    next_prune_ms_ = now + (store_->Prune() ? kPruneAgainMs : kPruneMs);
  }
}

// ---- Programs without the shim
// ----------------------------------------------------------------------------------

void SessionServer::OpenWatch() {
  if (!store_->primary()) return;
  absl::StatusOr<DirectoryWatch> watch = DirectoryWatch::Open(options_.database_directory);
  epoll_event event{.events = EPOLLIN, .data = {.u64 = kWatchId}};
  if (watch.ok() && ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, watch->fd(), &event) == 0) {
    watch_ = *std::move(watch);
    return;
  }
  LogWarn("watch", fmt::format("programs without the shim are seen only at the next start: {}",
                               watch.status().ToString()));
}

void SessionServer::NoteChange() {
  watch_->Disarm();
  look_ms_ = kFirstLookMs;
  if (next_look_ms_ == 0) next_look_ms_ = NowMs() + look_ms_;
}

// Something in the directory has changed.  Mostly it was a session's app, which tells by itself.
void SessionServer::LookForStrangers() {
  next_look_ms_ = 0;
  if (watch_.has_value()) {
    if (const absl::Status status = watch_->Arm(); !status.ok()) {
      LogWarn("watch", std::string(status.message()));
    }
  }
  store_->AdoptNewFiles();
  bool again = false;
  for (store::Store::Entry* entry : store_->All()) again |= LookAt(entry);
  if (!again) return;
  look_ms_ = std::min(look_ms_ * 2, kLastLookMs);
  next_look_ms_ = NowMs() + look_ms_;
}

// Returns whether to look again: a stranger is at work.
bool SessionServer::LookAt(store::Store::Entry* entry) {
  if (entry->primary->IsAsLastSeen()) return false;
  // What its sessions have committed is in their sockets; it must not pass for a stranger's.
  const auto serve = [this, entry] { ServeAll(entry); };
  const size_t sessions = SessionCount(entry->database->name());
  const db::PrimaryDatabase::Look look = entry->primary->LookForStrangers(sessions > 0, serve);
  if (entry->primary->NeedsAttention()) entry->primary->Attend();
  attention_ |= entry->primary->NeedsAttention();
  return look.again || (look.locked_by != 0 && !IsSessionsProcess(entry, look.locked_by));
}

void SessionServer::ServeAll(const store::Store::Entry* entry) {
  std::vector<uint64_t> ids;
  for (const auto& [id, session] : sessions_) {
    if (session->entry() == entry) ids.push_back(id);
  }
  for (const uint64_t id : ids) Serve(id);
}

bool SessionServer::IsSessionsProcess(const store::Store::Entry* entry, int pid) const {
  return std::any_of(sessions_.begin(), sessions_.end(), [&](const auto& item) {
    return item.second->entry() == entry && item.second->pid() == static_cast<uint32_t>(pid);
  });
}

// ---- Sessions
// ----------------------------------------------------------------------------------

void SessionServer::Accept() {
  for (UniqueFd fd = listener_.Accept(); fd.valid(); fd = listener_.Accept()) {
    ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDBUF, &kSendBufferBytes, sizeof(kSendBufferBytes));
    const uint64_t id = next_id_++;
    epoll_event event{.events = EPOLLIN, .data = {.u64 = id}};
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd.get(), &event) != 0) continue;
    used_ = true;
    Session::Host* const host = this;
    sessions_[id] = std::make_unique<Session>(id, std::move(fd), host);
  }
}

void SessionServer::End(uint64_t id) {
  const auto it = sessions_.find(id);
  if (it == sessions_.end()) return;
  store::Store::Entry* const entry = it->second->entry();
  if (it->second->deferred()) waiting_.erase({it->second->due(), id});
  sessions_.erase(it);
  options_.status->status().ended_sessions.fetch_add(1);
  if (sessions_.empty()) unused_since_ms_ = NowMs();
  if (entry != nullptr && entry->replica != nullptr && writes_ != nullptr) {
    writes_->Ended(id, entry);
  }
  if (entry == nullptr || entry->primary == nullptr) return;
  // Another session's outcome was sent before this one could commit.
  if (const auto pending = entry->primary->pending_session();
      pending.has_value() && *pending != id) {
    Serve(*pending);
  }
  (void)entry->primary->CaptureWal();
  entry->primary->SessionEnded(id);
  if (entry->primary->NeedsAttention()) entry->primary->Attend();
  attention_ |= entry->primary->NeedsAttention();
}

// A session whose answer is deferred has nothing to say but that it ends.
void SessionServer::Serve(uint64_t id) {
  for (int i = 0; i < kMessagesATurn; ++i) {
    const auto it = sessions_.find(id);
    if (it == sessions_.end()) return;
    Session& session = *it->second;
    if (session.deferred()) {
      if (session.HungUp()) End(id);
      return;
    }
    const ssize_t n =
        ::recv(session.fd(), buffer_.data(), buffer_.size(), MSG_DONTWAIT | MSG_TRUNC);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    const bool fits = n > 0 && static_cast<size_t>(n) <= buffer_.size();
    if (!fits || !session.Handle({buffer_.data(), static_cast<size_t>(n)})) {
      End(id);
      return;
    }
  }
}

void SessionServer::ServeOther(uint64_t id) {
  const std::vector<char> ours = buffer_;  // Serve reuses it; this path is rare
  Serve(id);
  buffer_ = ours;
}

void SessionServer::NoteWelcomed(const store::Store::Entry& entry) {
  ++sessions_begun_;
  if (entry.slot >= bells_seen_.size()) bells_seen_.resize(entry.slot + 1);
}

void SessionServer::AnswerControl(uint64_t session, uint64_t request, std::string_view json) {
  options_.on_control(std::string(json), [this, session, request](ControlAnswer answer) {
    auto shared = std::make_shared<ControlAnswer>(std::move(answer));
    Post([this, session, request, shared] {
      const auto it = sessions_.find(session);
      if (it == sessions_.end()) return;
      if (!it->second->SendControlReply(request, std::move(*shared))) End(session);
    });
  });
}

// ---- Deferred answers
// ----------------------------------------------------------------------------------

void SessionServer::Read(Session& session, bool reads) {
  epoll_event event{.events = reads ? EPOLLIN : 0U, .data = {.u64 = session.id()}};
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, session.fd(), &event);
}

Respond SessionServer::Await(uint64_t session, uint64_t ticket, Session::Time due) {
  waiting_.emplace(due, session);
  Read(*sessions_.at(session), false);
  // The task is run by this server or by nobody.
  return [this, answers = answers_, session, ticket](uint32_t error) {
    answers->Post([this, session, ticket, error] { Answer(session, ticket, error); });
  };
}

void SessionServer::Answer(uint64_t id, uint64_t ticket, uint32_t error) {
  const auto it = sessions_.find(id);
  if (it == sessions_.end()) return;
  Session& session = *it->second;
  if (!session.deferred() || session.ticket() != ticket) return;
  waiting_.erase({session.due(), id});
  if (!session.Answer(error)) return End(id);
  Read(session, true);
}

void SessionServer::AnswerLate(Session::Time now) {
  while (!waiting_.empty() && waiting_.begin()->first <= now) {
    const Session& session = *sessions_.at(waiting_.begin()->second);
    Answer(session.id(), session.ticket(), session.late_error());
  }
}

size_t SessionServer::SessionCount(const std::string& database) const {
  size_t count = 0;
  for (const auto& [id, session] : sessions_) {
    if (session->entry() != nullptr && session->entry()->database->name() == database) ++count;
  }
  return count;
}

}  // namespace litefs::session
