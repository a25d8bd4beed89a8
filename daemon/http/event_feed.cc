#include "daemon/http/event_feed.h"

namespace litefs::http {

EventFeed::Listener::~Listener() {
  MutexLock lock(feed_->mu_);
  feed_->listeners_.erase(this);
  feed_->count_ = feed_->listeners_.size();
}

std::optional<Event> EventFeed::Listener::Next(std::chrono::milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  MutexLock lock(feed_->mu_);
  while (queue_.empty() && !feed_->closed_) {
    if (!feed_->changed_.WaitUntil(feed_->mu_, deadline)) break;
  }
  if (feed_->closed_ || queue_.empty()) return std::nullopt;
  if (lost_ != 0) {
    const Event lost{.kind = Event::Kind::kLost, .lost = lost_ + queue_.size()};
    lost_ = 0;
    queue_.clear();
    return lost;
  }
  Event event = std::move(queue_.front());
  queue_.pop_front();
  return event;
}

std::unique_ptr<EventFeed::Listener> EventFeed::Listen() {
  MutexLock lock(mu_);
  if (closed_ || listeners_.size() >= kMaxListeners) return nullptr;
  std::unique_ptr<Listener> listener(new Listener(this));
  listeners_.insert(listener.get());
  count_ = listeners_.size();
  return listener;
}

void EventFeed::Distribute(const Event& event) {
  MutexLock lock(mu_);
  for (Listener* listener : listeners_) {
    if (listener->queue_.size() < kMaxQueued) {
      listener->queue_.push_back(event);
    } else {
      ++listener->lost_;
    }
  }
  changed_.NotifyAll();
}

void EventFeed::Close() {
  MutexLock lock(mu_);
  closed_ = true;
  changed_.NotifyAll();
}

bool EventFeed::closed() {
  MutexLock lock(mu_);
  return closed_;
}

}  // namespace litefs::http
