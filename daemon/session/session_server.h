// SessionServer: the daemon's end of .litefs/socket, and its main loop.  One thread accepts the
// apps' sessions (one process and one database each), turns their messages into calls of the
// database, follows the bells of WAL commits, and answers the command line.
//
// All methods but Post and Stop belong to the thread that calls Run.

#pragma once

#include <sys/epoll.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/unique_fd.h"
#include "daemon/session/directory_watch.h"
#include "daemon/session/listener.h"
#include "daemon/session/status_file.h"
#include "daemon/session/task_queue.h"
#include "daemon/store/store.h"
#include "ipc/codec.h"

namespace litefs::session {

class SessionServer {
 public:
  struct ControlAnswer {
    int error = 0;  // errno; 0: fine
    std::string json{};
    UniqueFd fd{};  // sent along if valid
  };
  // Must be called once, from any thread.
  using Respond = std::function<void(ControlAnswer)>;
  struct Options {
    std::string socket_path;
    std::string database_directory;  // watched, on a primary
    StatusFile* status = nullptr;    // must outlive the server
    store::Store* store = nullptr;   // must outlive the server, or until ServeStore
    // Answers a request of the command line.
    std::function<void(const std::string& json, Respond respond)> on_control;
    bool stop_when_unused = false;  // a while after the last connection has gone
  };

  static absl::StatusOr<std::unique_ptr<SessionServer>> Open(Options options);
  ~SessionServer();

  // Serves until Stop or a termination signal (SIGTERM, SIGINT, which the caller has blocked in
  // all threads).  Captures what is committed before it returns.
  absl::Status Run();
  void Stop();
  // Runs task on the server's thread, soon.
  void Post(TaskQueue::Task task) { tasks_.Post(std::move(task)); }
  // Runs task after that time, unless the server has ended.  On the server's thread.
  void After(std::chrono::milliseconds delay, TaskQueue::Task task) {
    tasks_.After(delay, std::move(task));
  }

  // Ends the sessions of apps, which begin new ones when they next write; what they have committed
  // is captured.  The store may go then, and ServeStore names the next.  On the server's thread.
  void EndSessions();
  void ServeStore(store::Store* store);

  // Captures every database's WAL now, and what programs without the shim have done.  On the
  // server's thread.
  void CaptureAll();
  // For a node that is fenced, so that no new commit is let through: takes in what the sessions
  // have still to say until no app is in a write transaction, at most for limit, and captures it.
  // False: an app still is.  On the server's thread; also after Run.
  bool Drain(std::chrono::milliseconds limit);
  size_t SessionCount(const std::string& database) const;
  // Since the start: sessions of apps that were welcomed, and that were refused but for files that
  // are no databases by the configuration.
  uint64_t sessions_begun() const { return sessions_begun_; }
  uint64_t sessions_refused() const { return sessions_refused_; }

 private:
  struct Session;
  explicit SessionServer(Options options);
  absl::Status Setup();
  int TimeoutMs();
  void Wait();
  int WaitForEvents(int64_t timeout_ns);
  void Accept();
  void HandleSignal();
  bool HasRung(const Session& session) const;
  bool RingBells();
  int64_t FollowBells();
  void Tick();
  void OpenWatch();
  void NoteChange();
  void LookForStrangers();
  bool LookAt(store::Store::Entry* entry);
  void ServeAll(const store::Store::Entry* entry);
  bool IsSessionsProcess(const store::Store::Entry* entry, int pid) const;
  // Handles what a session has sent.  Removes it from sessions_ when it has ended.
  void Serve(uint64_t id);
  bool ServeOne(Session& session, std::string_view message);
  bool HandleHello(Session& session, std::string_view message);
  bool HandleEvent(Session& session, uint32_t type, std::string_view message);
  bool HandleCommit(Session& session, std::string_view message);
  bool HandleDrain(Session& session, std::string_view message);
  bool HandleControl(Session& session, std::string_view message);
  bool Refuse(Session& session, int error, const std::string& text);
  bool PastLease() const;
  void SettlePending(const Session& session);
  void AddRanges(Session& session, ipc::RangesView ranges, uint64_t flags);
  void End(uint64_t id);
  template <typename Message>
  bool Send(const Session& session, const Message& message, int fd = -1);

  const Options options_;
  store::Store* store_ = nullptr;
  Listener listener_;
  TaskQueue tasks_;
  UniqueFd epoll_, signals_;
  uint64_t next_id_ = 16;  // smaller ones are the descriptors above
  absl::flat_hash_map<uint64_t, std::unique_ptr<Session>> sessions_;
  std::vector<uint32_t> bells_seen_;  // by slot
  int64_t follow_at_ns_ = 0;  // writers outrun us: the next look at the bells; 0: they do not
  std::vector<epoll_event> events_;
  std::vector<char> buffer_;
  bool attention_ = false;  // some database has suspects or a WAL that could not be captured
  int attention_ms_ = 0;
  int64_t next_attention_ms_ = 0;
  uint64_t sessions_begun_ = 0;
  uint64_t sessions_refused_ = 0;
  bool used_ = false;
  int64_t unused_since_ms_ = 0;
  int64_t next_prune_ms_ = 0;
  std::optional<DirectoryWatch> watch_;  // none: there is no inotify to be had
  int64_t next_look_ms_ = 0;             // 0: nothing has changed
  int look_ms_ = 0;
  std::atomic<bool> stop_ = false;
};

}  // namespace litefs::session
