// S3LeaseStore: what a lease needs of a bucket (lease::ConditionalStore), by the archive's S3
// client.  Servers differ in whether they want an ETag in If-Match with its quotes: found out at
// the first write.  Threads as ConditionalStore.

#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "daemon/archive/s3_store.h"
#include "daemon/lease/conditional_store.h"

namespace litefs {

class S3LeaseStore final : public lease::ConditionalStore {
 public:
  // url: s3://BUCKET[/PREFIX][?endpoint=…]; timeout: of a request that has no other.  Speaks to
  // nobody yet.
  static absl::StatusOr<std::unique_ptr<S3LeaseStore>> Open(const std::string& url,
                                                            std::chrono::milliseconds timeout);

  absl::StatusOr<lease::StoredObject> Get(const std::string& name,
                                          std::chrono::milliseconds timeout) override;
  absl::StatusOr<std::string> PutIf(const std::string& name, const std::string& content,
                                    const std::string& tag,
                                    std::chrono::milliseconds timeout) override;
  absl::StatusOr<std::string> Put(const std::string& name, const std::string& content,
                                  std::chrono::milliseconds timeout) override;
  absl::Status Delete(const std::string& name, std::chrono::milliseconds timeout) override;
  absl::StatusOr<std::vector<std::string>> List(const std::string& prefix,
                                                std::chrono::milliseconds timeout) override;
  void Interrupt() override { store_->Interrupt(); }
  void Resume() override { store_->Resume(); }
  std::string Describe() const override { return store_->Describe(); }

 private:
  enum class Form { kUnknown, kQuoted, kBare };

  explicit S3LeaseStore(std::unique_ptr<archive::S3Store> store) : store_(std::move(store)) {}
  absl::StatusOr<std::string> PutIfMatch(const std::string& name, const std::string& content,
                                         const std::string& tag, Form form,
                                         std::chrono::milliseconds timeout);

  const std::unique_ptr<archive::S3Store> store_;
  Form form_ = Form::kUnknown;
};

}  // namespace litefs
