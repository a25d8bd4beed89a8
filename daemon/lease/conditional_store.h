// ConditionalStore: named objects of a few KiB, changed only if they are what the caller has seen:
// all that ObjectLease needs of a store.
//
// Calls block, at most for their timeout.  One thread calls; Interrupt and Resume are for any.
//
// Errors as of Lease; also kNotFound: there is no such object, and kAborted: the object is not the
// one that was seen, nothing was changed.

#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace litefs::lease {

struct StoredObject {
  std::string content;
  std::string tag;  // of this content, opaque, not empty; another content has another one
};

class ConditionalStore {
 public:
  virtual ~ConditionalStore() = default;

  virtual absl::StatusOr<StoredObject> Get(const std::string& name,
                                           std::chrono::milliseconds timeout) = 0;
  // Replaces the object that has this tag; empty: makes it, if there is none.  Returns the new tag.
  virtual absl::StatusOr<std::string> PutIf(const std::string& name, const std::string& content,
                                            const std::string& tag,
                                            std::chrono::milliseconds timeout) = 0;
  // Makes or replaces it.  Returns the new tag.
  virtual absl::StatusOr<std::string> Put(const std::string& name, const std::string& content,
                                          std::chrono::milliseconds timeout) = 0;
  // What is not there counts as deleted.
  virtual absl::Status Delete(const std::string& name, std::chrono::milliseconds timeout) = 0;
  virtual absl::StatusOr<std::vector<std::string>> List(const std::string& prefix,
                                                        std::chrono::milliseconds timeout) = 0;

  // The call in progress and all later ones return kCancelled within about a second, until Resume.
  virtual void Interrupt() = 0;
  virtual void Resume() = 0;

  // For messages, without secrets.
  virtual std::string Describe() const = 0;
};

}  // namespace litefs::lease
