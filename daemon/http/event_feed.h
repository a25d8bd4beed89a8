// EventFeed: what happens on a node, for those who listen: a bounded queue for each.  Costs nothing
// while nobody does.  Thread-safe; Publish never waits for a listener.

#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "common/mutex.h"

namespace litefs::http {

struct Event {
  enum class Kind { kTransaction, kRole, kLost };
  Kind kind = Kind::kTransaction;
  std::string database{};  // kTransaction
  uint64_t min_txid = 0, max_txid = 0;
  uint64_t lost = 0;  // kLost: how many events this listener was too slow for
};

class EventFeed {
 public:
  // What a slow listener may leave unread; further events are counted and told as one kLost.
  static constexpr size_t kMaxQueued = 4096;
  static constexpr size_t kMaxListeners = 16;

  class Listener {
   public:
    ~Listener();
    Listener(const Listener&) = delete;
    Listener& operator=(const Listener&) = delete;
    // The next event; nullopt after the time-out, or when the feed is closed.
    std::optional<Event> Next(std::chrono::milliseconds timeout);

   private:
    friend class EventFeed;
    explicit Listener(EventFeed* feed) : feed_(feed) {}
    EventFeed* const feed_;
    std::deque<Event> queue_;  // GUARDED_BY(feed_->mu_)
    uint64_t lost_ = 0;        // likewise
  };

  // Null if there are kMaxListeners, or the feed is closed.  Must not outlive the feed.
  std::unique_ptr<Listener> Listen() EXCLUDES(mu_);
  void Publish(const Event& event) EXCLUDES(mu_) {
    if (count_.load(std::memory_order_relaxed) != 0) Distribute(event);
  }
  // Ends all waiting, for good.
  void Close() EXCLUDES(mu_);
  bool closed() EXCLUDES(mu_);

 private:
  void Distribute(const Event& event) EXCLUDES(mu_);

  std::atomic<size_t> count_ = 0;
  Mutex mu_;
  CondVar changed_;
  std::set<Listener*> listeners_ GUARDED_BY(mu_);
  bool closed_ GUARDED_BY(mu_) = false;
};

}  // namespace litefs::http
