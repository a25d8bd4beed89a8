// SessionServer: the daemon's end of .litefs/socket, and its main loop.  One thread accepts the
// sessions of apps and of the command line, gives each (session.h) what it has sent, follows the
// bells of WAL commits, and looks after the databases by the clock.
//
// All methods but Post and Stop belong to the thread that calls Run.

#pragma once

#include <sys/epoll.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/unique_fd.h"
#include "daemon/session/bell_pacer.h"
#include "daemon/session/directory_watch.h"
#include "daemon/session/listener.h"
#include "daemon/session/replica_writes.h"
#include "daemon/session/session.h"
#include "daemon/session/status_file.h"
#include "daemon/session/task_queue.h"
#include "daemon/store/store.h"

namespace litefs::session {

class SessionServer final : private Session::Host {
 public:
  struct Options {
    std::string socket_path;
    std::string database_directory;  // watched, on a primary
    StatusFile* status = nullptr;    // must outlive the server
    store::Store* store = nullptr;   // must outlive the server, or until ServeStore
    // Answers a request of the command line.
    std::function<void(const std::string& json, ControlRespond respond)> on_control;
    Gate gate{};  // may be null
    // Of a database, for Welcome; may be null.
    std::function<uint64_t(const std::string& database)> welcome_flags{};
    std::function<void()> on_hangup = [] {};  // SIGHUP
    bool stop_when_unused = false;            // a while after the last connection has gone
  };

  static absl::StatusOr<std::unique_ptr<SessionServer>> Open(Options options);
  ~SessionServer() override;

  // Serves until Stop or a termination signal (SIGTERM, SIGINT, which the caller has blocked in
  // all threads).  Captures what is committed before it returns.
  absl::Status Run();
  void Stop();
  // Runs task on the server's thread, soon.
  void Post(TaskQueue::Task task) { tasks_.Post(std::move(task)); }
  // Runs task after that time, unless the server has ended.  On the server's thread.
  TaskQueue::Timer After(std::chrono::milliseconds delay, TaskQueue::Task task) {
    return tasks_.After(delay, std::move(task));
  }
  void Cancel(const TaskQueue::Timer& timer) { tasks_.Cancel(timer); }

  // Ends the sessions of apps, which begin new ones when they next write; what they have committed
  // is captured.  The store may go then, and ServeStore names the next.  On the server's thread.
  void EndSessions();
  void ServeStore(store::Store* store);
  // What apps write on a replica goes there; null: nowhere.  On the server's thread.
  void ServeWrites(ReplicaWrites* writes) { writes_ = writes; }

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
  // Session::Host
  store::Store& store() override { return *store_; }
  StatusFile& status() override { return *options_.status; }
  const Gate& gate() override { return options_.gate; }
  uint64_t WelcomeFlags(const std::string& database) override {
    return options_.welcome_flags == nullptr ? 0 : options_.welcome_flags(database);
  }
  ReplicaWrites* writes() override { return writes_; }
  void ServeOther(uint64_t id) override;
  void NoteAttention() override { attention_ = true; }
  void NoteWelcomed(const store::Store::Entry& entry) override;
  void NoteRefused() override { ++sessions_refused_; }
  void AnswerControl(uint64_t session, uint64_t request, std::string_view json) override;
  Respond Await(uint64_t session, uint64_t ticket, Session::Time due) override;

  explicit SessionServer(Options options);
  absl::Status Setup();
  int TimeoutMs();
  void Wait();
  int WaitForEvents(int64_t timeout_ns);
  void Accept();
  void HandleSignal();
  bool MayHaveRung() const;
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
  void Read(Session& session, bool reads);
  void Answer(uint64_t id, uint64_t ticket, uint32_t error);
  void AnswerLate(Session::Time now);
  void End(uint64_t id);

  const Options options_;
  store::Store* store_ = nullptr;
  ReplicaWrites* writes_ = nullptr;
  Listener listener_;
  TaskQueue tasks_;
  // Deferred answers, apart from other tasks: Drain takes them in.  They may outlive the server.
  const std::shared_ptr<TaskQueue> answers_ = std::make_shared<TaskQueue>();
  std::set<std::pair<Session::Time, uint64_t>> waiting_;  // when due; session
  UniqueFd epoll_, signals_;
  uint64_t next_id_ = 16;  // smaller ones are the descriptors above
  absl::flat_hash_map<uint64_t, std::unique_ptr<Session>> sessions_;
  std::vector<uint32_t> bells_seen_;  // by slot
  BellPacer pacer_;
  int64_t follow_at_ns_ = 0;  // when to look at the bells next; 0: when woken
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
