// Session: one connection to .litefs/socket, an app's (one process and one database) or the command
// line's.  Turns its messages into calls of the database, and answers its requests: at once, or
// later (Defer), and then reads nothing more from it until the answer is given.
//
// All methods belong to the server's thread; a Respond, to any.

#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "common/unique_fd.h"
#include "daemon/session/replica_writes.h"
#include "daemon/session/status_file.h"
#include "daemon/store/store.h"
#include "ipc/codec.h"

namespace litefs::session {

// The answer to a request of the command line.
struct ControlAnswer {
  int error = 0;  // errno; 0: fine
  std::string json{};
  UniqueFd fd{};  // sent along if valid
};
// Must be called once, from any thread.
using ControlRespond = std::function<void(ControlAnswer)>;

// What a request of an app waits for.
struct Deferral {
  // How long at most, and the errno that it is answered with then.  The app itself waits for
  // write-timeout.
  std::chrono::milliseconds limit{0};
  uint32_t late_error = 0;
  // On the server's thread, once: with the answer's errno just before it is sent; with nullopt if
  // the session or the server has ended first.  May be null.
  std::function<void(std::optional<uint32_t> error)> on_end{};
};
// Gives the deferred answer, an errno (0: fine).  Any thread, at any time: the first call counts,
// and none after the limit, the session's end or the server's.
using Respond = std::function<void(uint32_t error)>;
using Defer = std::function<Respond(Deferral)>;
struct GateRequest {
  ipc::MessageType type{};
  // Of kSync: how long the commit has waited so far, and whether it is in the chain.
  std::chrono::milliseconds waited{0};
  bool captured = true;
  bool past_lease = false;
};
// Asked about a request (kCommit of a prepared change, kDrain) that the database has granted, and
// about every kSync, before it is answered.  Returns the answer, an errno or 0; or calls defer,
// before it returns and at most once: then the answer is what that leads to.
using Gate = std::function<uint32_t(store::Store::Entry& entry, const GateRequest& request,
                                    const Defer& defer)>;

class Session {
 public:
  using Time = std::chrono::steady_clock::time_point;

  // Who runs the sessions.  Outlives them.
  class Host {
   public:
    virtual ~Host() = default;
    virtual store::Store& store() = 0;
    virtual StatusFile& status() = 0;
    virtual const Gate& gate() = 0;       // may be null
    virtual ReplicaWrites* writes() = 0;  // null: no app writes on this replica
    virtual uint64_t WelcomeFlags(const std::string& database) = 0;
    // Takes in what another session has sent, while a message of this one is handled.
    virtual void ServeOther(uint64_t id) = 0;
    virtual void NoteAttention() = 0;
    virtual void NoteWelcomed(const store::Store::Entry& entry) = 0;
    virtual void NoteRefused() = 0;
    virtual void AnswerControl(uint64_t session, uint64_t request, std::string_view json) = 0;
    // The session waits until due at most.  The result comes back by Session::Answer with this
    // ticket.
    virtual Respond Await(uint64_t session, uint64_t ticket, Time due) = 0;
  };

  Session(uint64_t id, UniqueFd fd, Host* host) : id_(id), fd_(std::move(fd)), host_(*host) {}
  ~Session() { Abandon(); }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  uint64_t id() const { return id_; }
  int fd() const { return fd_.get(); }
  // Null: the command line, or no Hello yet.
  store::Store::Entry* entry() const { return entry_; }
  uint32_t pid() const { return pid_; }  // by Hello; 0: none yet

  // Handles one message.  False ends the session.
  bool Handle(std::string_view message);

  // A request of the app is answered later.  REQUIRES: none is already.
  Respond DeferReply(uint64_t request, Deferral deferral);
  bool deferred() const { return waiting_.has_value(); }
  // REQUIRES: deferred().
  Time due() const { return waiting_->due; }
  uint64_t ticket() const { return waiting_->ticket; }
  uint32_t late_error() const { return waiting_->late_error; }
  // Sends the deferred answer.  False ends the session.  REQUIRES: deferred().
  bool Answer(uint32_t error);
  // Whether the peer has closed its end.
  bool HungUp() const;
  // Nobody waits for the deferred answer any more, if there is one.
  void Abandon();

  bool SendControlReply(uint64_t request, ControlAnswer answer);

 private:
  struct Waiting {
    uint64_t ticket = 0;
    uint64_t request = 0;
    Time due{};
    uint32_t late_error = 0;
    std::function<void(std::optional<uint32_t>)> on_end;
  };

  bool HandleHello(std::string_view message);
  bool HandleEvent(uint32_t type, std::string_view message);
  bool HandlePrepare(std::string_view message);
  bool HandleCommit(std::string_view message);
  bool HandleDrain(std::string_view message);
  bool HandleSync(std::string_view message);
  bool HandleControl(std::string_view message);
  bool HandleLock(std::string_view message);
  bool HandleRing(std::string_view message);
  bool HandleOnReplica(uint32_t type, std::string_view message);
  bool Refuse(int error, const std::string& text);
  bool PassGate(const GateRequest& request, uint64_t id,
                std::function<void(std::optional<uint32_t>)> on_end);
  void SettlePending();
  void AddRanges(ipc::RangesView ranges, uint64_t flags);
  void LookForAttention();
  template <typename Message>
  bool Send(const Message& message, int fd = -1);

  const uint64_t id_;
  const UniqueFd fd_;
  Host& host_;
  store::Store::Entry* entry_ = nullptr;
  uint32_t pid_ = 0;
  uint64_t last_ticket_ = 0;
  std::optional<Waiting> waiting_;
};

}  // namespace litefs::session
