// A store of objects in memory that several ObjectLeases share, with what networks do to requests;
// and a clock that the test moves.  One thread.

#pragma once

#include <fmt/format.h>

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "common/clock.h"
#include "daemon/lease/conditional_store.h"

namespace litefs::test {

class ManualClock final : public Clock {
 public:
  int64_t WallMs() const override { return wall_ms; }
  std::chrono::nanoseconds Boot() const override { return boot; }
  void Advance(std::chrono::nanoseconds time) { boot += time; }

  int64_t wall_ms = 0;
  std::chrono::nanoseconds boot = std::chrono::hours(1);
};

// The bucket.
struct FakeBucket {
  struct Object {
    std::string content;
    uint64_t version = 0;
  };
  std::map<std::string, Object> objects;
  uint64_t versions = 0;
  bool ignores_conditions = false;
};

// One node's way to it.
class FakeStore final : public lease::ConditionalStore {
 public:
  using milliseconds = std::chrono::milliseconds;
  explicit FakeStore(FakeBucket* bucket) : bucket_(bucket) {}

  absl::StatusOr<lease::StoredObject> Get(const std::string& name, milliseconds) override {
    if (cut_off) return absl::UnavailableError("cut off");
    const auto found = bucket_->objects.find(name);
    if (found == bucket_->objects.end()) return absl::NotFoundError(name);
    return lease::StoredObject{.content = found->second.content,
                               .tag = std::to_string(found->second.version)};
  }
  absl::StatusOr<std::string> PutIf(const std::string& name, const std::string& content,
                                    const std::string& tag, milliseconds) override {
    if (cut_off) return absl::UnavailableError("cut off");
    if (std::exchange(delays_next, false)) {
      delayed_.push_back([this, name, content, tag] { (void)Store(name, content, tag, true); });
      return absl::UnavailableError("no answer yet");
    }
    absl::StatusOr<std::string> put = Store(name, content, tag, !bucket_->ignores_conditions);
    if (std::exchange(loses_next_answer, false))
      return absl::UnavailableError("the answer is lost");
    return put;
  }
  absl::StatusOr<std::string> Put(const std::string& name, const std::string& content,
                                  milliseconds) override {
    if (cut_off) return absl::UnavailableError("cut off");
    return Store(name, content, "", false);
  }
  absl::Status Delete(const std::string& name, milliseconds) override {
    if (cut_off) return absl::UnavailableError("cut off");
    bucket_->objects.erase(name);
    return absl::OkStatus();
  }
  absl::StatusOr<std::vector<std::string>> List(const std::string& prefix, milliseconds) override {
    if (cut_off) return absl::UnavailableError("cut off");
    std::vector<std::string> names;
    for (const auto& [name, object] : bucket_->objects) {
      if (name.starts_with(prefix)) names.push_back(name);
    }
    return names;
  }
  void Interrupt() override {}
  void Resume() override {}
  std::string Describe() const override { return "the fake store"; }

  // What was on its way arrives.
  void Deliver() {
    for (const auto& write : std::exchange(delayed_, {})) write();
  }

  bool cut_off = false;            // nothing reaches the bucket
  bool loses_next_answer = false;  // of a conditional write, which is done
  bool delays_next = false;        // conditional write: it arrives later, at Deliver

 private:
  absl::StatusOr<std::string> Store(const std::string& name, const std::string& content,
                                    const std::string& tag, bool conditional) {
    const auto found = bucket_->objects.find(name);
    const std::string there =
        found == bucket_->objects.end() ? "" : std::to_string(found->second.version);
    if (conditional && there != tag) return absl::AbortedError(fmt::format("{} is another", name));
    bucket_->objects[name] = {.content = content, .version = ++bucket_->versions};
    return std::to_string(bucket_->versions);
  }

  FakeBucket* const bucket_;
  std::vector<std::function<void()>> delayed_;
};

}  // namespace litefs::test
