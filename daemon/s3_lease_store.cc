#include "daemon/s3_lease_store.h"

#include <algorithm>
#include <utility>

#include "common/status_macros.h"

namespace litefs {
namespace {

using std::chrono::milliseconds;

constexpr size_t kMaxListed = 1000;

absl::Status Aborted(const absl::Status& status) {
  return absl::IsAlreadyExists(status) ? absl::AbortedError(status.message()) : status;
}

std::string Bare(std::string tag) {
  std::erase(tag, '"');
  return tag;
}

}  // namespace

absl::StatusOr<std::unique_ptr<S3LeaseStore>> S3LeaseStore::Open(const std::string& url,
                                                                 milliseconds timeout) {
  // A lease's calls have deadlines of their own: nothing is tried again below them.
  ASSIGN_OR_RETURN(auto store, archive::S3Store::Open(
                                   {.url = url, .request_timeout = timeout, .max_retries = 0}));
  return std::unique_ptr<S3LeaseStore>(new S3LeaseStore(std::move(store)));
}

absl::StatusOr<lease::StoredObject> S3LeaseStore::Get(const std::string& name,
                                                      milliseconds timeout) {
  ASSIGN_OR_RETURN(archive::S3Store::Tagged tagged, store_->GetTagged(name, timeout));
  return lease::StoredObject{.content = std::move(tagged.content), .tag = std::move(tagged.etag)};
}

absl::StatusOr<std::string> S3LeaseStore::PutIfMatch(const std::string& name,
                                                     const std::string& content,
                                                     const std::string& tag, Form form,
                                                     milliseconds timeout) {
  const std::string shown = form == Form::kBare ? Bare(tag) : tag;
  absl::StatusOr<std::string> put = store_->PutTagged(name, content, "If-Match: " + shown, timeout);
  if (put.ok()) form_ = form;
  return put;
}

absl::StatusOr<std::string> S3LeaseStore::PutIf(const std::string& name, const std::string& content,
                                                const std::string& tag, milliseconds timeout) {
  if (tag.empty()) {
    absl::StatusOr<std::string> put = store_->PutTagged(name, content, "If-None-Match: *", timeout);
    return put.ok() ? put : Aborted(put.status());
  }
  const Form form = form_ == Form::kUnknown ? Form::kQuoted : form_;
  absl::StatusOr<std::string> put = PutIfMatch(name, content, tag, form, timeout);
  if (form_ == Form::kUnknown && absl::IsAlreadyExists(put.status())) {
    ASSIGN_OR_RETURN(const archive::S3Store::Tagged there, store_->GetTagged(name, timeout));
    if (there.etag == tag) put = PutIfMatch(name, content, tag, Form::kBare, timeout);
  }
  if (put.ok()) return put;
  // The object may be gone: S3 then says 404.
  return absl::IsNotFound(put.status()) ? absl::AbortedError(put.status().message())
                                        : Aborted(put.status());
}

absl::StatusOr<std::string> S3LeaseStore::Put(const std::string& name, const std::string& content,
                                              milliseconds timeout) {
  return store_->PutTagged(name, content, "", timeout);
}

absl::Status S3LeaseStore::Delete(const std::string& name, milliseconds) {
  return store_->Delete(name);
}

absl::StatusOr<std::vector<std::string>> S3LeaseStore::List(const std::string& prefix,
                                                            milliseconds) {
  ASSIGN_OR_RETURN(const auto objects, store_->ListAll(prefix, {}, kMaxListed));
  std::vector<std::string> names;
  for (const archive::ObjectInfo& object : objects) names.push_back(object.name);
  return names;
}

}  // namespace litefs
