// NodeForward: what a replica does with its apps' writes (docs/FORWARDING.md): for a database that
// an app wants to write it gets the primary's halt lock, catches up, lends the database to its
// apps, and has the primary accept what they are about to commit.
//
//   idle ──Lock──► asking ──Halted──► approaching ──(caught up)──► lent ──► returning ──► idle
//                    ▲ │ refused         │ too slow                 │ nobody in a transaction, and
//                    └─┴─────────────────┴──────────────────────────┘ wanted elsewhere, or idle
//
// The main thread's, but for Applied, and what the replication client calls.

#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/unique_fd.h"
#include "daemon/replication/message.h"
#include "daemon/session/replica_writes.h"
#include "daemon/session/session_server.h"
#include "daemon/store/store.h"

namespace litefs {

class NodeForward final : public session::ReplicaWrites {
 public:
  struct Parts {
    session::SessionServer* server = nullptr;  // must outlive this
    // Sends to the primary, if there is a session.
    std::function<void(replication::Body, std::vector<std::byte>)> submit;
    std::function<int64_t()> primary_time_ms;  // 0: not known
    std::function<void()> on_returned;         // what is stored may be applied again
    std::function<void(const std::string& database, ltx::TxId txid)> on_stored;
    std::chrono::milliseconds write_timeout{};
  };
  struct Counters {
    uint64_t locks = 0;     // halt locks got
    uint64_t accepted = 0;  // transactions
    uint64_t refused = 0;
    uint64_t unknown = 0;  // no answer: the app was told that its commit failed
  };

  explicit NodeForward(Parts parts) : parts_(std::move(parts)) {}
  ~NodeForward() override;
  NodeForward(const NodeForward&) = delete;
  NodeForward& operator=(const NodeForward&) = delete;

  void Lock(SessionId session, store::Store::Entry* entry, Answer answer) override;
  void Unlock(SessionId session, store::Store::Entry* entry) override;
  void AddDirty(SessionId session, store::Store::Entry* entry, uint64_t offset,
                uint64_t length) override;
  void AddEverything(SessionId session, store::Store::Entry* entry) override;
  void Commit(SessionId session, store::Store::Entry* entry, CommitOptions options,
              Answer answer) override;
  void CommitWal(SessionId session, store::Store::Entry* entry,
                 const db::ReplicaDatabase::CommitFrame& last, CommitOptions options,
                 Answer answer) override;
  void Done(SessionId session, store::Store::Entry* entry, int error) override;
  bool MayReset(SessionId session, store::Store::Entry* entry) override;
  void Ended(SessionId session, store::Store::Entry* entry) override;

  // From the replication client's thread.
  void Heard(replication::Body body);
  void Online(bool online);
  // A database has moved on.  Any thread.
  void Applied();

  // Before the role changes: ends all loans.  False: an app is in a write transaction.
  bool EndAll();

  // What is held, for litefs status.
  nlohmann::json StatusJson() const;
  const Counters& counters() const { return counters_; }

 private:
  using Time = std::chrono::nanoseconds;  // Clock::Boot
  enum class State { kIdle, kAsking, kApproaching, kLent, kReturning };
  struct Waiter {
    SessionId session = 0;
    Answer answer;
    Time since{};
  };
  // A transaction that the primary is to accept.
  struct Push {
    uint64_t request = 0;
    SessionId session = 0;
    UniqueFd fd;
    replication::FileIdentity file;
    bool sync = false;
    uint64_t sent_bytes = 0;
    uint64_t received_bytes = 0;  // by the primary
    bool asks_again = false;
    Answer answer;    // null: the app is gone, or (asks_again) is to ask again
    Time answered{};  // the app has asked then
    Time deadline{};
    Time since{};          // when `request` was first asked, be it by the transaction
    Time asked{};          // when its outcome was last asked for; 0: it was not
    bool durable = false;  // here, since before `request`
  };
  // What became of one, for an app that was told to ask again.
  struct Verdict {
    SessionId session = 0;
    int error = 0;
  };
  struct Loan {
    store::Store::Entry* entry = nullptr;
    State state = State::kIdle;
    uint64_t request = 0;  // kAsking: 0 until there is a session with the primary
    uint64_t lock = 0;     // 0: it has ended
    ltx::Position from;
    bool recalled = false;
    bool used = false;  // an app has had its turn
    bool known = true;  // and told all that it did
    Time since{};       // of the state; kLent: when an app last had it
    Time lent_since{};
    Time kept{};
    std::vector<Waiter> waiting;
    std::set<SessionId> users;  // in a transaction, or about to begin one
    std::map<SessionId, db::DirtyRanges> ranges;
    std::optional<Push> push;
    std::optional<Verdict> verdict;
  };

  Loan& LoanOf(store::Store::Entry* entry);
  Loan* FindByRequest(uint64_t request);
  const std::string& NameOf(const Loan& loan) const { return loan.entry->database->name(); }
  void Ask(Loan& loan);
  void TryLend(Loan& loan);
  void GiveUp(Loan& loan);
  void Return(Loan& loan);
  void AnswerAll(Loan& loan, int error);
  void Begin(Loan& loan, SessionId session,
             absl::StatusOr<std::optional<db::ReplicaDatabase::Pending>> prepared,
             CommitOptions options, Answer answer);
  bool AskedAgain(Loan& loan, SessionId session, Answer& answer);
  bool MayCommit(const Loan& loan, SessionId session) const;
  void SendPieces(Loan& loan);
  void Refuse(Loan& loan, const std::string& why);
  void Accept(Loan& loan, const replication::Forwarded& forwarded);
  void Unknown(Loan& loan, const std::string& why);
  void EndPush(Loan& loan, int error);
  void AskOutcome(Loan& loan);
  void AskAnew(Loan& loan);
  void On(const replication::Halted& halted);
  void On(const replication::RecallHalt& recall);
  void On(const replication::Forwarded& forwarded);
  void SetOnline(bool online);
  void Look(Loan& loan, Time now);
  void LookAtPush(Loan& loan, Time now);
  void LookAtLent(Loan& loan, Time now);
  void Tick();
  void StartTicking();
  void Post(std::function<void()> task);

  const Parts parts_;
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  std::map<std::string, Loan> loans_;
  uint64_t last_request_ = 0;
  bool online_ = false;
  bool ticking_ = false;
  std::atomic<bool> approaching_ = false;
  Counters counters_;
};

}  // namespace litefs
