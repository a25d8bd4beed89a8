// HaltServer: the primary's end of write forwarding: grants halt locks, takes the transactions that
// replicas make under them, and ends the locks of those that are not heard of (docs/FORWARDING.md).
// A thread of its own, since to apply a transaction waits for the disk.
//
//   PullServer ──Handle──► this ──► ForwardTarget        (the store)
//              ◄─TakeAnswers──

#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "common/mutex.h"
#include "common/unique_fd.h"
#include "daemon/replication/forward_target.h"
#include "daemon/replication/halt_table.h"
#include "daemon/replication/message.h"

namespace litefs::replication {

struct HaltStatus {
  std::string database;
  std::string node_id;  // who holds its lock
  int64_t held_ms = 0;
};

class HaltServer {
 public:
  struct Options {
    std::chrono::milliseconds max_hold{30'000};
    std::function<void()> on_answer;  // there is something to take; on the thread of this
  };
  struct Request {
    std::string session;
    std::string node_id;
    Body body;  // Halt, KeepHalt, EndHalt, Forward, AskOutcome
    std::vector<std::byte> payload{};
    bool over = false;  // the session has ended; no body
  };
  struct Answer {
    std::string session;
    Body body;
  };
  struct Counters {
    uint64_t granted = 0;
    uint64_t accepted = 0;  // transactions
    uint64_t refused = 0;
    uint64_t expired = 0;  // locks
  };

  // target must outlive this.
  HaltServer(Options options, ForwardTarget* target);
  ~HaltServer() { Stop(); }
  HaltServer(const HaltServer&) = delete;
  HaltServer& operator=(const HaltServer&) = delete;

  void Start();
  // Ends every lock.
  void Stop() EXCLUDES(mu_);

  // These, from any thread:
  void Handle(Request request) EXCLUDES(mu_);
  void EndSession(const std::string& session) {
    Handle({.session = session, .node_id = "", .body = {}, .over = true});
  }
  std::vector<Answer> TakeAnswers() EXCLUDES(mu_);
  // A replica has stored something: who waits for that may be answered.
  void Stored() EXCLUDES(mu_);
  // Grants no lock and calls those in that are out, until it is lifted.
  void Close(bool closed) EXCLUDES(mu_);
  std::vector<HaltStatus> Status() const EXCLUDES(mu_);
  Counters counters() const EXCLUDES(mu_);

 private:
  using Time = HaltTable::Time;
  // A transaction that arrives.
  struct Incoming {
    uint64_t request = 0;
    FileIdentity file;
    UniqueFd spool;
    uint64_t received_bytes = 0;
  };
  struct Held {
    std::string node_id;
    Time since{};
    Incoming incoming;
  };

  // A transaction that is in the chain, and whose replica is not told so yet.
  struct Accepted {
    std::string session;
    std::string database;
    Forwarded answer;
    std::unique_ptr<Confirmation> confirmation;
    Time told{};  // when it was last said that it waits
  };

  void Run();
  bool Wait() EXCLUDES(mu_);
  void TakeRequests() EXCLUDES(mu_);
  void Dispatch(const Request& request);
  void Turn(Time now);
  void Grant(const std::string& database, Time now);
  void Recall(const std::string& database);
  void On(const Request& request, const Halt& halt);
  void On(const Request& request, const KeepHalt& keep);
  void On(const Request& request, const EndHalt& end);
  void On(const Request& request, const Forward& forward);
  void On(const Request& request, const AskOutcome& ask);
  void Acknowledge(const Request& request, const std::string& database, const ltx::Position& end,
                   Forwarded answer);
  bool TryAcknowledge(Accepted& accepted, Time now);
  absl::Status Take(const Forward& forward, const std::vector<std::byte>& payload,
                    Incoming* incoming);
  void EndLock(const std::string& database, const std::string& why);
  void EndOtherSessions(const Request& request);
  void Drop(const std::string& session);
  void Send(const std::string& session, Body body) EXCLUDES(mu_);
  void Show() EXCLUDES(mu_);

  const Options options_;
  ForwardTarget* const target_;

  // The thread's own.
  HaltTable table_;
  std::map<std::string, Held> held_;          // by database
  std::map<std::string, std::string> nodes_;  // of sessions
  Time retry_at_ = Time::max();               // a database that a local app keeps
  Time retry_pause_{};
  bool closed_here_ = false;
  std::vector<Accepted> accepted_;  // at most one of a session and database

  mutable Mutex mu_;
  CondVar changed_;
  std::deque<Request> requests_ GUARDED_BY(mu_);
  uint64_t queued_bytes_ GUARDED_BY(mu_) = 0;
  std::vector<Answer> answers_ GUARDED_BY(mu_);
  std::vector<HaltStatus> shown_ GUARDED_BY(mu_);
  std::vector<Time> shown_since_ GUARDED_BY(mu_);
  Counters counters_ GUARDED_BY(mu_);
  bool closed_ GUARDED_BY(mu_) = false;
  bool stored_ GUARDED_BY(mu_) = false;
  bool stopping_ GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace litefs::replication
